package sim

import (
	"fmt"
	"strings"

	"cohort/ccl/wire"
	"cohort/cluster/order"
	"cohort/cluster/ownership"
	"cohort/flowtable"
)

// settleBound is how long after the last fault or view two nodes may still
// both believe that they own a connection: a re-registration round with
// retransmissions (SettleTime) and one pass of ageing.
const settleBound = 5 * second

// checker holds the invariants of a run.
type checker struct {
	w         *World
	lastMove  int64 // last fault or change of view
	nextFull  int64
	ledger    *ledger               // nil without NAT
	said      []string              // violations so far: each once
	endpoints map[endpoint]endpoint // seen so far, by the inside endpoint
	torn      bool                  // the link was cut: two sides may have granted the same
	whole     int64                 // when all sides were together last
}

func (k *checker) init(w *World) {
	k.w, k.lastMove = w, w.clock.now
	if w.setups != nil {
		k.ledger = newLedger(w.setups)
	}
}

// over ends what a node forwards and allocates.
func (k *checker) over(n *node) {
	if k.ledger != nil {
		k.ledger.over(n)
	}
}

// forget is the end of a node's membership: the same, but it says so of each.
func (k *checker) forget(n *node) {
	if k.ledger != nil {
		k.ledger.forget(n)
	}
}

// moved notes a fault or a change of view.
func (k *checker) moved() { k.lastMove = k.w.clock.now }

// split notes that the control link was cut. A side that loses a node this way
// cannot know what the other side holds.
func (k *checker) split() {
	k.torn = true
	k.moved()
	for _, c := range k.w.conns {
		if c.open = c.open || c.excused == "" && k.connected(c); !c.open {
			k.excuse(c, "the control link was cut")
		}
	}
}

// connected reports whether the two ends of a TCP connection have shaken hands, and
// one node owns it and nobody else believes so. A cut in which nobody dies costs it
// time and nothing else (FR11).
func (k *checker) connected(c *conn) bool {
	owners, sure := 0, false
	for _, n := range k.w.nodes {
		if ref := n.table.Lookup(c.key); ref != 0 && !ref.IsForward() {
			owners++
			sure = n.running() && n.tag != 0 && n.table.Flow(ref.Slot()).Flags&flowtable.FlowProvisional == 0
		}
	}
	return c.kind == ownership.KindTCP && c.seen > 1 && c.seen < c.steps && owners == 1 && sure
}

// step runs after every event: the walk over all connections once in a while. NT4
// has been checked within the event, by the ledger.
func (k *checker) step() {
	if k.w.setups != nil && (len(k.w.net.cut) > 0 || k.apart()) {
		for _, c := range k.w.conns {
			if !c.open {
				k.excuse(c, "two sides of the cluster translated it, each for itself")
			}
		}
	}
	if now := k.w.clock.now; now >= k.nextFull {
		k.nextFull = now + 5*ms
		if now-k.lastMove > second {
			k.nextFull += 45 * ms // nothing moves: a violation would stay
		}
		k.together()
		for _, n := range k.w.nodes {
			k.fencedKeeps(n)
		}
		for _, c := range k.w.conns {
			k.oneOwner(c)
			k.idle(c)
		}
		if k.ledger != nil {
			k.ledger.audit(k.w)
		}
		k.bills(false)
		k.hostBlocks()
		k.lastHealthy()
	}
}

// oneOwner is FR1: at most one node of a view owns a connection, and the same
// generation is never owned twice unless the link was cut.
func (k *checker) oneOwner(c *conn) {
	if c.started == 0 {
		return
	}
	var first *node
	var gen uint32
	for _, n := range k.w.nodes {
		if !n.running() || n.tag == 0 {
			continue
		}
		ref := n.table.Lookup(c.key)
		if ref == 0 || ref.IsForward() {
			continue
		}
		f := n.table.Flow(ref.Slot())
		if f.Flags&flowtable.FlowProvisional != 0 {
			continue
		}
		if first == nil {
			first, gen = n, f.Gen
			continue
		}
		if first.tag != n.tag {
			continue
		}
		if f.Gen == gen && !k.torn {
			k.w.fail("FR1: nodes %d and %d both own %v in generation %d", first.index+1, n.index+1, c.key, gen)
		}
		if k.w.clock.now-k.lastMove > settleBound {
			k.w.fail("FR1, FR14: nodes %d and %d still both own %v in generations %d and %d", first.index+1, n.index+1, c.key, gen, f.Gen)
		}
	}
}

