package ownership

import (
	"testing"

	"cohort/ccl/wire"
	"cohort/cluster/sequence"
	"cohort/flowtable"
	"cohort/packet"
	"cohort/policy"
)

var testSpace = sequence.New([16]byte{4, 2})

// newSequenced is newCluster with sequence numbers that carry the owner.
func newSequenced(t testing.TB, ids ...wire.NodeID) *cluster {
	c := newBareCluster(t)
	c.seqs = testSpace
	for _, id := range ids {
		c.boot(id)
	}
	c.apply(1, 1, ids...)
	c.run(50 * ms)
	return c
}

// syn is the initiator's first packet, with the number isn.
func syn(k packet.FlowKey, isn uint32) Packet {
	p := tcp(k, SYN)
	p.Seq, p.Ack, p.SeqLen = isn, 0, 1
	return p
}

// synAck answers a SYN that the responder got with the number isn.
func synAck(k packet.FlowKey, isn uint32) Packet {
	p := tcp(k, SYN|ACK)
	p.Seq, p.Ack, p.SeqLen = 7000, isn+1, 1
	return p
}

func (c *cluster) queries() (n uint64) {
	for _, node := range c.nodes {
		n += node.core.stats.Queries
	}
	return n
}

// TestFR5_SynAckGoesToTheOwnerWithNoQuery from wherever it enters, however early;
// and the next packets of its direction ask nobody either. Switched off, it asks.
func TestFR5_SynAckGoesToTheOwnerWithNoQuery(t *testing.T) {
	for _, on := range []bool{true, false} {
		c := newSequenced(t, 1, 2, 3, 4)
		if !on {
			c = newCluster(t, 1, 2, 3, 4)
		}
		for director := wire.NodeID(1); director <= 4; director++ {
			k := c.keyDirectedBy(packet.ProtoTCP, director)
			_, v := c.at(1, syn(k, 5000))
			wantForward(t, v)
			delta := c.nodes[1].table.Flow(v.Slot).SeqDelta
			if on != (delta != 0) {
				t.Fatalf("sequence randomization %v, delta %d", on, delta)
			}
			if node, ok := testSpace.Owner(k.Reverse(), 5000+delta); on && (!ok || node != 1) {
				t.Fatalf("the number carries node %d, %v", node, ok)
			}
			before, led := c.queries(), c.nodes[3].core.stats.Sequenced
			at, v := c.at(3, synAck(k.Reverse(), 5000+delta))
			wantForward(t, v)
			at2, v2 := c.at(3, tcp(k.Reverse(), ACK))
			wantForward(t, v2)
			asked := c.queries() - before
			// With the director at hand, or the owner, a query costs no message but is one.
			if at != 1 || at2 != 1 || on && (asked != 0 || c.nodes[3].core.stats.Sequenced != led+1) || !on && asked != 1 {
				t.Errorf("randomization %v, director %d: left at %d and %d after %d queries", on, director, at, at2, asked)
			}
			c.wantOwner(k, 1)
		}
	}
}

// TestFR5_AnyOtherAcknowledgementAsks: of a connection that does not exist, of a
// number that a dead node chose, and of one that this node chose and forgot.
func TestFR5_AnyOtherAcknowledgementAsks(t *testing.T) {
	c := newSequenced(t, 1, 2, 3)
	c.run(4000 * ms)
	for name, isn := range map[string]uint32{
		"foreign":      1234567,
		"dead":         testSpace.ISN(c.keyDirectedBy(packet.ProtoTCP, 2).Reverse(), 1, 9),
		"own":          testSpace.ISN(c.keyDirectedBy(packet.ProtoTCP, 2).Reverse(), 1, 3),
		"wrong, alive": testSpace.ISN(c.keyDirectedBy(packet.ProtoTCP, 2).Reverse(), 1, 1),
	} {
		k := c.keyDirectedBy(packet.ProtoTCP, 2)
		before := c.queries()
		_, v := c.at(3, synAck(k.Reverse(), isn))
		wantDrop(t, v, ReasonNoConnection)
		if asked := c.queries() - before; asked != 1 {
			t.Errorf("%s: %d queries", name, asked)
		}
		c.run(100 * ms)
		if ref := c.nodes[3].table.Lookup(k.Reverse()); ref != 0 {
			t.Errorf("%s: an entry is left, to %d", name, c.nodes[3].table.Forward(ref.Slot()).Owner)
		}
	}
}

