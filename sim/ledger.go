package sim

import (
	"fmt"
	"iter"
	"maps"

	"cohort/ccl/wire"
	"cohort/flowtable"
	"cohort/nat"
	"cohort/packet"
)

// ledger follows every translation and every unit of all nodes from the events
// themselves, so that NT4 is checked at the instant of each change: what is wrong
// for a millisecond is wrong. It hears of translations by the log of xlates (RFC
// 6888, REQ-12) and of units by the nodes' journals; audit compares both with
// the tables, so a log with a gap is found as well.
type ledger struct {
	users   map[packet.FlowKey][]use // by the key that the responder sends
	grain   int
	holders map[portsAt]*node
	rests   map[packet.FlowKey]rest // of keys without a user
	audits  int
}

// use is one owner's translation: the connection whose first key is own.
type use struct {
	node *node
	own  packet.FlowKey
}

// rest is what a key's last connection has left: until when another one may not have it.
type rest struct {
	own   packet.FlowKey
	until int64
	by    *node // where it ended
}

// portsAt are grain ports of an address, the first of which is port. Nodes may
// number the units differently (NT7).
type portsAt struct {
	addr packet.Addr
	port uint16
}

// portsOf are the ports of a unit as the node numbers them.
func (l *ledger) portsOf(n *node, unit int) iter.Seq[portsAt] {
	d := n.rules().Geometry().Describe(unit)
	return func(yield func(portsAt) bool) {
		for at := int(d.First); at <= int(d.Last); at += l.grain {
			if !yield(portsAt{d.Addr, uint16(at)}) {
				return
			}
		}
	}
}

// newLedger counts ports by a divisor of where every unit of the setups begins.
func newLedger(setups []*nat.Rules) *ledger {
	l := &ledger{users: map[packet.FlowKey][]use{}, holders: map[portsAt]*node{}, rests: map[packet.FlowKey]rest{}}
	for _, s := range setups {
		for u := range s.Geometry().Units() {
			l.grain = gcd(l.grain, int(s.Geometry().Describe(u).First))
		}
	}
	if l.grain == 0 {
		l.grain = 1 << 16 // whole addresses only
	}
	return l
}

func gcd(a, b int) int {
	for b != 0 {
		a, b = b, a%b
	}
	return a
}

// began is a translation that a node owns from now on (NT4, NT5).
func (l *ledger) began(n *node, f *flowtable.FlowSlot) {
	own, k1 := f.Key[0], f.Key[1]
	l.rested(n, own, k1)
	for _, u := range l.users[k1] {
		if u.own != own {
			n.w.fail("NT4: %s of node %d and %s of node %d both use %v", n.w.nameOf(u.own), u.node.index+1, n.w.nameOf(own), n.index+1, k1)
		}
	}
	l.users[k1] = append(l.users[k1], use{n, own})
}

// ended is a translation that a node does not own any more.
func (l *ledger) ended(n *node, f *flowtable.FlowSlot) {
	list := l.users[f.Key[1]]
	for i, u := range list {
		if u == (use{n, f.Key[0]}) {
			list[i] = list[len(list)-1]
			if l.users[f.Key[1]] = list[:len(list)-1]; len(list) == 1 {
				l.rest(n, f)
			}
			return
		}
	}
	n.w.fail("xlate log: node %d ends %v of %s, which did not begin", n.index+1, f.Key[1], n.w.nameOf(f.Key[0]))
}

// hold is a unit that a node allocates from, or not any more: a port has one
// holder in the world.
func (l *ledger) hold(n *node, unit int, held bool) {
	for p := range l.portsOf(n, unit) {
		switch o := l.holders[p]; {
		case held && o != nil && o != n:
			n.w.fail("NT4: nodes %d and %d both allocate from %v, ports %d and on", o.index+1, n.index+1, p.addr, p.port)
		case held:
			l.holders[p] = n
		case o == n:
			delete(l.holders, p)
		}
	}
}

