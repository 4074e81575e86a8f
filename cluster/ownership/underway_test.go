package ownership

import (
	"fmt"
	"slices"
	"testing"

	"cohort/flowtable"
)

// TestFR5_FR11_HoweverMuchIsUnderWay from the responder: what the initiator acknowledges
// and what the responder sends are apart by that, and by more than a MiB on any long fast
// path. Where the copy's number is stale, the responder takes nothing of what the initiator
// acknowledges and repeats its oldest segment, so the two never come nearer.
func TestFR5_FR11_HoweverMuchIsUnderWay(t *testing.T) {
	for _, bytes := range []uint32{0, 1 << 19, 1<<20 + 1460, 4 << 20, underWay} {
		t.Run(fmt.Sprintf("stale, %d bytes", bytes), func(t *testing.T) {
			c, k, _ := orphanedHandshake(t)
			made := testSpace.ISN(k.Reverse(), 5000, 2)
			c.at(3, segmentOf(k, ACK, 5301, 7001+bytes, 0))
			c.at(3, segmentOf(k.Reverse(), ACK, 7001, made+301, 1460))
			if f := c.flow(3, k); f.SeqDelta != made-5000 || f.State != uint8(flowtable.TCPEstablished) {
				t.Errorf("after a repeated segment it shifts by %d in %v, want %d", f.SeqDelta, flowtable.TCPState(f.State), made-5000)
			}
		})
		t.Run(fmt.Sprintf("right, %d bytes", bytes), func(t *testing.T) {
			for _, repeats := range []bool{false, true} {
				for _, responderFirst := range []bool{false, true} {
					c, k, delta := orphanedHandshake(t)
					got, sent := uint32(7001), 7001+bytes
					if repeats {
						got, sent = sent, got
					}
					first, second := segmentOf(k, ACK, 5301, got, 0), segmentOf(k.Reverse(), ACK, sent, 5301+delta, 0)
					if responderFirst {
						first, second = second, first
					}
					c.at(3, first)
					c.at(3, second)
					if f := c.flow(3, k); f.SeqDelta != delta || f.State != uint8(flowtable.TCPEstablished) {
						t.Errorf("responder first %v, repeats %v: it shifts by %d, want %d, in %v", responderFirst, repeats, f.SeqDelta, delta, flowtable.TCPState(f.State))
					}
				}
			}
		})
	}
}

// TestFR5_FR11_DataInASYN (RFC 7413), which the SYN-ACK acknowledges with it: whoever takes
// the handshake over lets that pass, of any length that makes it no member's number: it
// may be that then. With the next SYN it passes whatever its length.
func TestFR5_FR11_DataInASYN(t *testing.T) {
	var dropped []uint32
	for n := range uint32(1461) {
		if n > 100 && n%97 > 1 {
			continue // as the first hundred
		}
		c, k, delta := orphanedHandshake(t)
		answer := synAck(k.Reverse(), 5000+delta+n)
		owner, v := c.at(3, answer) // node 2 gets what passes for its own
		if v.Op != OpForward {
			wantDrop(t, v, ReasonDuplicate)
			dropped = append(dropped, n)
		} else if f := c.flow(owner, k); n != 0 && f.State != uint8(flowtable.TCPSynSent) {
			t.Fatalf("with %d bytes it proves the number: %v", n, flowtable.TCPState(f.State))
		}
		_, v = c.at(3, syn(k, 5000))
		wantForward(t, v)
		_, v = c.at(3, answer)
		wantForward(t, v)
		if f := c.flow(c.oneOwner(k), k); f.SeqDelta != delta || f.State != uint8(flowtable.TCPSynReceived) {
			t.Fatalf("%d bytes, after a second SYN: shifts by %d in %v, want %d", n, f.SeqDelta, flowtable.TCPState(f.State), delta)
		}
	}
	if !slices.Equal(dropped, []uint32{97, 2 * 97}) { // after node 1 come 2 and 3
		t.Errorf("dropped with %v bytes", dropped)
	}
}

// TestFR5_FR11_AFormerMembersNumberIsAnothers: whoever gave the SYN the number that the
// responder has taken may have died since, and then the SYN-ACK goes nowhere, either.
func TestFR5_FR11_AFormerMembersNumberIsAnothers(t *testing.T) {
	for _, dead := range []bool{false, true} {
		c, k, _ := orphanedHandshake(t)
		if dead {
			c.kill(2)
			c.apply(2, 3, 3)
			c.run(100 * ms)
		}
		other := testSpace.ISN(k.Reverse(), 5000, 2)
		_, v := c.at(3, segmentOf(k.Reverse(), SYN|ACK, 7000, other+1, 1))
		wantDrop(t, v, ReasonDuplicate)
		_, v = c.at(3, syn(k, 5000))
		wantForward(t, v)
		_, v = c.at(3, segmentOf(k.Reverse(), SYN|ACK, 7000, other+1, 1))
		wantForward(t, v)
		if f := c.flow(c.oneOwner(k), k); f.SeqDelta != other-5000 || f.State != uint8(flowtable.TCPSynReceived) {
			t.Errorf("dead %v: shifts by %d in %v, want %d", dead, f.SeqDelta, flowtable.TCPState(f.State), other-5000)
		}
	}
}