// lastHealthy is EL9: a node that has been the only healthy one for a while is
// a member of its own view.
func (k *checker) lastHealthy() {
	if k.w.clock.now-k.lastMove < 3*second {
		return
	}
	healthy, members := 0, 0
	for _, n := range k.w.nodes {
		if n.running() {
			healthy++
			if n.tag != 0 {
				members++
			}
		}
	}
	if healthy > 0 && members == 0 {
		k.w.fail("EL9: %d healthy nodes and none is a member of anything", healthy)
	}
}

// dying excuses the connections that nobody else knows at this instant: async
// durability (FR13) loses what was not replicated yet. Durability sync has nothing to
// be excused: whatever has reached its responder somebody else could go on with,
// except while what was lost with another node is being made up for.
func (k *checker) dying(n *node) {
	steady := !k.torn && k.w.clock.now-k.lastMove > settleBound
	k.moved()
	orphans := 0
	defer func() {
		if k.w.result.Orphaned += orphans; orphans > 0 {
			k.w.result.Deaths++
		}
	}()
	for _, c := range k.w.conns {
		if c.started == 0 || c.done {
			continue
		}
		ref := n.table.Lookup(c.key)
		owned := ref != 0 && !ref.IsForward()
		if owned && c.reached {
			orphans++
		}
		known := false
		for _, o := range k.w.nodes {
			if o == n || !o.running() || o.tag == 0 {
				continue
			}
			ref := o.table.Lookup(c.key)
			known = known || k.goodCopy(o, c) || ref != 0 && !ref.IsForward()
		}
		if !known && owned && steady && k.w.cfg.Sync && c.reached && !c.exposed {
			k.w.fail("FR13: nobody but node %d knows connection %d, which has reached its responder", n.index+1, c.id)
		}
		if !known {
			k.excuse(c, "nobody else had a copy when the node died")
		}
	}
}

// goodCopy reports whether o keeps a copy from which the connection could be
// taken over. The copy of a living node that has surrendered the connection is
// none: it only waits to be swept. Nor is that of a dead one that somebody has taken the
// connection over from since: nothing refreshes it, and it goes when its time is over.
func (k *checker) goodCopy(o *node, c *conn) bool {
	e, copied := o.copies.Get(c.key)
	if !copied {
		return false
	}
	orphan := e.Flags()&wire.ConnOrphan != 0
	for _, owner := range k.w.nodes {
		if owner.running() && owner.self == wire.NodeID(e.Owner()) && e.Owner() != 0 && (!orphan || sameLife(owner.view, e)) {
			ref := owner.table.Lookup(c.key)
			if ref == 0 || ref.IsForward() {
				return false
			}
		}
	}
	if orphan && k.generation(c) > e.Gen() {
		return false
	}
	// A copy that belongs elsewhere is on its way out: who has it as well may
	// die while this one goes.
	order := o.core.Owner().Order()
	return order == nil || orphan || order.Backup(c.key, wire.NodeID(e.Owner())) == o.self
}

// generation is the newest that an owner of the connection has, or had when it died.
func (k *checker) generation(c *conn) (gen uint32) {
	for _, n := range k.w.nodes {
		if ref := n.table.Lookup(c.key); ref != 0 && !ref.IsForward() {
			gen = max(gen, n.table.Flow(ref.Slot()).Gen)
		}
	}
	return gen
}

func (k *checker) excuse(c *conn, why string) {
	if c.started != 0 && !c.done && c.excused == "" {
		c.excused = why
	}
}

// sameLife reports whether the owner that a copy names is in a view, in the life
// that the copy is of.
func sameLife(v *wire.View, e flowtable.Entry) bool {
	if v == nil {
		return false
	}
	m := v.Member(wire.NodeID(e.Owner()))
	return m != nil && m.Incarnation.Tag() == e.Incarnation()
}

