package ownership

import (
	"testing"

	"cohort/ccl/wire"
	"cohort/flowtable"
	"cohort/packet"
)

// quiet is an output that keeps nothing.
type quiet struct{ last wire.Type }

func (q *quiet) Send(_ wire.NodeID, m wire.Message) error { q.last = m.Type(); return nil }
func (q *quiet) Release(Handle, Verdict)                  {}

// alone returns the core of node 1 of a view of two whose link swallows all,
// and a key for which the other one, node 2, is the director.
func alone(t testing.TB) (*testNode, *quiet, packet.FlowKey) {
	c := newCluster(t, 1, 2)
	n, q := c.nodes[1], &quiet{}
	n.core.out = q
	return n, q, c.keyDirectedBy(packet.ProtoUDP, 2)
}

func wantNoAllocations(t *testing.T, what string, f func()) {
	t.Helper()
	for range 100 {
		f() // tables and free lists grow to their working size
	}
	if n := testing.AllocsPerRun(1000, f); n != 0 {
		t.Errorf("%s: %v allocations, want none", what, n)
	}
}

// The slow path makes no garbage once its tables have grown (STYLE).
func TestNoAllocationInSteadyState(t *testing.T) {
	n, q, k := alone(t)
	c := n.core
	now := n.c.now
	p := udp(k)
	step := func() { now += ms; c.table.Reclaim(flowtable.TickOf(now)) }

	claim := &wire.Claim{Conn: wire.Conn{Key: k, Gen: 1, In: 1, Out: 2, Timeout: 60}}
	grant := &wire.Grant{Conn: claim.Conn}
	wantNoAllocations(t, "claim, grant and close of a UDP connection", func() {
		step()
		p.asked = 0 // the core counts in the caller's packet
		if v := c.Packet(now, &p); v.Op != OpHold || q.last != wire.TypeClaim {
			t.Fatalf("verdict %+v, sent %v; want a claim", v, q.last)
		}
		c.Message(now, 2, grant)
		if v := c.Packet(now, &p); v.Op != OpForward {
			t.Fatalf("verdict %+v, want forwarded", v)
		}
		c.closeFlow(c.table.Lookup(k).Slot())
	})

	back := udp(k.Reverse())
	owner := &wire.Owner{Key: back.Key, Owner: 2, Gen: 1}
	gone := &wire.Gone{Key: back.Key}
	wantNoAllocations(t, "query, owner and gone at a forwarder", func() {
		step()
		back.asked = 0
		if v := c.Packet(now, &back); v.Op != OpHold || q.last != wire.TypeQuery {
			t.Fatalf("verdict %+v, sent %v; want a query", v, q.last)
		}
		c.Message(now, 2, owner)
		if v := c.Packet(now, &back); v.Op != OpSend {
			t.Fatalf("verdict %+v, want sent to the owner", v)
		}
		c.Message(now, 2, gone)
	})

	k2 := n.c.keyDirectedBy(packet.ProtoUDP, 1)
	ours := &wire.Claim{Conn: wire.Conn{Key: k2, Gen: 1, In: 1, Out: 2, Timeout: 60}}
	update := &wire.Update{Conn: ours.Conn}
	over := &wire.Close{Key: k2, Gen: 1}
	query := &wire.Query{Key: k2}
	wantNoAllocations(t, "parked query, claim, query, update and close at the director", func() {
		step()
		c.Message(now, 2, query)
		c.Message(now, 2, ours)
		if q.last != wire.TypeGrant || c.parked.list.First() != nil {
			t.Fatalf("sent %v, want the parked query answered: its asker owns it", q.last)
		}
		c.Message(now, 2, update)
		c.Message(now, 2, over)
	})

	wantNoAllocations(t, "tick", func() {
		now += 10 * ms
		c.Tick(now)
	})
}