// TestFR5_SignedConnectionsKeepTheirNumbers, RFC 2385 and RFC 5925: their SYN-ACK
// asks.
func TestFR5_SignedConnectionsKeepTheirNumbers(t *testing.T) {
	c := newSequenced(t, 1, 2, 3)
	k := c.keyDirectedBy(packet.ProtoTCP, 2)
	p := syn(k, 5000)
	p.Signed = true
	_, v := c.at(1, p)
	wantForward(t, v)
	if d := c.nodes[1].table.Flow(v.Slot).SeqDelta; d != 0 {
		t.Fatalf("delta %d", d)
	}
	before := c.queries()
	at, v := c.at(3, synAck(k.Reverse(), 5000))
	wantForward(t, v)
	if at != 1 || c.queries() != before+1 {
		t.Errorf("left at %d after %d queries", at, c.queries()-before)
	}
}

// TestFR5_FR6_PortsOfAUnitNeedNoNumbers: the port leads to the owner, so the initiator
// keeps its own. With another translation it does not.
func TestFR5_FR6_PortsOfAUnitNeedNoNumbers(t *testing.T) {
	for _, fixed := range []packet.Addr{{}, {198, 51, 100, 9}} {
		c := newBareCluster(t)
		c.nat, c.seqs = true, testSpace
		for id := wire.NodeID(1); id <= 3; id++ {
			c.boot(id)
		}
		c.nodes[1].fake.fixed = fixed
		c.apply(1, 1, 1, 2, 3)
		c.run(50 * ms)
		k := inside(9, packet.ProtoTCP)
		_, _ = c.at(1, syn(k, 5000))
		c.run(50 * ms)
		f := c.flow(1, k)
		if f == nil || f.Key[1] == k.Reverse() {
			t.Fatalf("%v: not translated: %+v", fixed, f)
		}
		inUnit := fixed == packet.Addr{}
		if keeps := f.SeqDelta == 0; keeps != inUnit {
			t.Errorf("port of a unit %v, numbers shifted by %d", inUnit, f.SeqDelta)
		}
		reply := f.Key[1]
		before := c.queries()
		at, v := c.at(1, synAck(reply, 5000+f.SeqDelta))
		wantForward(t, v)
		if at != 1 || c.queries() != before {
			t.Errorf("port of a unit %v: the answer left at %d after %d queries", inUnit, at, c.queries()-before)
		}
	}
}

// TestFR5_FR11_WhoTakesOverGoesOnWithTheNumbers, from a copy at the director and
// from one beside it, with every durability that keeps one, and after a drain.
func TestFR5_FR11_WhoTakesOverGoesOnWithTheNumbers(t *testing.T) {
	for _, sync := range []bool{false, true} {
		for director := wire.NodeID(1); director <= 3; director++ {
			c := newSequenced(t, 1, 2, 3)
			if sync {
				c.nodes[1].core.cfg.Policy = syncAll{}
			}
			k := c.keyDirectedBy(packet.ProtoTCP, director)
			_, v := c.at(1, syn(k, 5000))
			wantForward(t, v)
			want := c.nodes[1].table.Flow(v.Slot).SeqDelta
			_, v = c.at(2, synAck(k.Reverse(), 5000+want))
			wantForward(t, v)
			_, v = c.at(3, tcp(k, ACK))
			wantForward(t, v)
			c.run(50 * ms)
			c.kill(1)
			c.apply(1, 2, 2, 3)
			c.run(100 * ms)
			at, v := c.at(2, tcp(k, ACK))
			wantForward(t, v)
			if got := c.nodes[at].table.Flow(v.Slot).SeqDelta; got != want || want == 0 {
				t.Errorf("sync %v, director %d: delta %d, was %d", sync, director, got, want)
			}
			// And the next one, from a copy of a copy.
			c.run(100 * ms)
			third := wire.NodeID(5) - at
			c.kill(at)
			c.apply(1, 3, third)
			c.run(100 * ms)
			_, v = c.at(third, tcp(k.Reverse(), ACK))
			wantForward(t, v)
			if got := c.nodes[third].table.Flow(v.Slot).SeqDelta; got != want {
				t.Errorf("sync %v, director %d: after two takeovers delta %d, was %d", sync, director, got, want)
			}
		}
	}
}

