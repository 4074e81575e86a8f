// Package packettest builds packets for tests. It serializes with gopacket and
// shares no code with package packet, so each checks the other.
package packettest

import (
	"fmt"
	"net"
	"slices"

	"cohort/packet"

	"github.com/google/gopacket"
	"github.com/google/gopacket/layers"
)

// Spec describes a frame. The zero value of a field is the usual one: TTL 64,
// window 65535, invented MAC addresses, no options.
type Spec struct {
	Key     packet.FlowKey // Proto decides what is built; identifiers as FR9
	Payload []byte

	SrcMAC, DstMAC net.HardwareAddr
	VLAN           uint16 // a tag, if not 0

	TTL, TOS      uint8
	ID            uint16
	DontFragment  bool
	MoreFragments bool
	FragOffset    uint16 // bytes; from 8 on, there is no transport header
	IPOptions     int    // bytes of IP options, a multiple of 4

	Flags    uint8 // TCP
	Seq, Ack uint32
	Window   uint16
	MSS      uint16 // the option, if not 0
	WScale   uint8  // shift + 1; 0 is no option
	SACK     bool
	Stamp    uint32 // of the timestamps option, if not 0

	NoUDPSum bool // UDP without a checksum

	ICMPType, ICMPCode uint8  // ICMP
	ICMPSeq            uint16 // queries and responses
	MTU                uint16 // ICMP fragmentation needed
	QuoteWords         uint8  // ICMP error: the second byte behind the checksum (RFC 4884's length)
}

// TCP returns a segment of the connection.
func TCP(key packet.FlowKey, flags uint8, seq, ack uint32, payload []byte) []byte {
	key.Proto = packet.ProtoTCP
	return Build(Spec{Key: key, Flags: flags, Seq: seq, Ack: ack, Payload: payload})
}

// UDP returns a datagram.
func UDP(key packet.FlowKey, payload []byte) []byte {
	key.Proto = packet.ProtoUDP
	return Build(Spec{Key: key, Payload: payload})
}

// Echo returns an ICMP echo request.
func Echo(src, dst packet.Addr, id, seq uint16) []byte {
	key := packet.FlowKey{Src: src, Dst: dst, SrcPort: id, Proto: packet.ProtoICMP}
	return Build(Spec{Key: key, ICMPType: packet.ICMPEchoRequest, ICMPSeq: seq, Payload: []byte("abcdefghijklmnop")})
}

// EchoReply returns the answer to Echo(dst, src, id, seq).
func EchoReply(src, dst packet.Addr, id, seq uint16) []byte {
	key := packet.FlowKey{Src: src, Dst: dst, DstPort: id, Proto: packet.ProtoICMP}
	return Build(Spec{Key: key, ICMPType: packet.ICMPEchoReply, ICMPSeq: seq, Payload: []byte("abcdefghijklmnop")})
}

// ICMPError returns the error that a router at address from sends about the IP
// packet within frame: its header and the first eight bytes behind it.
func ICMPError(from packet.Addr, icmpType, code uint8, mtu uint16, frame []byte) []byte {
	ip := frame[packet.EthernetLen:]
	quote := ip[:min(len(ip), int(ip[0]&0x0f)*4+8)]
	key := packet.FlowKey{Src: from, Dst: packet.Addr(ip[12:16]), Proto: packet.ProtoICMP}
	return Build(Spec{Key: key, ICMPType: icmpType, ICMPCode: code, MTU: mtu, Payload: quote})
}

// Build serializes a frame with right lengths and checksums. It panics on a
// Spec that cannot be serialized: that is a broken test.
func Build(s Spec) []byte {
	ip := ipv4(s)
	stack := append(ethernet(s), ip)
	if s.FragOffset == 0 {
		stack = append(stack, transport(s, ip)...)
	}
	stack = append(stack, gopacket.Payload(s.Payload))
	buf := gopacket.NewSerializeBuffer()
	options := gopacket.SerializeOptions{FixLengths: true, ComputeChecksums: true}
	if err := gopacket.SerializeLayers(buf, options, stack...); err != nil {
		panic(fmt.Sprintf("packettest: build %+v: %v", s, err))
	}
	frame := buf.Bytes()
	l3 := packet.EthernetLen
	if s.VLAN != 0 {
		l3 += 4
	}
	frame = frame[:l3+int(ip.Length)] // gopacket pads short frames
	if s.NoUDPSum {
		l4 := len(frame) - len(s.Payload) - packet.UDPLen
		frame[l4+6], frame[l4+7] = 0, 0
	}
	return frame
}

func ethernet(s Spec) []gopacket.SerializableLayer {
	eth := &layers.Ethernet{SrcMAC: s.SrcMAC, DstMAC: s.DstMAC, EthernetType: layers.EthernetTypeIPv4}
	if eth.SrcMAC == nil {
		eth.SrcMAC = net.HardwareAddr{2, 0, 0, 0, 0, 1}
	}
	if eth.DstMAC == nil {
		eth.DstMAC = net.HardwareAddr{2, 0, 0, 0, 0, 2}
	}
	if s.VLAN == 0 {
		return []gopacket.SerializableLayer{eth}
	}
	eth.EthernetType = layers.EthernetTypeDot1Q
	return []gopacket.SerializableLayer{eth, &layers.Dot1Q{VLANIdentifier: s.VLAN, Type: layers.EthernetTypeIPv4}}
}

