package sim

import (
	"net/netip"
	"slices"
)

// Link is how the control link misbehaves.
type Link struct {
	Loss, Dup float64 // share of datagrams
	MinDelay  int64   // ns
	MaxDelay  int64   // ns; drawn anew for each datagram, so they overtake
}

// network carries datagrams and data frames between nodes.
type network struct {
	w   *World
	cut map[[2]int]bool // from, to

	sent int // datagrams
}

func (n *network) passes(from, to int) bool { return len(n.cut) == 0 || !n.cut[[2]int{from, to}] }

// datagram sends control traffic; to < 0 is a broadcast.
func (n *network) datagram(from, to int, b []byte) {
	if to >= 0 {
		n.one(from, to, slices.Clone(b))
		return
	}
	for i := range n.w.nodes {
		if i != from {
			n.one(from, i, slices.Clone(b))
		}
	}
}

func (n *network) one(from, to int, b []byte) {
	w := n.w
	n.sent++
	if !n.passes(from, to) || w.rng.Float64() < w.cfg.Link.Loss {
		return
	}
	n.deliver(from, to, b)
	if w.rng.Float64() < w.cfg.Link.Dup {
		n.deliver(from, to, b)
	}
}

func (n *network) deliver(from, to int, b []byte) {
	w := n.w
	w.clock.after(n.delay(), func() {
		if node := w.nodes[to]; n.passes(from, to) && node.running() {
			node.core.Datagram(w.clock.now, vtep(from), b)
			node.core.Flush(w.clock.now)
		}
	})
}

// frame sends a forwarded data packet.
func (n *network) frame(from, to int, p pkt) {
	w := n.w
	if w.cfg.ByConnection && p.step >= 2 {
		w.crossings++
		if p.hops == 1 {
			w.crossed++
		}
	}
	if !n.passes(from, to) || w.rng.Float64() < w.cfg.Link.Loss {
		return
	}
	w.clock.after(n.delay(), func() {
		if n.passes(from, to) && w.nodes[to].powered {
			w.nodes[to].receive(p)
		}
	})
}

func (n *network) delay() int64 {
	l := &n.w.cfg.Link
	return l.MinDelay + n.w.rng.Int64N(l.MaxDelay-l.MinDelay+1)
}

// vtep is the control link address of node i.
func vtep(i int) netip.Addr { return netip.AddrFrom4([4]byte{10, 99, 0, byte(i + 1)}) }

func nodeOf(a netip.Addr) int { return int(a.As4()[3]) - 1 }
