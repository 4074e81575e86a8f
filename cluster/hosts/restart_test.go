package hosts

import (
	"math/rand/v2"
	"testing"

	"cohort/ccl/wire"
	"cohort/packet"
)

// restart replaces a node's process within its life and the view: what was on its
// way is lost, what hosts have is found again, and all hear that channels started
// over.
func (w *world) restart(id wire.NodeID) {
	have := w.nodes[id].have
	inc := w.nodes[id].inc
	keep := w.queue[:0]
	for _, d := range w.queue {
		if d.from != id && d.to != id {
			keep = append(keep, d)
		}
	}
	w.queue = keep
	w.boot(id)
	n := w.nodes[id]
	n.have, n.inc = have, inc
	n.m.Recut(func(visit func(int, packet.Addr, int)) {
		for h, c := range have {
			if c > 0 {
				visit(0, h, c)
			}
		}
	})
	n.m.ApplyView(w.view, id)
	for _, m := range w.view.Members {
		if m.ID != id {
			w.nodes[m.ID].m.PeerReset(id)
		}
	}
	n.m.Register()
	w.deliver(len(w.queue)) // the others' full rounds
	n.m.Settled()
}

// A daemon that is restarted within its lease makes no view. What it knew as a
// host's director is told again, what it was asked is asked again, and no host
// gets more blocks than it may (NT6, HL5).
func TestNT6_BlocksOfAHostAreCountedAcrossARestart(t *testing.T) {
	for seed := range uint64(200) {
		w := &world{t: t, rng: rand.New(rand.NewPCG(seed, 6)), nodes: map[wire.NodeID]*node{}}
		for id := wire.NodeID(1); id <= 4; id++ {
			w.boot(id)
		}
		w.apply()
		h := packet.Addr{10, 0, 0, 1}
		any := func() *node { return w.nodes[wire.NodeID(1+w.rng.IntN(4))] }
		for range 60 {
			switch n := any(); w.rng.IntN(8) {
			case 0:
				w.restart(n.id)
			case 1, 2:
				n.release(h)
			default:
				n.m.Ask(0, h)
			}
			w.deliver(w.rng.IntN(4))
		}
		w.deliver(1 << 20)
		for round := range 200 { // every node asks: what a lost answer left is put right
			w.nodes[wire.NodeID(1+round%4)].m.Ask(0, h)
			w.deliver(1 << 20)
		}
		sum := 0
		for _, n := range w.nodes {
			sum += n.have[h]
		}
		if sum != limit {
			t.Fatalf("seed %d: %d blocks at last, want the limit %d", seed, sum, limit)
		}
	}
}