func ipv4(s Spec) *layers.IPv4 {
	ip := &layers.IPv4{
		Version: 4, TOS: s.TOS, Id: s.ID, TTL: s.TTL, FragOffset: s.FragOffset / 8,
		Protocol: layers.IPProtocol(s.Key.Proto),
		SrcIP:    net.IP(s.Key.Src[:]), DstIP: net.IP(s.Key.Dst[:]),
	}
	if ip.TTL == 0 {
		ip.TTL = 64
	}
	if s.DontFragment {
		ip.Flags |= layers.IPv4DontFragment
	}
	if s.MoreFragments {
		ip.Flags |= layers.IPv4MoreFragments
	}
	for range s.IPOptions { // no-operation
		ip.Options = append(ip.Options, layers.IPv4Option{OptionType: 1, OptionLength: 1})
	}
	return ip
}

// transport returns the header that Proto names, nothing for the others.
func transport(s Spec, ip *layers.IPv4) []gopacket.SerializableLayer {
	switch s.Key.Proto {
	case packet.ProtoTCP:
		return []gopacket.SerializableLayer{tcp(s, ip)}
	case packet.ProtoUDP:
		udp := &layers.UDP{SrcPort: layers.UDPPort(s.Key.SrcPort), DstPort: layers.UDPPort(s.Key.DstPort)}
		must(udp.SetNetworkLayerForChecksum(ip))
		return []gopacket.SerializableLayer{udp}
	case packet.ProtoICMP:
		icmp := &layers.ICMPv4{TypeCode: layers.CreateICMPv4TypeCode(s.ICMPType, s.ICMPCode), Seq: s.ICMPSeq}
		switch {
		case IsQuery(s):
			icmp.Id = s.Key.SrcPort
		case IsResponse(s):
			icmp.Id = s.Key.DstPort
		default:
			icmp.Id = uint16(s.QuoteWords)
		}
		if s.ICMPType == packet.ICMPUnreachable {
			icmp.Seq = s.MTU
		}
		return []gopacket.SerializableLayer{icmp}
	}
	return nil
}

// Queries are the types of ICMP queries, and Responses[i] the one that answers
// Queries[i]: echo, timestamp, information, address mask (RFC 5508).
var (
	Queries   = [4]uint8{8, 13, 15, 17}
	Responses = [4]uint8{0, 14, 16, 18}
)

// IsQuery reports whether the packet is an ICMP query: its source port is the
// identifier.
func IsQuery(s Spec) bool { return s.Key.Proto == 1 && slices.Contains(Queries[:], s.ICMPType) }

// IsResponse reports whether the packet answers an ICMP query: its destination
// port is the identifier.
func IsResponse(s Spec) bool { return s.Key.Proto == 1 && slices.Contains(Responses[:], s.ICMPType) }

func tcp(s Spec, ip *layers.IPv4) *layers.TCP {
	t := &layers.TCP{
		SrcPort: layers.TCPPort(s.Key.SrcPort), DstPort: layers.TCPPort(s.Key.DstPort),
		Seq: s.Seq, Ack: s.Ack, Window: s.Window,
		FIN: s.Flags&packet.FIN != 0, SYN: s.Flags&packet.SYN != 0, RST: s.Flags&packet.RST != 0,
		PSH: s.Flags&packet.PSH != 0, ACK: s.Flags&packet.ACK != 0, URG: s.Flags&packet.URG != 0,
		ECE: s.Flags&0x40 != 0, CWR: s.Flags&0x80 != 0,
	}
	if t.Window == 0 {
		t.Window = 65535
	}
	if s.MSS != 0 {
		t.Options = append(t.Options, option(layers.TCPOptionKindMSS, byte(s.MSS>>8), byte(s.MSS)))
	}
	if s.Stamp != 0 {
		t.Options = append(t.Options, layers.TCPOption{OptionType: layers.TCPOptionKindNop},
			option(layers.TCPOptionKindTimestamps, byte(s.Stamp>>24), byte(s.Stamp>>16), byte(s.Stamp>>8), byte(s.Stamp), 0, 0, 0, 0))
	}
	if s.SACK {
		t.Options = append(t.Options, option(layers.TCPOptionKindSACKPermitted))
	}
	if s.WScale != 0 {
		t.Options = append(t.Options, layers.TCPOption{OptionType: layers.TCPOptionKindNop},
			option(layers.TCPOptionKindWindowScale, s.WScale-1))
	}
	must(t.SetNetworkLayerForChecksum(ip))
	return t
}

func option(kind layers.TCPOptionKind, data ...byte) layers.TCPOption {
	return layers.TCPOption{OptionType: kind, OptionLength: uint8(2 + len(data)), OptionData: data}
}

func must(err error) {
	if err != nil {
		panic("packettest: " + err.Error())
	}
}