// syncAll allows everything, with durability sync.
type syncAll struct{}

func (syncAll) Judge(_, _ uint8, _ packet.FlowKey) policy.Verdict {
	return policy.Verdict{Allow: true, Durability: policy.Sync}
}

// TestFR5_EL10_AnHeirGoesOnWithTheNumbers of a node that drains.
func TestFR5_EL10_AnHeirGoesOnWithTheNumbers(t *testing.T) {
	c := newSequenced(t, 1, 2, 3)
	k := c.keyDirectedBy(packet.ProtoTCP, 2)
	_, v := c.at(1, syn(k, 5000))
	want := c.nodes[1].table.Flow(v.Slot).SeqDelta
	c.at(2, synAck(k.Reverse(), 5000+want))
	c.at(3, tcp(k, ACK))
	c.run(50 * ms)
	c.startDrain(2, []wire.NodeID{1}, 1, 2, 3)
	c.run(3 * second)
	heir := c.oneOwner(k)
	ref := c.nodes[heir].table.Lookup(k)
	if got := c.nodes[heir].table.Flow(ref.Slot()).SeqDelta; heir == 1 || got != want || want == 0 {
		t.Errorf("node %d has it with delta %d, was %d", heir, got, want)
	}
}

// TestFR5_DESIGN5_DelegatesShiftAsTheOwnerDoes, each direction its own.
func TestFR5_DESIGN5_DelegatesShiftAsTheOwnerDoes(t *testing.T) {
	c := newSequenced(t, 1, 2, 3)
	k := c.keyDirectedBy(packet.ProtoTCP, 2)
	reply, _ := c.talk(k, 2, 3)
	for dir, key := range []packet.FlowKey{k, reply} {
		n := c.nodes[2]
		ref := n.table.Lookup(key)
		d, _ := n.table.Delegation(ref.Slot())
		if d == nil {
			t.Fatalf("direction %d is not delegated", dir)
		}
		seq, ack := d.Shift()
		wantSeq, wantAck := c.flow(1, k).Shift(dir)
		if seq != wantSeq || ack != wantAck || seq|ack == 0 {
			t.Errorf("direction %d: delegate shifts by %d, %d; owner by %d, %d", dir, seq, ack, wantSeq, wantAck)
		}
	}
}

// TestFR5_TR2_ResetsAreJudgedByWhatTheInitiatorKnows: the responder refuses a
// connection by acknowledging the number that it got (RFC 9293, 3.10.7.3).
func TestFR5_TR2_ResetsAreJudgedByWhatTheInitiatorKnows(t *testing.T) {
	c := newSequenced(t, 1, 2)
	k := c.keyDirectedBy(packet.ProtoTCP, 2)
	_, v := c.at(1, syn(k, 5000))
	f := c.nodes[1].table.Flow(v.Slot)
	c.run(5 * ms)
	refusal := synAck(k.Reverse(), 5000) // the initiator's own number is not what the responder got
	refusal.Flags = RST | ACK
	_, v = c.at(1, refusal)
	wantDrop(t, v, ReasonRSTWindow)
	refusal.Ack = 5000 + f.SeqDelta + 1
	_, v = c.at(1, refusal)
	wantForward(t, v)
	if got := f.TCPSent(1).Ack; got != 5001 {
		t.Errorf("the acknowledgement is recorded as %d, the initiator knows 5001", got)
	}
}

