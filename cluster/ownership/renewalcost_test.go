package ownership

import (
	"testing"

	"cohort/ccl/wire"
	"cohort/flowtable"
	"cohort/packet"
)

// bigPair is a cluster of two whose node 2 forwards n connections of node 1.
func bigPair(t testing.TB, n int) (c *cluster, keys []packet.FlowKey) {
	c = newBareCluster(t)
	c.size = 2 * n
	c.boot(1)
	c.boot(2)
	c.apply(1, 1, 1, 2)
	c.run(50 * ms)
	for i := range n {
		k := inside(byte(1+i>>14), packet.ProtoTCP)
		k.SrcPort = uint16(1024 + i&0x3fff)
		keys = append(keys, k)
		c.established(k)
	}
	for _, k := range keys { // as XDP does, when packets have come from there
		c.flow(1, k).MarkVia(0, 2)
	}
	for range 30 {
		c.use(keys)
		c.run(100 * ms)
	}
	return c, keys
}

// use lets packets of all keys pass by node 2 without a look at anything else.
func (c *cluster) use(keys []packet.FlowKey) {
	n, now := c.nodes[2], flowtable.TickOf(c.now)
	for _, k := range keys {
		if ref := n.table.Lookup(k); ref != 0 && ref.IsForward() {
			if d, _ := n.table.Delegation(ref.Slot()); d != nil && d.InForce(now, n.core.view.Tag()) {
				d.Account(now, 60, flowtable.TCPSent{})
			}
		}
	}
}

// Delegations in use cost a report each in ten seconds, and a pair of nodes four
// messages a second, however many there are.
func TestDESIGN5_MessagesOfDelegationsInUse(t *testing.T) {
	const n, seconds = 16000, 30
	c, keys := bigPair(t, n)
	if got := c.nodes[2].table.Stats().Delegations; got != n {
		t.Fatalf("%d of %d are delegated: %+v %+v", got, n, c.nodes[1].core.Stats(), c.nodes[2].core.Stats())
	}
	var messages, bytes, leases int
	c.snatch = func(q delivery) bool {
		messages, bytes = messages+1, bytes+len(wire.Append(nil, value(q.m)))
		if _, ok := q.m.(*wire.Lease); ok {
			leases++
		}
		return false
	}
	for range 10 * seconds {
		c.use(keys)
		c.run(100 * ms)
	}
	c.snatch = nil
	t.Logf("%d delegations in use: %d messages and %d bytes a second, %d messages for renewals in %d s", n, messages/seconds, bytes/seconds, leases, seconds)
	if got := c.nodes[2].table.Stats().Delegations; got != n {
		t.Errorf("%d of %d are delegated after %d s", got, n, seconds)
	}
	if messages > n*seconds/9 || messages < n*(seconds-10)/10 {
		t.Errorf("%d messages in %d s for %d delegations", messages, seconds, n)
	}
	if leases < 4*(seconds-1) || leases > 4*(seconds+1) {
		t.Errorf("%d messages for renewals in %d s, want two asks and two answers in each", leases, seconds)
	}
}

func value(m wire.Message) wire.Message {
	switch m := m.(type) {
	case *wire.Delegate:
		return *m
	case *wire.Report:
		return *m
	case *wire.Lease:
		return *m
	}
	return nil
}

// What a second of 16,000 delegations in use costs both nodes.
func BenchmarkDESIGN5_ASecondOfDelegations(b *testing.B) {
	c, keys := bigPair(b, 16000)
	for b.Loop() {
		b.StopTimer()
		c.use(keys)
		b.StartTimer()
		c.run(second)
	}
}
