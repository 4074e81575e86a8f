package dataplane

import (
	"bytes"
	"encoding/binary"
	"errors"
	"testing"

	"cohort/packet"
	"cohort/packet/packettest"

	"github.com/google/gopacket"
	"github.com/google/gopacket/layers"
)

var (
	routerAddr = packet.Addr{10, 1, 0, 1}
	tcpFlow    = packet.FlowKey{Src: packet.Addr{10, 1, 0, 50}, Dst: packet.Addr{198, 51, 100, 7}, SrcPort: 4000, DstPort: 80}
)

func newICMP(t *testing.T, cfg ICMPConfig) *ICMP {
	t.Helper()
	c, err := NewICMP(cfg)
	must(t, err)
	return c
}

func segment(n int) []byte {
	return packettest.TCP(tcpFlow, packet.ACK, 1, 2, bytes.Repeat([]byte{7}, n))[14:]
}

// decode reads an error with an independent parser.
func decode(t *testing.T, b []byte) (*layers.IPv4, *layers.ICMPv4) {
	t.Helper()
	p := gopacket.NewPacket(b, layers.LayerTypeIPv4, gopacket.Default)
	ip, ok := p.Layer(layers.LayerTypeIPv4).(*layers.IPv4)
	icmp, ok2 := p.Layer(layers.LayerTypeICMPv4).(*layers.ICMPv4)
	if !ok || !ok2 {
		t.Fatalf("not an ICMP message: %x", b)
	}
	if packet.Checksum(b[:20]) != 0 || packet.Checksum(b[20:]) != 0 {
		t.Error("a checksum is wrong")
	}
	return ip, icmp
}

func TestTR1_ErrorsTellTheSenderWhy(t *testing.T) {
	for r, want := range map[ICMPReason]layers.ICMPv4TypeCode{
		TimeExceeded:        layers.CreateICMPv4TypeCode(11, 0),
		FragmentationNeeded: layers.CreateICMPv4TypeCode(3, 4),
		HostUnreachable:     layers.CreateICMPv4TypeCode(3, 1),
		NetUnreachable:      layers.CreateICMPv4TypeCode(3, 0),
		Prohibited:          layers.CreateICMPv4TypeCode(3, 13),
	} {
		offending := segment(100)
		b := newICMP(t, ICMPConfig{}).Build(r, routerAddr, offending, 1400)
		ip, icmp := decode(t, b)
		if icmp.TypeCode != want || !ip.SrcIP.Equal(routerAddr.Netip().AsSlice()) || !ip.DstIP.Equal(tcpFlow.Src.Netip().AsSlice()) {
			t.Errorf("%v: %v from %v to %v", r, icmp.TypeCode, ip.SrcIP, ip.DstIP)
		}
		mtu := uint16(0)
		if r == FragmentationNeeded {
			mtu = 1400
		}
		if icmp.Seq != mtu || icmp.Id != 0 {
			t.Errorf("%v: next-hop MTU %d, unused %d; want %d and 0", r, icmp.Seq, icmp.Id, mtu)
		}
		if !bytes.Equal(icmp.Payload, offending) || ip.TTL != 64 || ip.TOS>>5 != 6 {
			t.Errorf("%v: quotes %d bytes of %d, TTL %d, TOS %#x", r, len(icmp.Payload), len(offending), ip.TTL, ip.TOS)
		}
	}
}

func TestErrorQuotesAtMostWhatFits548Bytes(t *testing.T) {
	offending := segment(1400)
	b := newICMP(t, ICMPConfig{}).Build(TimeExceeded, routerAddr, offending, 0)
	if len(b) != ICMPErrorSize || !bytes.Equal(b[28:], offending[:520]) {
		t.Errorf("%d bytes", len(b))
	}
	padded := append(segment(0), make([]byte, 10)...) // Ethernet padding is not part of it
	if b := newICMP(t, ICMPConfig{}).Build(TimeExceeded, routerAddr, padded, 0); len(b) != 28+40 {
		t.Errorf("%d bytes for a packet of 40", len(b))
	}
}

