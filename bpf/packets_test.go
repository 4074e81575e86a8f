package bpf_test

import (
	"net"
	"net/netip"
	"testing"

	"cohort/packet"

	"github.com/google/gopacket"
	"github.com/google/gopacket/layers"
)

// pkt describes a packet; bytes() writes it, with all lengths and checksums
// computed by another implementation than ours.
type pkt struct {
	dmac, smac [6]uint8
	key        packet.FlowKey
	ttl        uint8
	id         uint16 // of the IP header
	flags      string // TCP: letters of FSRPAU
	seq, ack   uint32
	window     uint16
	urgent     uint16 // offset of the last urgent byte
	tcpOptions []layers.TCPOption
	icmpType   uint8
	noUDPSum   bool
	payload    []byte
	options    bool // IP options
	fragOffset uint16
	moreFrags  bool
}

// from describes a packet of a connection as it comes from the wire.
func from(k packet.FlowKey) pkt {
	p := pkt{dmac: nodeMAC, smac: clientMAC, key: k, ttl: 64, id: 77, flags: "A", seq: 1000, ack: 5000, window: 502, payload: []byte("hello, world")}
	if k.Proto == packet.ProtoICMP {
		p.icmpType = layers.ICMPv4TypeEchoRequest
		if k.SrcPort == 0 {
			p.icmpType = layers.ICMPv4TypeEchoReply
		}
	}
	return p
}

func (p pkt) bytes(t testing.TB) []byte {
	t.Helper()
	buf := gopacket.NewSerializeBuffer()
	opts := gopacket.SerializeOptions{FixLengths: true, ComputeChecksums: true}
	if err := gopacket.SerializeLayers(buf, opts, p.layers(t)...); err != nil {
		t.Fatal(err)
	}
	b := buf.Bytes()
	if udp := b[14+20:]; p.key.Proto == packet.ProtoUDP && !p.options && p.fragOffset == 0 {
		switch {
		case p.noUDPSum:
			udp[6], udp[7] = 0, 0
		case udp[6]|udp[7] == 0: // RFC 768; gopacket does not know
			udp[6], udp[7] = 0xff, 0xff
		}
	}
	return b
}

func (p pkt) layers(t testing.TB) []gopacket.SerializableLayer {
	t.Helper()
	eth := &layers.Ethernet{DstMAC: p.dmac[:], SrcMAC: p.smac[:], EthernetType: layers.EthernetTypeIPv4}
	ip := &layers.IPv4{
		Version: 4, TTL: p.ttl, Id: p.id, Protocol: layers.IPProtocol(p.key.Proto), FragOffset: p.fragOffset,
		SrcIP: net.IP(p.key.Src[:]), DstIP: net.IP(p.key.Dst[:]), Flags: layers.IPv4DontFragment,
	}
	if p.moreFrags {
		ip.Flags = layers.IPv4MoreFragments
	}
	if p.options {
		ip.Options = []layers.IPv4Option{{OptionType: 1}, {OptionType: 1}, {OptionType: 1}, {OptionType: 0}}
	}
	return append([]gopacket.SerializableLayer{eth, ip}, append(p.transport(t, ip), gopacket.Payload(p.payload))...)
}

func (p pkt) transport(t testing.TB, ip *layers.IPv4) []gopacket.SerializableLayer {
	t.Helper()
	switch p.key.Proto {
	case packet.ProtoTCP:
		tcp := &layers.TCP{SrcPort: layers.TCPPort(p.key.SrcPort), DstPort: layers.TCPPort(p.key.DstPort), Seq: p.seq, Ack: p.ack, Window: p.window, Urgent: p.urgent, Options: p.tcpOptions}
		for _, f := range p.flags {
			switch f {
			case 'F':
				tcp.FIN = true
			case 'S':
				tcp.SYN = true
			case 'R':
				tcp.RST = true
			case 'P':
				tcp.PSH = true
			case 'A':
				tcp.ACK = true
			case 'U':
				tcp.URG = true
			default:
				t.Fatalf("no TCP flag %q", f)
			}
		}
		must(t, tcp.SetNetworkLayerForChecksum(ip))
		return []gopacket.SerializableLayer{tcp}
	case packet.ProtoUDP:
		udp := &layers.UDP{SrcPort: layers.UDPPort(p.key.SrcPort), DstPort: layers.UDPPort(p.key.DstPort)}
		must(t, udp.SetNetworkLayerForChecksum(ip))
		return []gopacket.SerializableLayer{udp}
	case packet.ProtoICMP:
		return []gopacket.SerializableLayer{&layers.ICMPv4{TypeCode: layers.CreateICMPv4TypeCode(p.icmpType, 0), Id: p.key.SrcPort | p.key.DstPort, Seq: 9}}
	}
	return nil
}

// sentTo is the packet as the owner sends it on: one hop older, to another MAC.
func (p pkt) sentTo(dmac [6]uint8) pkt {
	p.dmac, p.smac = dmac, nodeMAC
	p.ttl--
	return p
}

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func key(proto uint8, src netip.Addr, sport uint16, dst netip.Addr, dport uint16) packet.FlowKey {
	return packet.FlowKey{Src: packet.AddrFrom(src), Dst: packet.AddrFrom(dst), SrcPort: sport, DstPort: dport, Proto: proto}
}

// The connections of most tests, as the client begins them.
var (
	tcpKey  = key(packet.ProtoTCP, clientAddr, 40000, serverAddr, 443)
	udpKey  = key(packet.ProtoUDP, clientAddr, 40001, serverAddr, 53)
	echoKey = key(packet.ProtoICMP, clientAddr, 0x1234, serverAddr, 0)
	greKey  = key(47, clientAddr, 0, serverAddr, 0)
)
