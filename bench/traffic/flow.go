package traffic

import (
	"encoding/binary"
	"math/bits"
	"net/netip"

	"cohort/packet"
)

// Server is the address that every connection goes to.
var Server = netip.MustParseAddr("192.0.2.1")

// ServerPort is the port there.
const ServerPort = 443

// MaxFlows is how many connections can be told apart.
const MaxFlows = 1 << 23

// Key returns the key of connection i as its initiator sends it, from hosts in
// 10.128.0.0/9. With UDP in the Shape odd connections are UDP.
func (s *Shape) Key(i int) packet.FlowKey {
	mask, shift := s.hosts()
	k := packet.FlowKey{
		Dst: packet.AddrFrom(Server), SrcPort: 0x4000 | uint16(i>>shift&0x3fff), DstPort: ServerPort, Proto: packet.ProtoTCP,
	}
	binary.BigEndian.PutUint32(k.Src[:], 0x0a800000|uint32(i)&mask)
	if s.UDP && i&1 != 0 {
		k.Proto = packet.ProtoUDP
	}
	return k
}

// hosts returns which bits of a connection's number are its host's, and at
// which bit its port begins.
func (s *Shape) hosts() (mask, shift uint32) {
	if s.Hosts == 0 {
		return MaxFlows - 1, 0
	}
	shift = uint32(bits.Len(uint(s.Hosts - 1)))
	return 1<<shift - 1, shift
}