// RFC 1812, 4.3.2.7.
func TestNoErrorIsSentAboutWhatMustNotBeAnswered(t *testing.T) {
	edit := func(f func(b []byte)) []byte { b := segment(20); f(b); return b }
	icmp := func(typ uint8) []byte {
		b := packettest.Echo(tcpFlow.Src, tcpFlow.Dst, 1, 1)[14:]
		b[20] = typ
		return b
	}
	for name, b := range map[string][]byte{
		"unreachable":         icmp(3),
		"source quench":       icmp(4),
		"redirect":            icmp(5),
		"time exceeded":       icmp(11),
		"parameter problem":   icmp(12),
		"unknown ICMP":        icmp(99),
		"ICMP without a type": edit(func(b []byte) { b[9] = packet.ProtoICMP; binary.BigEndian.PutUint16(b[2:], 20) })[:20],
		"later fragment":      edit(func(b []byte) { b[7] = 1 }),
		"to multicast":        edit(func(b []byte) { b[16] = 224 }),
		"to broadcast":        edit(func(b []byte) { copy(b[16:], []byte{255, 255, 255, 255}) }),
		"from multicast":      edit(func(b []byte) { b[12] = 230 }),
		"from loopback":       edit(func(b []byte) { b[12] = 127 }),
		"from nobody":         edit(func(b []byte) { copy(b[12:], []byte{0, 0, 0, 0}) }),
		"IPv6":                edit(func(b []byte) { b[0] = 0x60 }),
		"short header":        edit(func(b []byte) { b[0] = 0x44 }),
		"long header":         edit(func(b []byte) { b[0] = 0x4f })[:40],
		"truncated":           segment(0)[:19],
		"empty":               nil,
	} {
		c := newICMP(t, ICMPConfig{})
		if m := c.Build(TimeExceeded, routerAddr, b, 0); m != nil || c.Refused != 1 {
			t.Errorf("%s: answered with %x", name, m)
		}
	}
	c := newICMP(t, ICMPConfig{})
	if c.Build(TimeExceeded, packet.Addr{}, segment(1), 0) != nil || c.Build(numICMPReasons, routerAddr, segment(1), 0) != nil {
		t.Error("an error without source or reason was made")
	}
}

func TestErrorsAreSentAboutQueriesAndFirstFragments(t *testing.T) {
	first := segment(20)
	first[6] |= 0x20 // more fragments
	for name, b := range map[string][]byte{
		"echo":           packettest.Echo(tcpFlow.Src, tcpFlow.Dst, 1, 1)[14:],
		"first fragment": first,
	} {
		if newICMP(t, ICMPConfig{}).Build(TimeExceeded, routerAddr, b, 0) == nil {
			t.Errorf("%s: not answered", name)
		}
	}
}

func TestErrorsAreRateLimited(t *testing.T) {
	now := int64(0)
	c := newICMP(t, ICMPConfig{Rate: 10, Burst: 3, Now: func() int64 { return now }})
	send := func(n int) (sent int) {
		for range n {
			if c.Build(TimeExceeded, routerAddr, segment(1), 0) != nil {
				sent++
			}
		}
		return sent
	}
	if n := send(10); n != 3 || c.Limited != 7 {
		t.Errorf("burst: %d sent, %d limited", n, c.Limited)
	}
	now += 99e6
	if n := send(1); n != 0 {
		t.Error("sent before a tenth of a second had passed")
	}
	now += 1e6
	if n := send(5); n != 1 {
		t.Errorf("%d sent after a tenth of a second", n)
	}
	now += 3600e9
	if n := send(10); n != 3 {
		t.Errorf("%d sent after an hour, want the burst", n)
	}
	now -= 1e9 // a clock that steps back earns nothing and costs nothing
	if n := send(1); n != 0 {
		t.Error("a step back of the clock earned credit")
	}
}

func TestRefusedErrorsCostNoCredit(t *testing.T) {
	c := newICMP(t, ICMPConfig{Rate: 1, Now: func() int64 { return 0 }})
	c.Build(TimeExceeded, routerAddr, nil, 0)
	if c.Build(TimeExceeded, routerAddr, segment(1), 0) == nil {
		t.Error("the only credit went to a packet that must not be answered")
	}
}

func TestBuildingAnErrorAllocatesNothing(t *testing.T) {
	c := newICMP(t, ICMPConfig{Rate: 1e6})
	b := segment(1000)
	if n := testing.AllocsPerRun(100, func() {
		if c.Build(FragmentationNeeded, routerAddr, b, 1400) == nil {
			t.Error("limited")
		}
	}); n != 0 {
		t.Errorf("%v allocations", n)
	}
}

func TestICMPConfigurationIsChecked(t *testing.T) {
	for _, cfg := range []ICMPConfig{{Rate: -1}, {Rate: 2e9}, {Burst: -1}, {Burst: 2e6}} {
		if _, err := NewICMP(cfg); !errors.Is(err, ErrConfig) {
			t.Errorf("%+v: %v", cfg, err)
		}
	}
	if ICMPReason(77).String() != "icmp_77" || Prohibited.String() != "prohibited" {
		t.Error("names")
	}
}

func FuzzICMPBuild(f *testing.F) {
	f.Add(segment(10))
	f.Add([]byte{0x4f})
	f.Fuzz(func(t *testing.T, ip []byte) {
		c := newICMP(t, ICMPConfig{})
		if b := c.Build(TimeExceeded, routerAddr, ip, 0); b != nil && (len(b) > ICMPErrorSize || packet.Checksum(b[20:]) != 0) {
			t.Errorf("error of %d bytes", len(b))
		}
	})
}
