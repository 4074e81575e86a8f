package packet_test

import (
	"bytes"
	"testing"

	"cohort/packet"
	"cohort/packet/packettest"
)

func TestTR1_ICMPErrorIsTheOneASerializerWouldBuild(t *testing.T) {
	for _, c := range []struct {
		name      string
		icmpType  uint8
		code      uint8
		mtu       uint16
		payload   int
		wantQuote int
	}{
		{"time exceeded", packet.ICMPTimeExceeded, packet.CodeTTLInTransit, 0, 10, 50},
		{"fragmentation needed", packet.ICMPUnreachable, packet.CodeFragmentNeeded, 1400, 1460, 548},
		{"odd length", packet.ICMPUnreachable, packet.CodeAdminProhibited, 0, 11, 51},
	} {
		var p packet.Packet
		if r := p.Parse(packettest.TCP(web, packet.ACK, 1, 1, make([]byte, c.payload))); r != packet.OK {
			t.Fatal(r)
		}
		head := []byte("head")
		got := p.AppendICMPError(head, router, c.icmpType, c.code, c.mtu)
		want := packettest.Build(packettest.Spec{
			Key: packet.FlowKey{Src: router, Dst: client, Proto: packet.ProtoICMP}, TOS: 0xc0,
			ICMPType: c.icmpType, ICMPCode: c.code, MTU: c.mtu, Payload: p.Data[p.L3 : p.L3+c.wantQuote],
		})
		if !bytes.Equal(got[:4], head) || !bytes.Equal(got[4:], want[packet.EthernetLen:]) {
			t.Errorf("%s:\n%x, want\n%x", c.name, got[4:], want[packet.EthernetLen:])
		}
		var answer packet.Packet
		if r := answer.ParseIP(got, 4); r != packet.OK || answer.ConnKey() != web.Reverse() {
			t.Errorf("%s: %v, belongs to %v", c.name, r, answer.ConnKey())
		}
	}
}

func TestICMPErrorIsNotSentAboutEverything(t *testing.T) {
	syn := packettest.TCP(web, packet.SYN, 1, 0, nil)
	with := func(change func(*packettest.Spec)) []byte {
		s := packettest.Spec{Key: web}
		change(&s)
		return packettest.Build(s)
	}
	for _, c := range []struct {
		name  string
		frame []byte
		want  bool
	}{
		{"a TCP segment", syn, true},
		{"an echo request", packettest.Echo(client, server, 1, 1), true},
		{"a first fragment", with(func(s *packettest.Spec) { s.MoreFragments = true }), true},
		{"a later fragment", with(func(s *packettest.Spec) { s.FragOffset = 8 }), false},
		{"an ICMP error", packettest.ICMPError(router, packet.ICMPTimeExceeded, 0, 0, syn), false},
		{"the first fragment of an ICMP error", with(func(s *packettest.Spec) {
			s.Key, s.ICMPType, s.MoreFragments = packet.FlowKey{Src: client, Dst: server, Proto: packet.ProtoICMP}, packet.ICMPUnreachable, true
		}), false},
		{"a broadcast frame", with(func(s *packettest.Spec) { s.DstMAC = bytes.Repeat([]byte{0xff}, 6) }), false},
		{"a multicast destination", with(func(s *packettest.Spec) { s.Key.Dst = packet.Addr{224, 0, 0, 5} }), false},
		{"a multicast source", with(func(s *packettest.Spec) { s.Key.Src = packet.Addr{239, 0, 0, 5} }), false},
		{"no source", with(func(s *packettest.Spec) { s.Key.Src = packet.Addr{} }), false},
		{"loopback", with(func(s *packettest.Spec) { s.Key.Src = packet.Addr{127, 0, 0, 1} }), false},
		{"nothing", nil, false},
	} {
		var p packet.Packet
		p.Parse(c.frame)
		if got := p.MayBeAnswered(); got != c.want {
			t.Errorf("%s: %v", c.name, got)
		}
	}
}
