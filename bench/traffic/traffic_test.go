package traffic

import (
	"bytes"
	"net/netip"
	"os"
	"testing"

	"cohort/packet"

	"github.com/google/gopacket"
	"github.com/google/gopacket/layers"
)

func newSource(t *testing.T, shape Shape) *Source {
	t.Helper()
	if os.Geteuid() != 0 {
		t.Skip("loading BPF programs needs root")
	}
	s, err := NewSource(shape, 1)
	if err != nil {
		t.Fatalf("%+v", err)
	}
	t.Cleanup(func() { s.Close() })
	return s
}

// TestFramesAreWhatTheKeySays: each frame is that of the next connection, and
// serializing it again with another implementation changes no byte, checksums
// included.
func TestFramesAreWhatTheKeySays(t *testing.T) {
	ccl := &CCLFrame{From: netip.MustParseAddr("10.99.0.2"), To: netip.MustParseAddr("10.99.0.1"), VNI: 7, Node: 2, View: 0x10007, Iface: 1}
	for name, shape := range map[string]Shape{
		"syn": {Flags: SYN}, "few hosts": {Flags: SYN, Hosts: 2}, "reply": {Reply: true, Flags: SYNACK}, "ack": {Flags: ACK, UDP: true},
		"replies": {Reply: true, Flags: ACK, UDP: true}, "ccl": {Flags: ACK, CCL: ccl},
		"spread": {Flags: ACK, UDP: true, Spread: true, Hosts: 2}, "mapped": {Flags: ACK, Reply: true, UDP: true, Spread: true, Mapped: mapped},
	} {
		t.Run(name, func(t *testing.T) {
			shape.Flows, shape.Sequential = 5, true
			s := newSource(t, shape)
			for i := range 7 {
				got, err := s.One()
				if err != nil {
					t.Fatal(err)
				}
				key := shape.Key(i % 5)
				if shape.Reply {
					key = shape.ReplyKey(i % 5)
				}
				checkPacket(t, got[shape.l3():][:ipLength], key, shape.Flags)
			}
		})
	}
}

func checkPacket(t *testing.T, b []byte, want packet.FlowKey, flags uint8) {
	t.Helper()
	frame := append([]byte{0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 8, 0}, b...)
	var p packet.Packet
	if r := p.Parse(frame); r != packet.OK {
		t.Fatal(r)
	}
	if got := p.ConnKey(); got != want {
		t.Errorf("key %v, want %v", got, want)
	}
	if p.Proto == packet.ProtoTCP && p.Flags != flags {
		t.Errorf("TCP flags %#x, want %#x", p.Flags, flags)
	}
	parsed := gopacket.NewPacket(b, layers.LayerTypeIPv4, gopacket.Default)
	var again []gopacket.SerializableLayer
	for _, l := range parsed.Layers() {
		if c, ok := l.(interface {
			SetNetworkLayerForChecksum(gopacket.NetworkLayer) error
		}); ok {
			if err := c.SetNetworkLayerForChecksum(parsed.NetworkLayer()); err != nil {
				t.Fatal(err)
			}
		}
		if s, ok := l.(gopacket.SerializableLayer); ok {
			again = append(again, s)
		}
	}
	buf := gopacket.NewSerializeBuffer()
	if err := gopacket.SerializeLayers(buf, gopacket.SerializeOptions{ComputeChecksums: true, FixLengths: true}, again...); err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(buf.Bytes(), b) {
		t.Errorf("packet %x\nshould be %x", b, buf.Bytes())
	}
}

var mapped = netip.MustParseAddr("203.0.113.9")

// TestSpreadKeysAreUniqueWithoutTheHost: a translator to one address can leave
// every connection its port; and the packets say what the keys say.
func TestSpreadKeysAreUniqueWithoutTheHost(t *testing.T) {
	for _, hosts := range []int{0, 4096} {
		shape := Shape{Flows: MaxSpread, Hosts: hosts, Spread: true, Mapped: mapped}
		numbers := make(map[packet.FlowKey]int, MaxSpread)
		for i := range shape.Flows {
			numbers[shape.ReplyKey(i)] = i
		}
		if len(numbers) != MaxSpread {
			t.Fatalf("%d hosts: %d connections have %d reply keys", hosts, MaxSpread, len(numbers))
		}
		shape.Reply, shape.Flags = true, ACK
		replies := newSource(t, shape)
		shape.Reply = false
		packets := newSource(t, shape)
		for range 100 { // both count through the same random connections
			i, known := numbers[keyOf(t, replies)]
			if got := keyOf(t, packets); !known || got != shape.Key(i) {
				t.Fatalf("%d hosts: connection %d (%v) is %v", hosts, i, known, got)
			}
		}
	}
	if _, err := NewSource(Shape{Flows: MaxSpread + 1, Spread: true}, 1); err == nil {
		t.Error("more connections than servers and ports")
	}
}

func keyOf(t *testing.T, s *Source) packet.FlowKey {
	t.Helper()
	b, err := s.One()
	if err != nil {
		t.Fatal(err)
	}
	var p packet.Packet
	if r := p.Parse(b[:ethernet+ipLength]); r != packet.OK {
		t.Fatal(r)
	}
	return p.ConnKey()
}

// TestRandomFlowsAreAll: a random source reaches every connection.
func TestRandomFlowsAreAll(t *testing.T) {
	shape := Shape{Flows: 8, UDP: true, Flags: ACK}
	s := newSource(t, shape)
	seen := make(map[packet.FlowKey]bool)
	for range 400 { // 8 of 8 but for one chance in 10^22
		seen[keyOf(t, s)] = true
	}
	for i := range shape.Flows {
		if !seen[shape.Key(i)] {
			t.Errorf("connection %d never came", i)
		}
	}
}

// TestRepeatMeasuresManyRuns: the source undoes nothing that its subject did
// not do, and the measure counts.
func TestRepeatMeasuresManyRuns(t *testing.T) {
	s := newSource(t, Shape{Flows: 100, Flags: ACK})
	if each, err := s.Repeat(nil, 0, 100_000); err != nil || each <= 0 {
		t.Errorf("%v a packet, %v", each, err)
	}
}
