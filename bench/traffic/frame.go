package traffic

import (
	"encoding/binary"
	"net/netip"

	"cohort/packet"
)

const (
	ethernet = 14
	ipHeader = 20
	ipLength = ipHeader + 20 // a TCP header, or UDP with 12 bytes
	mark     = 0x6265        // IP identification of all our packets

	// FrameLen is the length of a frame from a host, in bytes, padding included.
	FrameLen = 64
	words    = 16
)

// TCP flags of Shape.
const (
	SYN    = packet.SYN
	SYNACK = packet.SYN | packet.ACK
	ACK    = packet.ACK
)

// CCLFrame makes a Source's frames what a forwarder sends over the CCL. All in
// host byte order.
type CCLFrame struct {
	From, To netip.Addr // VTEPs
	VNI      uint32
	Node     uint8 // that forwards
	View     uint32
	Iface    uint8 // where the packet entered the cluster
}

// Shape says which packets a Source makes.
type Shape struct {
	Flows      int
	Hosts      int  // that open them, a power of two of at least 512; 0 = every connection has its own
	UDP        bool // odd connections are UDP, else all are TCP
	AllUDP     bool // all are
	Reply      bool // packets of the server instead of the client
	Spread     bool // over so many servers that port and server alone tell connections apart; at most MaxSpread
	Flags      uint8
	Sequential bool    // connection 0, 1, 2 ... instead of random ones
	Rate       int     // packets per second that Send keeps to; 0 = as fast as it goes
	DMAC       [6]byte // destination of frames from a host
	// Mapped is the address that all hosts hide behind, each keeping its port, and
	// that a Reply goes to; needs Spread. The zero Addr: they do not hide.
	Mapped netip.Addr
	CCL    *CCLFrame
}

func (s *Shape) l3() int {
	if s.CCL != nil {
		return cclHeaders
	}
	return ethernet
}

func (s *Shape) frameLen() int {
	if s.CCL != nil {
		return words * 8
	}
	return FrameLen
}

// template is the frame of connection 0 of a kind (0 even, 1 odd) with zeros
// for the addresses and the port that tell connections apart, and for checksums.
func (s *Shape) template(kind int) []byte {
	b := make([]byte, words*8)
	l3 := s.l3()
	if s.CCL != nil {
		s.CCL.write(b, uint16(l3-ethernet+ipLength))
	} else {
		copy(b, s.DMAC[:])
		copy(b[6:], []byte{2, 0, 0, 0, 0, 0x99})
		binary.BigEndian.PutUint16(b[12:], 0x0800)
	}
	s.writeIP(b[l3:], s.Key(kind))
	return b
}

// writeIP puts in place what is the same for all connections.
func (s *Shape) writeIP(ip []byte, k packet.FlowKey) {
	k.SrcPort = 0
	if s.Reply {
		k = k.Reverse()
	}
	be := binary.BigEndian
	ip[0], ip[8], ip[9] = 0x45, 64, k.Proto
	be.PutUint16(ip[2:], ipLength)
	be.PutUint16(ip[4:], mark)
	be.PutUint16(ip[6:], 0x4000)
	l4 := ip[ipHeader:]
	be.PutUint16(l4[0:], k.SrcPort)
	be.PutUint16(l4[2:], k.DstPort)
	if k.Proto == packet.ProtoUDP {
		be.PutUint16(l4[4:], ipLength-ipHeader)
		return
	}
	// The client's numbers begin at 1000, the server's at 5000.
	seq, ack := uint32(1001), uint32(5001)
	if s.Reply {
		seq, ack = ack, seq
	}
	if s.Flags&packet.SYN != 0 {
		seq--
	}
	if s.Flags&packet.ACK == 0 {
		ack = 0
	}
	be.PutUint32(l4[4:], seq)
	be.PutUint32(l4[8:], ack)
	l4[12], l4[13] = 5<<4, s.Flags
	be.PutUint16(l4[14:], 502)
}

// sums returns the sums of a template for its two checksums, in the byte order
// of the machine, and where the transport's checksum lies in the IP packet.
func (s *Shape) sums(frame []byte) (ip, l4, at uint32) {
	p := frame[s.l3():][:ipLength]
	ip = sum(p[:ipHeader])
	var pseudo [4]byte // zero, protocol, length
	pseudo[1], pseudo[3] = p[9], ipLength-ipHeader
	l4 = sum(p[12:]) + sum(pseudo[:])
	at = ipHeader + 16
	if p[9] == packet.ProtoUDP {
		at = ipHeader + 6
	}
	return ip, l4, at
}

// sum adds words as they lie in memory (RFC 1071, 2B).
func sum(b []byte) (s uint32) {
	for ; len(b) > 1; b = b[2:] {
		s += uint32(binary.NativeEndian.Uint16(b))
	}
	return s
}
