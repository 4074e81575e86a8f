package sim

import (
	"fmt"
	"time"

	"cohort/cluster/health"
	"cohort/cluster/membership"
)

// Fault strikes once, at an instant of its own, and mends itself or is mended
// at the end of the run.
type Fault func(w *World)

// PowerOff takes a machine away, tables and all; it boots again later.
func PowerOff(w *World) { w.powerOff(w.nodes[w.rng.IntN(len(w.nodes))]) }

// Snipe takes the next machine that forwards the first or the second request of a
// conversation, at that instant: what it has not sent yet dies with it.
func Snipe(w *World) { w.snipers++ }

// reached is the first time that the responder of c gets this request.
func (w *World) reached(c *conn) {
	if w.snipers == 0 || w.mended || c.seen > 2 {
		return
	}
	for _, n := range w.nodes {
		if ref := n.table.Lookup(c.key); n.running() && ref != 0 && !ref.IsForward() {
			w.snipers--
			w.clock.after(0, func() { w.powerOff(n) })
			return
		}
	}
}

func (w *World) powerOff(n *node) {
	if !n.powered {
		return
	}
	w.check.dying(n)
	w.note("FAULT node %d loses power", n.index+1)
	n.powered = false
	n.life++
	w.check.over(n)
	life := n.life
	w.clock.after(second/5+w.rng.Int64N(3*second), func() {
		if n.life == life {
			w.note("node %d boots", n.index+1)
			n.boot()
		}
	})
}

// Drain is an operator who takes a machine out in order, and lets it join again when it
// has been out for a while. One at a time: there must be somebody to give to.
func Drain(w *World) {
	for _, n := range w.nodes {
		if _, on := n.core.Draining(); on || !n.running() || n.tag == 0 || len(n.view.Members) != len(w.nodes) {
			return
		}
	}
	n := w.nodes[w.rng.IntN(len(w.nodes))]
	w.note("FAULT node %d drains", n.index+1)
	w.check.moved()
	w.result.Drains++
	if err := n.core.Drain(w.clock.now, 3*time.Second, "it drained"); err != nil {
		w.fail("EL10: node %d does not drain: %v", n.index+1, err)
	}
	life := n.life
	var back func()
	back = func() {
		if n.life == life && n.running() && !w.enable(n) {
			w.clock.after(second/3, back) // still on its way out
		}
	}
	w.clock.after(second, back)
}

// Promote is an operator who moves the control role, said to any member.
func Promote(w *World) {
	n, by := w.nodes[w.rng.IntN(len(w.nodes))], w.nodes[w.rng.IntN(len(w.nodes))]
	if !by.running() || by.tag == 0 || n.tag == 0 {
		return
	}
	w.note("FAULT node %d is told that node %d becomes the control node", by.index+1, n.index+1)
	w.check.moved()
	_ = by.core.Member().Promote(w.clock.now, fmt.Sprintf("fw-%d", n.index+1)) // it may be refused: it is it already
	by.core.Flush(w.clock.now)
}

// DrainAmidElection is a Drain while the control role moves: before it, or to or from
// the very node.
func DrainAmidElection(w *World) {
	Promote(w)
	w.clock.after(w.rng.Int64N(50*ms), func() { Drain(w) })
	w.clock.after(w.rng.Int64N(100*ms), func() { Promote(w) })
}

// LoseControl takes the power of the control node away.
func LoseControl(w *World) {
	for _, n := range w.nodes {
		if n.running() && n.view != nil && n.view.Control == n.self {
			w.powerOff(n)
			return
		}
	}
}

// enable lets a node join that an operator has taken out; false when it is in.
func (w *World) enable(n *node) bool {
	if n.core.Ladder().Phase != health.Disabled {
		return false
	}
	left, _ := n.core.Draining()
	w.result.Left += left
	w.check.moved()
	w.note("node %d left %d connections behind, and is told to join again", n.index+1, left)
	if err := n.core.Enable(w.clock.now, membership.Auto); err != nil {
		w.fail("EL10: node %d: %v", n.index+1, err)
	}
	return true
}

// KillDaemon ends the daemon alone: its fast path lives on until the lease
// ends. The daemon comes back without its table.
func KillDaemon(w *World) {
	n := w.nodes[w.rng.IntN(len(w.nodes))]
	if !n.running() {
		return
	}
	w.check.dying(n)
	w.note("FAULT daemon of node %d is killed", n.index+1)
	n.dead = true
	n.life++
	w.check.over(n)
	life := n.life
	w.clock.after(second/2+w.rng.Int64N(2*second), func() {
		if n.life == life {
			w.note("node %d starts its daemon", n.index+1)
			n.boot()
		}
	})
}

// Stop suspends a daemon for a while: shorter or longer than the hold time.
func Stop(w *World) {
	n := w.nodes[w.rng.IntN(len(w.nodes))]
	if !n.running() {
		return
	}
	w.check.dying(n)
	// Two that are stopped one after the other each go on alone for a while:
	// both sides of that may grant the same, as with a cut.
	w.check.torn = true
	w.note("FAULT daemon of node %d is stopped", n.index+1)
	n.stopped = true
	life := n.life
	w.clock.after(20*ms+w.rng.Int64N(second), func() {
		if n.life == life {
			w.note("daemon of node %d continues", n.index+1)
			n.proceed()
		}
	})
}

// mend ends every fault.
func (w *World) mend() {
	w.note("the faults end")
	w.mended = true
	clear(w.net.cut)
	for _, n := range w.nodes {
		n.proceed()
		if n.file = w.file; !n.powered || n.dead {
			n.boot()
		} else if w.setups != nil {
			n.prepare(n.file)
		}
		w.enable(n)
	}
	w.check.moved()
}

// Reload is an operator with a new file for all nodes, one after the other.
// Which of them are there, and which of them are ready at the same time, is as
// it happens.
func Reload(w *World) {
	if w.setups == nil {
		return
	}
	w.file = w.rng.IntN(len(w.setups))
	file := w.file
	w.note("FAULT an operator distributes file %d", file)
	for _, n := range w.nodes {
		w.clock.after(w.rng.Int64N(second/2), func() {
			if w.file == file {
				n.prepare(file)
			}
		})
	}
}
