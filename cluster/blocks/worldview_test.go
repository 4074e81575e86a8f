package blocks

import (
	"slices"
	"time"

	"cohort/ccl/wire"
)

// form publishes a view of the living nodes of a side, without those named.
func (w *world) form(side int, spread int64, without ...*node) {
	w.term++
	v := &wire.View{Term: w.term, Epoch: 1, Config: uint64(w.cut)}
	for _, n := range w.nodes {
		if n.alive && n.side == side && !slices.Contains(without, n) {
			v.Members = append(v.Members, wire.Member{ID: n.id(), Name: n.name, Incarnation: n.life})
		}
	}
	if len(v.Members) == 0 {
		return
	}
	v.Control = v.Members[0].ID
	for _, mem := range v.Members {
		n := w.nodes[mem.ID-1]
		w.after(1+w.rng.Int64N(spread+1), func() { n.apply(v) })
	}
	for _, n := range without {
		if life := n.life; n.alive && n.side == side {
			w.after(w.rng.Int64N(100*ms), func() {
				if n.alive && n.life == life && n.m != nil {
					n.lose()
				}
			})
		}
	}
}

// apply makes the node follow a view, unless it has a newer one.
func (n *node) apply(v *wire.View) {
	mem := v.Member(n.id())
	if !n.alive || n.m == nil || mem.Incarnation != n.life || !v.Newer(n.view) {
		return
	}
	n.former, n.view, n.ready = n.view, v, false
	if cut := int(v.Config); cut != n.cut {
		c, old := &n.w.cuts[cut], &n.w.cuts[n.cut]
		n.cut, n.recut, n.held, n.leased = cut, true, map[int]bool{}, map[int]bool{}
		n.m.Recut(n.w.now, Cutting{Pools: c.pools, Cut: uint32(cut), From: c.from(old), RemakeAfter: 400 * time.Millisecond})
		n.recut = false
	}
	n.m.ApplyView(n.w.now, v, n.id())
	for _, o := range v.Members {
		if n.w.nodes[o.ID-1].view != v {
			return
		}
	}
	for _, o := range v.Members { // the last one: now everybody can register
		n.w.nodes[o.ID-1].settleSoon()
	}
}

func (n *node) settleSoon() {
	v, process := n.view, n.begun
	n.w.after(n.w.rng.Int64N(50*ms), func() {
		if n.view == v && n.begun == process && n.m != nil {
			n.ready = true
			n.m.Settled(n.w.now)
		}
	})
}

// lose ends the life by a fence and begins another one in the same process.
func (n *node) lose() {
	n.over()
	n.alive, n.life, n.view, n.ready = true, wire.Incarnation(n.w.rng.Uint64()|1), nil, false
	n.dropping = true
	n.m.Lost(n.w.now)
	n.dropping = false
	for _, o := range n.w.nodes {
		n.w.reset(n, o)
	}
}

// over ends the life: whoever held something then, in truth, holds it no more.
func (n *node) over() {
	n.alive = false
	n.journal, n.passed, n.number, n.taken = map[int]bool{}, map[int]bool{}, 0, [wire.MaxNodes]Taken{}
	for a := range n.w.atoms {
		if n.w.atoms[a].by == n {
			n.w.atoms[a] = owned{}
		}
	}
}

// crash ends the node. Its connections are adopted by survivors that have it
// out of their view, or die.
func (n *node) crash() {
	n.over()
	n.m, n.view = nil, nil
	for _, o := range n.w.nodes {
		n.w.reset(n, o)
	}
}

// kill ends the process only. The next one takes over what is pinned.
func (n *node) kill() {
	v, life := n.view, n.life
	if n.w.slowDisk && n.w.rng.IntN(4) == 0 {
		v = n.former // the disk was slow
	}
	n.m, n.ready = nil, false
	n.begun++
	for _, o := range n.w.nodes {
		n.w.reset(n, o)
	}
	n.w.after(n.w.rng.Int64N(300*ms), func() {
		if !n.alive || n.life != life || n.m != nil {
			return
		}
		if mem := v.Member(n.id()); mem == nil || mem.Incarnation != life || int(v.Config) != n.cut {
			v = nil // such a process does not go on: that was another life, or its file is not the view's
		}
		n.start()
		if n.w.rng.IntN(2) == 0 || n.w.takes {
			n.m.Restore(n.w.now, life, n.number, keys(n.journal), n.taken[:]...)
			n.m.RestoreGone(keys(n.passed))
		} else {
			n.m.Restore(n.w.now, life, n.number, keys(n.journal))
		}
		if v != nil {
			n.view = v
			n.m.ApplyView(n.w.now, v, n.id())
			n.settleSoon()
		}
		n.w.resume()
	})
}

func keys(m map[int]bool) (list []int) {
	for k := range m {
		list = append(list, k)
	}
	slices.Sort(list)
	return list
}

// adopt makes copies of connections whose owner is not in the adopter's view.
func (w *world) adopt() {
	for _, c := range slices.Clone(w.conns) {
		n := w.nodes[w.rng.IntN(len(w.nodes))]
		if n.alive && n.m != nil && n.m.view != nil && n.view.Member(c.own.id()) == nil && n.frozen(c.atom) && w.rng.IntN(2) == 0 {
			w.conns = append(w.conns, conn{c.atom, n, n.life})
		}
	}
}