// settled holds a while after the last fault: one view, and every connection
// has one owner, which knows it for sure, and one copy, of this owner and
// generation, at the first node of the order that is not the owner (FR3, FR12).
func (k *checker) settled() {
	w := k.w
	v := w.nodes[0].view
	for _, n := range w.nodes {
		if n.tag == 0 || n.tag != w.nodes[0].tag {
			w.fail("EL5: node %d is not in the common view", n.index+1)
			return
		}
	}
	o := order.New([16]byte{}, v)
	for _, c := range w.conns {
		var owner *node
		for _, n := range w.nodes {
			if e, copied := n.copies.Get(c.key); copied && e.Flags()&wire.ConnOrphan != 0 && sameLife(v, e) {
				w.fail("NT4: node %d keeps an orphan of connection %d, whose last owner, id %d, is back and has registered", n.index+1, c.id, e.Owner())
			}
			if ref := n.table.Lookup(c.key); ref != 0 && !ref.IsForward() {
				if owner != nil {
					w.fail("FR1: nodes %d and %d both own connection %d", owner.index+1, n.index+1, c.id)
				}
				owner = n
			}
		}
		if owner == nil {
			continue
		}
		f := owner.table.Flow(owner.table.Lookup(c.key).Slot())
		if w.clock.now-int64(f.Created)<<flowtable.TickShift < second/2 {
			continue // its claim may still be on its way
		}
		if f.Flags&flowtable.FlowProvisional != 0 {
			w.fail("FR14: node %d still owns connection %d provisionally", owner.index+1, c.id)
		}
		if f.Key[0] != c.key {
			continue // a reply began it, on a side that knew its mapping only: the copy is where that leads
		}
		holder := o.Backup(c.key, owner.self)
		for _, n := range w.nodes {
			switch e, copied := n.copies.Get(c.key); {
			case n.self == holder && !copied:
				w.fail("FR12: connection %d of node %d has no copy at node %d", c.id, owner.index+1, n.index+1)
			case n.self == holder && (e.Owner() != uint8(owner.self) || e.Gen() != f.Gen):
				w.fail("FR12: connection %d of node %d, generation %d: the copy at node %d names owner id %d, generation %d", c.id, owner.index+1, f.Gen, n.index+1, e.Owner(), e.Gen())
			case n.self != holder && copied:
				w.fail("FR3: node %d keeps a copy of connection %d of node %d, which belongs to another", n.index+1, c.id, owner.index+1)
			}
		}
	}
}

// finished reports whether every conversation has ended, one way or the other.
func (k *checker) finished() bool {
	for _, c := range k.w.conns {
		if !c.done && !c.failed {
			return false
		}
	}
	return true
}

func (k *checker) allEmpty() bool {
	for _, n := range k.w.nodes {
		if s := n.table.Stats(); s.Flows+s.Forwards+s.Delegations+n.core.Owner().LentNow()+n.copies.Len()+len(n.held)+n.core.Fragments().Len() != 0 || n.stubs != nil && n.stubs.Len() != 0 {
			return false
		}
	}
	return k.unitsSettled()
}

// converged holds when all conversations have ended: one view, one control
// node, no copy at an owner, and nothing is lost without an excuse.
func (k *checker) converged() {
	w := k.w
	for _, n := range w.nodes {
		if n.tag == 0 || n.tag != w.nodes[0].tag {
			w.fail("EL5: node %d is not in the common view", n.index+1)
			return
		}
	}
	for _, c := range w.conns {
		for _, n := range w.nodes {
			ref := n.table.Lookup(c.key)
			if _, copied := n.copies.Get(c.key); copied && ref != 0 && !ref.IsForward() {
				w.fail("FR3: node %d keeps the copy of its own %v", n.index+1, c.key)
			}
		}
		if !c.done && c.excused == "" && !c.failed {
			w.fail("connection %d (%v) neither ended nor failed: step %d of %d", c.id, c.key, c.step, c.steps)
		}
	}
}

// empty is FR15: after everything has ended and timed out, nothing is left.
func (k *checker) empty() {
	for _, n := range k.w.nodes {
		if s, lent := n.table.Stats(), n.core.Owner().LentNow(); s.Delegations+lent != 0 {
			k.w.fail("FR15: node %d keeps %d delegations, and has lent %d", n.index+1, s.Delegations, lent)
		}
		if s := n.table.Stats(); s.Flows+s.Forwards+n.copies.Len() != 0 {
			k.w.fail("FR15: node %d keeps %d flows, %d forward entries, %d copies%s", n.index+1, s.Flows, s.Forwards, n.copies.Len(), k.leftovers(n))
		}
		if n.stubs != nil && n.stubs.Len() != 0 {
			k.w.fail("FR15: node %d keeps %d stubs", n.index+1, n.stubs.Len())
		}
		if len(n.held) != 0 {
			k.w.fail("FR15: node %d holds %d packets for ever%s", n.index+1, len(n.held), k.leftovers(n))
		}
		if f := n.core.Fragments(); f.Len() != 0 {
			k.w.fail("FR15: node %d keeps records of %d datagrams in fragments", n.index+1, f.Len())
		}
	}
	k.unitsBack()
}

// leftovers names the conversations that a node still knows something of.
func (k *checker) leftovers(n *node) string {
	var b strings.Builder
	for _, c := range k.w.conns {
		_, copied := n.copies.Get(c.key)
		held := false
		for _, p := range n.held {
			held = held || p.conn == c
		}
		if copied || held || n.table.Lookup(c.key) != 0 || n.table.Lookup(c.key.Reverse()) != 0 {
			fmt.Fprintf(&b, ", connection %d", c.id)
		}
	}
	return b.String()
}