// thawed is a unit that its director takes. Whatever members of
// its view own there, or may take over from a dead owner's copy, it must know of, or it
// could choose the tuple for another one (NT4).
func (w *World) thawed(n *node, unit int) {
	g := n.rules().Geometry()
	unknown := func(k1 packet.FlowKey) bool {
		u, ok := g.UnitOf(k1)
		return ok && u == unit && !n.keeps(k1) && !n.keepsMapping(k1)
	}
	for _, m := range w.nodes {
		if m == n || !m.running() || m.tag != n.tag {
			continue
		}
		m.table.ScanFlows(0, w.cfg.Flows, func(_ uint32, f *flowtable.FlowSlot) bool {
			if f.Key[1] != f.Key[0].Reverse() && unknown(f.Key[1]) {
				w.fail("NT4: node %d thaws unit %d, and does not know of %v, which node %d owns: %s", n.index+1, unit, f.Key[1], m.index+1, w.nameOf(f.Key[0]))
			}
			return true
		})
		m.copies.Scan(0, int(^uint(0)>>1), func(e flowtable.Entry) bool {
			k0 := e.Key().Unpack()
			if k1, ok := e.Other(); ok && !sameLife(n.view, e) && unknown(k1) {
				w.fail("NT4: node %d thaws unit %d, and does not know of %v, of which node %d has a dead owner's copy: %s", n.index+1, unit, k1, m.index+1, w.nameOf(k0))
			}
			return true
		})
	}
}

// keeps reports whether a node knows that a second key is in use.
func (n *node) keeps(k1 packet.FlowKey) bool {
	_, known := n.stubs.Get(k1)
	_, joined := n.copies.ByOther(k1)
	return known || joined || n.table.Lookup(k1) != 0
}

// keepsMapping reports whether a node knows a mapping that has all ports of a second key's
// address, or its port. Its owner makes connections through it without holding the unit,
// so at any moment the Bind of one may be on its way to who thaws that; who chooses
// nothing where the mapping is. A tomb of it promises nothing.
func (n *node) keepsMapping(k1 packet.FlowKey) bool {
	m, ok := n.core.Translator().Mapped(k1)
	if !ok {
		return false
	}
	if e, known := n.stubs.Get(m); known {
		return e.Flags()&wire.ConnTomb == 0
	}
	_, joined := n.copies.ByOther(m)
	ref := n.table.Lookup(m)
	return joined || ref != 0 && !ref.IsForward()
}

// drop is all that a node holds.
func (l *ledger) drop(n *node) {
	maps.DeleteFunc(l.holders, func(_ portsAt, o *node) bool { return o == n })
}

// over ends a life: a machine without power, or a daemon without its table,
// forwards and allocates nothing.
func (l *ledger) over(n *node) {
	for k1, list := range l.users {
		kept := list[:0]
		for _, u := range list {
			if u.node != n {
				kept = append(kept, u)
			}
		}
		l.users[k1] = kept
	}
	l.forget(n)
	l.drop(n)
}

// audit compares the ledger with what the nodes' tables and ports say.
func (l *ledger) audit(w *World) {
	users, listed := 0, 0
	l.audits++
	for _, n := range w.nodes {
		if !n.powered || n.dead {
			continue
		}
		n.table.ScanFlows(0, w.cfg.Flows, func(_ uint32, f *flowtable.FlowSlot) bool {
			if f.Key[1] != f.Key[0].Reverse() {
				users++
			}
			return true
		})
		if l.audits%10 != 0 {
			continue // a gap in the journal stays
		}
		geometry, ports := n.rules().Geometry(), n.core.Translator().Ports()
		for unit := range geometry.Units() {
			d := geometry.Describe(unit) // the first port stands for all
			if held := ports.Held(unit); held != (l.holders[portsAt{d.Addr, d.First}] == n) {
				w.fail("NT4: node %d allocates from unit %d: %v, its journal says the opposite", n.index+1, unit, held)
			}
		}
	}
	for _, list := range l.users {
		listed += len(list)
	}
	if users != listed {
		w.fail("xlate log: nodes own %d translations, the log has %d", users, listed)
	}
}

// journal is a node's blocks.CutJournal.
type journal struct{ n *node }

func (journal) View(uint64) {}

func (j journal) Recut(uint32) { j.n.w.check.ledger.drop(j.n) }

func (j journal) Hold(unit int, held bool) {
	j.n.w.check.ledger.hold(j.n, unit, held)
	if !held || j.n.core == nil || j.n.core.Units() == nil {
		return
	}
	if s := j.n.core.Units().Stats(); s.Thawed != j.n.thawed {
		j.n.thawed = s.Thawed
		j.n.w.thawed(j.n, unit)
	}
}

// nameOf names the conversation that has a first key.
func (w *World) nameOf(k packet.FlowKey) string {
	for _, c := range w.conns {
		if c.key == k {
			return fmt.Sprintf("connection %d", c.id)
		}
	}
	return k.String()
}
