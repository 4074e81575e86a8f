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

// TestFR5_FR11_AForgedSegmentDecidesNothing of a handshake that was taken over: neither
// which number the responder knows, nor that it is the copy's, nor that it is never found.
// Who forges does not know where the two are: it is off by as much as any window, or by
// little more than may be under way.
func TestFR5_FR11_AForgedSegmentDecidesNothing(t *testing.T) {
	for _, far := range []uint32{1 << 30, 1 << 31, underWay + 200} {
		forgedFrom(t, far)
	}
}

func forgedFrom(t *testing.T, far uint32) {
	const isn = 5000
	type about struct {
		k           packet.FlowKey
		stale, made uint32 // by how much the copy shifts; the number that the responder has
	}
	ask := func(a about) Packet { return segmentOf(a.k, ACK, isn+1, 7001, 100) }
	answer := func(a about) Packet { return segmentOf(a.k.Reverse(), ACK, 7001, a.made+1, 0) }
	as := func(a about, shift uint32) Packet { // what the answer says to who shifts by so much
		return segmentOf(a.k, ACK, a.made+1-shift, 7001+far, 100)
	}
	fifth := func(a about) uint32 { return testSpace.ISN(a.k.Reverse(), isn, 5) - isn }
	for name, forged := range map[string][]func(a about) Packet{
		"the initiator's, far ahead":               {func(a about) Packet { return segmentOf(a.k, ACK, isn+1+far, 7001, 100) }},
		"the initiator's, far ahead, after it":     {ask, func(a about) Packet { return segmentOf(a.k, ACK, isn+1+far, 7001, 100) }},
		"a SYN, after it":                          {ask, func(a about) Packet { return syn(a.k, isn+far) }},
		"the initiator's, of the copy's number":    {func(a about) Packet { return as(a, a.stale) }, answer},
		"the same, after the responder's":          {answer, func(a about) Packet { return as(a, a.stale) }},
		"the initiator's, of another node's":       {func(a about) Packet { return as(a, fifth(a)) }, answer},
		"the responder's, of the copy's number":    {ask, func(a about) Packet { return segmentOf(a.k.Reverse(), ACK, 7001+far, isn+1+a.stale, 0) }},
		"the responder's, of another node's":       {ask, func(a about) Packet { return segmentOf(a.k.Reverse(), ACK, 7001+far, isn+1+fifth(a), 0) }},
		"the responder's SYN-ACK, of another node": {ask, func(a about) Packet { return segmentOf(a.k.Reverse(), SYN|ACK, 7001+far, isn+1+fifth(a), 1) }},
	} {
		t.Run(fmt.Sprintf("%s, %d off", name, far), func(t *testing.T) {
			c, k, stale := orphanedHandshakeFrom(t, isn)
			a := about{k, stale, testSpace.ISN(k.Reverse(), isn, 2)}
			for i, p := range forged {
				q := p(a)
				c.at(3, q)
				if f := c.flow(3, k); f.SeqDelta != stale || f.State != uint8(flowtable.TCPSynSent) {
					t.Fatalf("after packet %d: shifts by %d, was %d, in %v", i, f.SeqDelta, stale, flowtable.TCPState(f.State))
				}
			}
			c.at(3, ask(a))
			c.at(3, answer(a))
			if f := c.flow(3, k); f.SeqDelta != a.made-isn || f.State != uint8(flowtable.TCPEstablished) {
				t.Errorf("afterwards: shifts by %d in %v, want %d", f.SeqDelta, flowtable.TCPState(f.State), a.made-isn)
			}
		})
	}
}

// TestFR5_FR11_AForgedFINEndsNothing: what seems to be the end of the responder's data,
// before anybody knows its numbers, ends nothing once they are known.
func TestFR5_FR11_AForgedFINEndsNothing(t *testing.T) {
	for _, name := range []string{"", "SYN", "ACK"} { // what of the initiator is seen before
		for _, flags := range []uint8{FIN, FIN | ACK} {
			c, k, delta := orphanedHandshake(t)
			if first := firsts[name]; first != nil {
				c.at(3, first(k))
			}
			for range 2 {
				c.at(3, segmentOf(k.Reverse(), flags, 7001+1<<30, 5001+1<<30, 1))
			}
			c.at(3, segmentOf(k, ACK, 5001, 7001, 1))
			c.at(3, segmentOf(k.Reverse(), ACK, 7001, 5001+delta, 1))
			c.at(3, segmentOf(k, ACK, 5002, 7002, 1))
			c.run(1100 * ms)
			if f := c.flow(3, k); f.State != uint8(flowtable.TCPEstablished) || f.SeqDelta != delta {
				t.Errorf("%x after %q: %v, shifts by %d, want %d", flags, name, flowtable.TCPState(f.State), f.SeqDelta, delta)
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
