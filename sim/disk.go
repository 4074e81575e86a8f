package sim

import "cohort/cluster/blocks"

// A node's disk keeps what a later life of it must know about units, as node/state.go
// does: there is one writer, and only the newest version matters to it, so none is
// replaced by an older one. What is with the kernel is written while the daemon is
// stopped, too; the daemon hears of it when it continues.

// remember writes m down, in a while (blocks.Config.Remember).
func (n *node) remember(m blocks.Memory) {
	w, life := n.w, n.life
	w.clock.after(w.rng.Int64N(5*ms), func() { // a disk is slow
		if n.life != life || !n.powered || n.disk != nil && n.disk.Version >= m.Version {
			return
		}
		n.disk = &m
		w.clock.after(0, func() {
			n.awake(life, func() {
				n.core.Units().Remembered(w.clock.now, m.Version)
				n.core.Flush(w.clock.now)
			})
		})
	})
}

// awake has this life of the daemon do something: now, or when it continues if it is
// stopped; never if it is over.
func (n *node) awake(life int, do func()) {
	switch {
	case n.life != life:
	case n.stopped:
		n.posted = append(n.posted, func() { n.awake(life, do) })
	case n.running():
		do()
	}
}

// proceed is SIGCONT: a daemon that was stopped goes on with what has come meanwhile.
func (n *node) proceed() {
	n.stopped = false
	list := n.posted
	n.posted = nil
	for _, do := range list {
		do()
	}
}