// TestFR14_FR5_TheWinnerFollowsTheResponder: a SYN is repeated through a second
// node. Whichever copy the responder has got, the connection has one owner in the
// end, and that shifts by what the responder knows.
func TestFR14_FR5_TheWinnerFollowsTheResponder(t *testing.T) {
	for _, got := range []wire.NodeID{1, 2} { // whose copy arrived
		for entry := wire.NodeID(1); entry <= 3; entry++ {
			c := newSequenced(t, 1, 2, 3)
			k := c.keyDirectedBy(packet.ProtoTCP, 3)
			deltas := map[wire.NodeID]uint32{}
			for _, id := range []wire.NodeID{1, 2} {
				at, v := c.at(id, syn(k, 5000))
				wantForward(t, v)
				deltas[at] = c.nodes[at].table.Flow(v.Slot).SeqDelta
			}
			if len(deltas) != 2 || deltas[1] == deltas[2] {
				t.Fatalf("two owners with one number: %v", deltas)
			}
			// The answer is faster than the director.
			at, v := c.at(entry, synAck(k.Reverse(), 5000+deltas[got]))
			wantForward(t, v)
			c.run(20 * ms)
			owner := c.oneOwner(k)
			f := c.flow(owner, k)
			if at != owner || f.SeqDelta != deltas[got] {
				t.Errorf("copy of node %d, answer at %d: node %d sent it on, owner %d shifts by %d; the numbers were %v", got, entry, at, owner, f.SeqDelta, deltas)
			}
			if want := uint64(0); owner != got {
				want = 1
				if n := c.nodes[owner].core.stats.Followed; n != want {
					t.Errorf("followed %d times", n)
				}
			}
			_, v = c.at(1, tcp(k, ACK)) // established: the copy has it
			wantForward(t, v)
			c.run(20 * ms)
			if e, ok := c.nodes[3].copies.Get(k); !ok || deltaOf(c.nodes[3].copies, k) != deltas[got] {
				t.Errorf("the copy %+v has delta %d, want %d", e, deltaOf(c.nodes[3].copies, k), deltas[got])
			}
		}
	}
}

// TestFR5_NobodyIsFollowedWithoutProof: an answer to another number than any node
// chose, or let its initiator keep, changes nothing, nor does one that comes when the
// responder has spoken.
func TestFR5_NobodyIsFollowedWithoutProof(t *testing.T) {
	c := newSequenced(t, 1, 2)
	k := c.keyDirectedBy(packet.ProtoTCP, 2)
	_, v := c.at(1, syn(k, 5000))
	f := c.nodes[1].table.Flow(v.Slot)
	delta := f.SeqDelta
	c.run(5 * ms)
	other := testSpace.ISN(k.Reverse(), 5000, 2)
	for _, isn := range []uint32{5001, other + 1, testSpace.ISN(k.Reverse(), 5000+1<<17, 2)} {
		c.at(1, synAck(k.Reverse(), isn))
		if f.SeqDelta != delta {
			t.Fatalf("followed %d", isn)
		}
		c.table1(f)
	}
	c.at(1, synAck(k.Reverse(), 5000+delta))
	c.at(1, synAck(k.Reverse(), other))
	if f.SeqDelta != delta || flowtable.TCPState(f.State) != flowtable.TCPSynReceived {
		t.Errorf("delta %d, was %d; state %d", f.SeqDelta, delta, f.State)
	}
}

// table1 takes a flow of node 1 back to where it was before an answer.
func (c *cluster) table1(f *flowtable.FlowSlot) {
	n := c.nodes[1]
	n.table.UpdateFlow(n.table.Lookup(f.Key[0]).Slot(), func(f *flowtable.FlowSlot) { f.State = uint8(flowtable.TCPSynSent) })
}
