package ownership

import (
	"fmt"
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
