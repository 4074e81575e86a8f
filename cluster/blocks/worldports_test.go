package blocks

import (
	"slices"

	"cohort/ccl/wire"
)

// View implements Journal.
func (n *node) View(number uint64) {
	if n.number != number {
		n.number, n.passed = number, map[int]bool{}
	}
}

// Gone implements GoneJournal.
func (n *node) Gone(u int) { n.passed[u] = true }

// Took implements TakeJournal.
func (n *node) Took(t Taken) { n.taken[t.From] = t }

// Recut implements CutJournal. What is left of the former hand is told anew.
func (n *node) Recut(cut uint32) {
	n.journal, n.passed = map[int]bool{}, map[int]bool{}
	for a := range n.w.atoms {
		if n.w.atoms[a].by == n {
			n.w.atoms[a] = owned{}
		}
	}
}

// Hold implements Journal. It is where the main promise is checked.
func (n *node) Hold(u int, held bool) {
	for _, a := range n.w.cuts[n.cut].atoms[u] {
		n.hold(u, a, held)
	}
	n.back, n.inUse = n.m.stats.TakenBack, n.m.stats.InUse
	if held {
		n.journal[u] = true
	} else {
		delete(n.journal, u)
	}
}

func (n *node) hold(u, atom int, held bool) {
	o := &n.w.atoms[atom]
	switch {
	case held && o.by != nil && o.by != n && o.by.alive && o.by.life == o.life:
		n.w.fail("port %d is held by %s and by %s", atom, o.by.name, n.name)
	case held:
		*o = owned{n, n.life}
		for _, c := range n.w.conns {
			// What was never taken comes back as it was: the other side of a
			// partition may have adopted connections of it. And what thaws in use
			// has no connection that the director has not heard of.
			inUse := n.m.stats.InUse > n.inUse
			if c.atom == atom && c.in(n.view) && n.m.stats.TakenBack == n.back && !inUse && !n.recut {
				n.w.fail("%s takes unit %d, which %s uses", n.name, u, c.own.name)
			}
			if inUse && c.atom == atom && c.lives() && !(n.ready && c.in(n.view)) {
				n.w.fail("%s thaws unit %d, and cannot know that %s uses it", n.name, u, c.own.name)
			}
		}
	case o.by == n:
		*o = owned{}
		if n.ready && !n.dropping && !n.idle(u) {
			n.w.fail("%s gives unit %d away, which is in use", n.name, u)
		}
		if n.held[u] {
			n.w.fail("%s gives unit %d up while it allocates from it", n.name, u)
		}
	}
}

// SetHeld implements Ports.
func (n *node) SetHeld(u int, held bool) {
	if held && !n.journal[u] {
		n.w.fail("%s allocates from unit %d, which it does not hold", n.name, u)
	}
	if held {
		n.held[u] = true
	} else {
		delete(n.held, u)
		delete(n.leased, u)
	}
}

// checkLeased looks whether every allocator knows which units another node should have.
func (w *world) checkLeased() {
	for _, n := range w.nodes {
		if !n.alive || n.m == nil || n.m.view == nil {
			continue
		}
		for u := range n.held {
			if away := n.m.target[u] != n.m.self; n.leased[u] != away {
				w.fail("%s: unit %d, which node %d should have, is leased: %v", n.name, u, n.m.target[u], n.leased[u])
			}
		}
	}
}

// SetLeased implements Ports.
func (n *node) SetLeased(u int, leased bool) {
	if !n.held[u] {
		n.w.fail("%s: unit %d, from which it does not allocate, is leased: %v", n.name, u, leased)
	}
	n.leased[u] = leased
}

// Rest implements Ports.
func (n *node) Rest(u int, _ int64) int64 {
	if n.held[u] {
		n.w.fail("%s: unit %d is to rest, from which it allocates", n.name, u)
	}
	return n.w.now + 1
}

// Quiet and Heard implement Ports.
func (n *node) Quiet(int) int64  { return 0 }
func (n *node) Heard(int, int64) {}

// Idle implements Ports: a node knows its own connections, and when the view
// has settled those of all members.
func (n *node) Idle(u int) bool {
	if !n.ready {
		n.w.fail("%s asks what is idle before everybody has registered", n.name)
	}
	idle := n.idle(u)
	if idle && !n.journal[u] {
		for _, c := range n.w.conns {
			if n.has(u, c.atom) && c.lives() {
				n.w.fail("%s would thaw unit %d, which %s uses", n.name, u, c.own.name)
			}
		}
	}
	return idle
}

func (n *node) idle(u int) bool {
	for _, c := range n.w.conns {
		if n.has(u, c.atom) && (c.own == n && c.lives() || n.ready && (c.in(n.view) || !c.lives())) {
			return false // the last: its copy is here, and waits to be adopted
		}
	}
	return true
}

// has reports whether a port is one of a unit's.
func (n *node) has(u, atom int) bool { return slices.Contains(n.w.cuts[n.cut].atoms[u], atom) }

func (c conn) in(v *wire.View) bool {
	m := v.Member(c.own.id())
	return c.lives() && m != nil && m.Incarnation == c.life
}

func (c conn) lives() bool { return c.own.alive && c.own.life == c.life }

func (n *node) frozen(atom int) bool {
	for u, x := range n.m.Status().Units {
		if n.has(u, atom) {
			return x.State == Frozen || x.State == Waiting
		}
	}
	return true // of an address that is gone
}

// open begins a connection at a node in a unit that it may allocate from.
func (n *node) open() {
	if list := keys(n.held); len(list) > 0 {
		u := list[n.w.rng.IntN(len(list))]
		atoms := n.w.cuts[n.cut].atoms[u]
		a := atoms[n.w.rng.IntN(len(atoms))]
		if o := n.w.atoms[a]; o.by != n || o.life != n.life {
			n.w.fail("%s allocates from unit %d of another holder", n.name, u)
		}
		n.w.conns = append(n.w.conns, conn{a, n, n.life})
	}
}
