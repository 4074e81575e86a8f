package ownership

import (
	"fmt"
	"testing"

	"cohort/flowtable"
	"cohort/packet"
)

// TestFR5_FR11_HoweverMuchWasSent: the last word of which number the responder knows was
// lost, and both ends have gone on for long. Whoever takes over sees one segment again,
// which the responder has got with many that followed it, or has not. It follows,
// and never the wrong number.
func TestFR5_FR11_HoweverMuchWasSent(t *testing.T) {
	for _, sent := range []uint32{0, 30_000, 1 << 17, 1 << 24, 3 << 30} {
		for _, ahead := range []uint32{0, 1460, 60_000} {
			for i := range uint32(50) {
				isn := 5000 + i*0x9e3779b1
				c, k, _ := orphanedHandshakeFrom(t, isn)
				made := testSpace.ISN(k.Reverse(), isn, 2)
				c.at(3, segmentOf(k, ACK, isn+1+sent, 7001, 1460))
				c.at(3, segmentOf(k.Reverse(), ACK, 7001, made+1+sent+ahead, 0))
				if f := c.flow(3, k); f.SeqDelta != made-isn || f.State != uint8(flowtable.TCPEstablished) {
					t.Fatalf("number %d, %d bytes sent, %d of them acknowledged again: shifts by %d in %v, want %d",
						isn, sent, ahead, f.SeqDelta, flowtable.TCPState(f.State), made-isn)
				}
			}
		}
	}
}

// nothingFits is a connection that was taken over in its handshake, its initiator's first
// packet there, and one of the responder's that acknowledges no node's number.
func nothingFits(t testing.TB, first func(k packet.FlowKey) Packet) (*cluster, Packet) {
	c, k, _ := orphanedHandshake(t)
	c.at(3, first(k))
	return c, segmentOf(k.Reverse(), ACK, 7001, testSpace.ISN(k.Reverse(), 5000, 9)+1+1<<20, 0)
}

var firsts = map[string]func(k packet.FlowKey) Packet{
	"SYN": func(k packet.FlowKey) Packet { return syn(k, 5000) },
	"ACK": func(k packet.FlowKey) Packet { return segmentOf(k, ACK, 5001, 7001, 100) },
}

// TestNothingFitsAllocatesNothing, however many such packets come (STYLE).
func TestNothingFitsAllocatesNothing(t *testing.T) {
	if raceEnabled {
		t.Skip("functions that are inlined otherwise escape there, those of FlowSlot.Sent too")
	}
	for name, first := range firsts {
		c, p := nothingFits(t, first)
		wantNoAllocations(t, fmt.Sprintf("a responder's packet that fits nothing, after the initiator's %s", name), func() {
			q := p
			c.nodes[3].core.Packet(c.now, &q)
		})
		if f := c.flow(3, p.Key.Reverse()); f.State != uint8(flowtable.TCPSynSent) {
			t.Errorf("%s: it proved something", name)
		}
	}
}

// BenchmarkNothingFits is what such a packet costs: whoever floods a connection costs
// that much with each.
func BenchmarkNothingFits(b *testing.B) {
	for name, first := range firsts {
		b.Run(name, func(b *testing.B) {
			c, p := nothingFits(b, first)
			b.ReportAllocs()
			for b.Loop() {
				q := p
				c.nodes[3].core.Packet(c.now, &q)
			}
		})
	}
}
