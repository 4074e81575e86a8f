package blocks

import (
	"fmt"

	"cohort/ccl/wire"
)

// link is one direction of a channel.
type link struct {
	last  int64 // when the newest message arrives
	queue []wire.Message
}

// Send implements Output.
func (n *node) Send(to wire.NodeID, m wire.Message) error {
	w := n.w
	o := w.nodes[to-1]
	if g, ok := m.(wire.GiveUnits); ok {
		each(g.Units, n.m.units, func(u int) {
			if !n.passed[u] {
				w.fail("%s gives unit %d away, and its journal does not say so", n.name, u)
			}
		})
	}
	if !w.reliable && w.rng.IntN(64) == 0 {
		return fmt.Errorf("backlog")
	}
	if w.rng.IntN(16) == 0 {
		back, rest, err := wire.Decode(wire.Append(nil, m))
		if err != nil || len(rest) != 0 {
			w.fail("%v does not cross the link: %v", m, err)
		}
		if b := len(wire.Append(nil, m)); b > 480 {
			w.fail("%v takes %d bytes", m.Type(), b)
		}
		m = back
	}
	l := w.link(n, o)
	l.queue = append(l.queue, m)
	w.carry(n, o)
	return nil
}

func (w *world) link(a, b *node) *link {
	k := [2]int{a.i, b.i}
	if w.links[k] == nil {
		w.links[k] = &link{}
	}
	return w.links[k]
}

// carry delivers the first message of a channel that is not cut, after a while.
func (w *world) carry(a, b *node) {
	l := w.link(a, b)
	l.last = max(l.last, w.now+w.delay(a, b))
	w.after(l.last-w.now, func() {
		if w.link(a, b) == l && a.side == b.side && b.m != nil && len(l.queue) > 0 {
			m := l.queue[0]
			l.queue = l.queue[1:]
			b.m.Message(w.now, a.id(), m)
		}
	})
}

// reset starts the channel between two nodes over.
func (w *world) reset(a, b *node) {
	if a == b {
		return
	}
	w.links[[2]int{a.i, b.i}], w.links[[2]int{b.i, a.i}] = &link{}, &link{}
	for _, p := range [][2]*node{{a, b}, {b, a}} {
		if p[0].m != nil {
			p[0].m.PeerReset(w.now, p[1].id())
		}
	}
}

// resume lets everything that waits on uncut links go on.
func (w *world) resume() {
	for _, a := range w.nodes {
		for _, b := range w.nodes {
			if a != b {
				for range w.link(a, b).queue {
					w.carry(a, b)
				}
			}
		}
	}
}
