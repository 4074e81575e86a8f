package ownership

import (
	"testing"

	"cohort/flowtable"
	"cohort/packet"
)

// A FIN ends the delegations within a pass of ageing.
func TestDESIGN5_TheEndOfAConnectionRevokes(t *testing.T) {
	c := natCluster(t, 1, 2, 3)
	k := inside(1, packet.ProtoTCP)
	reply, sent := c.talk(k, 2, 3)
	c.pass(3, tcp(reply, FIN|ACK), &sent)
	c.wantSettled(50*ms, k, sent)
}

// A reset is judged by what its receiver has acknowledged last, which only a delegate
// may know (RFC 5961).
func TestDESIGN5_AResetWaitsForTheReports(t *testing.T) {
	c := natCluster(t, 1, 2, 3)
	k := inside(2, packet.ProtoTCP)
	reply, sent := c.talk(k, 2, 3)
	for i, rst := range []struct {
		seq  uint32
		v    Op
		over bool
	}{{203000, OpDrop, false}, {130000, OpForward, false}, {3000, OpForward, true}} { // the window is 128000
		if i > 0 {
			reply, sent = c.again(k, sent)
		}
		ack := tcp(k, ACK)
		ack.Ack = 3000
		c.stays(2, ack, &sent)
		p := tcp(reply, RST)
		p.Seq = rst.seq
		_, v := c.at(3, p)
		if v.Op != rst.v {
			t.Fatalf("reset at %d: %+v (%v)", rst.seq, v, v.Reason)
		}
		if over := c.flow(1, k).State == uint8(flowtable.TCPClosed); over != rst.over {
			t.Fatalf("reset at %d: state %v", rst.seq, flowtable.TCPState(c.flow(1, k).State))
		}
		c.run(5 * ms)
		c.wantNoneLent()
	}
}

// NT4: the owner does not let go of a translation while somebody may still use it by
// a delegation, whom no message reaches. Here the same ports begin a connection anew.
func TestNT4_DELEGATED_PortsAreNotReusedUnderALease(t *testing.T) {
	for _, restarted := range []bool{false, true} {
		c := natCluster(t, 1, 2)
		k := inside(1, packet.ProtoTCP)
		reply, sent := c.talk(k, 2)
		c.pass(2, tcp(k, ACK), &sent)
		c.cut(1, 2, func() {
			if restarted { // hitless: the table stays, what was lent is forgotten
				c.rebirth(1)
			}
			closed := c.nodes[1]
			if ref, f := closed.core.owning(k); !closed.core.lentInForce(ref.Slot(), f) {
				t.Fatalf("restarted %v: the owner thinks that nothing is lent", restarted)
			}
			closed.table.UpdateFlow(closed.table.Lookup(k).Slot(), func(f *flowtable.FlowSlot) { f.State = uint8(flowtable.TCPTimeWait) })
			held, began := false, false
			for range 40 {
				_, v := c.at(1, tcp(k, SYN))
				switch {
				case v.Op == OpForward:
					if began = true; c.delegated(2, k) || c.delegated(2, reply) {
						t.Fatal("another connection began while a delegation of the last one was in force")
					}
				case v.Reason != ReasonOwnerTimeout:
					t.Fatalf("%v", v.Reason)
				default:
					held = true
				}
				if began {
					break
				}
			}
			if !held || !began {
				t.Fatalf("restarted %v: held %v, began %v", restarted, held, began)
			}
		})
	}
}

// A change of view ends every delegation; the counters arrive all the same, and it
// begins anew.
func TestDESIGN5_AViewEndsDelegations(t *testing.T) {
	c := natCluster(t, 1, 2, 3)
	k := inside(1, packet.ProtoTCP)
	reply, sent := c.talk(k, 2, 3)
	c.pass(2, tcp(k, ACK), &sent)
	c.apply(1, 2, 1, 2, 3)
	if c.delegated(2, k) || c.delegated(3, reply) {
		t.Fatal("in force in another view")
	}
	c.wantSettled(2*second, k, sent)
	c.again(k, sent)
}

// The owner dies: its delegates forward until the lease ends or the view changes, no
// longer, and the connection goes on with its translation.
func TestFR11_DELEGATED_TheOwnerDies(t *testing.T) {
	c := natCluster(t, 1, 2, 3)
	k := inside(1, packet.ProtoTCP)
	reply, sent := c.talk(k, 2, 3)
	c.kill(1)
	left := c.now
	for c.delegated(2, k) {
		c.pass(2, tcp(k, ACK), &sent)
		c.run(100 * ms)
	}
	if after := c.now - left; after < 1000*ms || after > 2600*ms {
		t.Fatalf("forwarded for %d ms after the owner's death", after/ms)
	}
	c.apply(1, 2, 2, 3)
	out, v := c.at(3, tcp(k, ACK))
	wantForward(t, v)
	if got := c.flow(out, k).Key[1]; got != reply {
		t.Fatalf("goes on as %v, was %v", got, reply)
	}
	c.run(5 * second)
	c.wantNoneLent()
}

// A lease begins when it was asked for: an answer that comes late is worth less,
// and one that comes too late nothing.
func TestDESIGN5_AnswersThatComeLate(t *testing.T) {
	c := newCluster(t, 1, 2)
	k := inside(1, packet.ProtoTCP)
	sent := c.established(k)
	c.pass(2, tcp(k, ACK), &sent)
	c.run(5 * ms)
	c.delay = func() int64 { return 1400 * ms } // there and back: longer than a lease
	for range 100 {
		c.pass(2, tcp(k, ACK), &sent)
		if c.delegated(2, k) {
			t.Fatal("in force")
		}
		c.run(100 * ms)
	}
	if c.nodes[1].core.Stats().Lent == 0 {
		t.Fatal("nothing was granted: nothing was tested")
	}
	c.delay = func() int64 { return 100_000 }
	c.wantSettled(10*second, k, sent)
}

// Who drains lends nothing, and what it gives away is its heir's to lend.
func TestEL10_DELEGATED_DrainRevokes(t *testing.T) {
	c := natCluster(t, 1, 2, 3)
	k := inside(1, packet.ProtoTCP)
	c.talk(k, 2, 3)
	v := c.viewOf(1, 2, 1, 2, 3)
	v.Draining = 1 << 1
	c.applyAt(v, 1, 2, 3)
	c.run(6 * second)
	if c.oneOwner(k) == 1 {
		t.Fatal("not moved")
	}
	c.wantNoneLent()
}
