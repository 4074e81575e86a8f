package node

import (
	"time"

	"cohort/api"
	"cohort/ccl/wire"
	"cohort/dataplane"
	"cohort/flowtable"
	"cohort/packet"
)

// The API reads tables of millions of entries inside the loop, which serves
// packets and the lease. It does so in many visits, each of which passes
// visitBatch entries and then looks at the clock.
const (
	visitFor   = int64(50 * time.Microsecond)
	visitBatch = 32
)

// visit calls batch until it has nothing left to do or the visit has taken its
// time.
func visit(clock func() int64, batch func() (more bool)) (more bool) {
	for end := clock() + visitFor; ; {
		if !batch() {
			return false
		}
		if clock() >= end {
			return true
		}
	}
}

// entry is what a node holds about a connection or a mapping: a flow, a copy, a
// stub or a forward entry. Of a forward entry the second key is not known, of a
// stub the interfaces.
type entry struct {
	conn   api.Conn
	keys   [2]packet.FlowKey // as flowtable.FlowSlot.Key
	ifaces [2]uint8          // 0 = not known
}

// translated reports whether NAT changes the tuple.
func (e *entry) translated() bool { return e.keys[1] != e.keys[0].Reverse() }

// mapping reports whether the entry is a mapping and no connection: see
// cluster/ownership/mapping.go.
func (e *entry) mapping() bool {
	return e.keys[0].Dst == packet.Addr{} || e.keys[1].Dst == packet.Addr{}
}

// The tables of a tableWalk, in its order.
const (
	walkFlows = iota
	walkCopies
	walkStubs
	walkForwards
	walkEnd
)

// tableWalk goes through the tables, a visit at a time.
type tableWalk struct {
	n      *Node
	take   func(*entry) // runs in the loop and must not keep the entry
	until  int          // the first table that is not walked
	table  int
	cursor uint32
	now    uint32 // tick of the visit
	one    entry
}

func newTableWalk(n *Node, until int, take func(*entry)) *tableWalk {
	return &tableWalk{n: n, take: take, until: until}
}

// visit goes on for one visit of the loop.
func (w *tableWalk) visit(now int64) {
	w.now = flowtable.TickOf(now)
	visit(dataplane.Now, w.batch)
}

func (w *tableWalk) done() bool { return w.table >= w.until }

// batch passes some slots of one table.
func (w *tableWalk) batch() (more bool) {
	switch n := w.n; w.table {
	case walkFlows:
		w.cursor = n.table.ScanFlows(w.cursor, visitBatch, func(slot uint32, f *flowtable.FlowSlot) bool {
			w.one = n.ownedEntry(slot, f, w.now)
			w.take(&w.one)
			return true
		})
	case walkCopies:
		w.cursor = n.copies.Scan(w.cursor, visitBatch, func(b flowtable.Entry) bool {
			w.one = n.copiedEntry(b, w.now)
			w.take(&w.one)
			return true
		})
	case walkStubs:
		if n.stubs != nil {
			w.cursor = n.stubs.Scan(w.cursor, visitBatch, w.stub)
		}
	case walkForwards:
		w.cursor = n.table.ScanForwards(w.cursor, visitBatch, func(slot uint32, f *flowtable.ForwardSlot) bool {
			w.one = n.forwardedEntry(slot, f, w.now)
			w.take(&w.one)
			return true
		})
	}
	if w.cursor == 0 {
		w.table++
	}
	return !w.done()
}

// stub takes a stub, unless the connection's copy, which says more, is here too.
// A tomb keeps the key of what has ended in use: it is nothing to show.
func (w *tableWalk) stub(b flowtable.Entry) bool {
	first, ok := b.Other()
	if !ok || b.Flags()&wire.ConnTomb != 0 {
		return true
	}
	if _, copied := w.n.copies.Get(first); !copied {
		w.one = w.n.stubEntry(first, b, w.now)
		w.take(&w.one)
	}
	return true
}
