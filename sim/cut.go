package sim

import (
	"slices"

	"cohort/cluster/ownership"
)

// Partition cuts the control link between two random sides.
func Partition(w *World) {
	side := w.rng.Uint64()
	w.note("FAULT partition %0*b", len(w.nodes), side&(1<<len(w.nodes)-1))
	w.check.split()
	w.cutWhile(20*ms+w.rng.Int64N(2*second), func(a, b int) bool { return side>>a&1 != side>>b&1 })
}

// DeadlyHeal is a LongPartition after which machines lose power while the sides still
// tell each other what happened meanwhile: an end that only the dead knew of, and a
// copy beyond the cut that was not told.
func DeadlyHeal(w *World) {
	side := w.rng.Uint64()
	w.note("FAULT partition %0*b", len(w.nodes), side&(1<<len(w.nodes)-1))
	w.check.split()
	d := second + w.rng.Int64N(4*second)
	w.cutWhile(d, func(a, b int) bool { return side>>a&1 != side>>b&1 })
	for range 1 + w.rng.IntN(2) {
		w.clock.after(d+w.rng.Int64N(2*second)-second/2, func() {
			if !w.mended {
				w.powerOff(w.nodes[w.rng.IntN(len(w.nodes))])
			}
		})
	}
}

// LongPartition is a Partition that outlasts connections and their hold-down.
func LongPartition(w *World) {
	side := w.rng.Uint64()
	w.note("FAULT partition %0*b", len(w.nodes), side&(1<<len(w.nodes)-1))
	w.check.split()
	w.cutWhile(3*second+w.rng.Int64N(6*second), func(a, b int) bool { return side>>a&1 != side>>b&1 })
}

// OneWay cuts what one node says to another.
func OneWay(w *World) {
	from, to := w.rng.IntN(len(w.nodes)), w.rng.IntN(len(w.nodes))
	w.note("FAULT node %d is not heard by %d", from+1, to+1)
	w.check.split()
	w.cutWhile(20*ms+w.rng.Int64N(2*second), func(a, b int) bool { return a == from && b == to })
}

func (w *World) cutWhile(d int64, cut func(a, b int) bool) {
	for a := range w.nodes {
		for b := range w.nodes {
			if a != b && cut(a, b) {
				w.net.cut[[2]int{a, b}] = true
			}
		}
	}
	w.clock.after(d, w.heal)
}

func (w *World) heal() {
	w.note("the link is whole again")
	clear(w.net.cut)
	w.check.moved()
}

// someTime is how long a cut lasts: from less than anybody notices to many hold times.
func (w *World) someTime() int64 { return 20*ms + w.rng.Int64N(2*second) }

// Halves cuts the control link in the middle, 2/2 where there are four.
func Halves(w *World) {
	far := w.rng.Perm(len(w.nodes))[:(len(w.nodes)+1)/2]
	w.note("FAULT halves, %v are far", far)
	w.check.split()
	w.cutWhile(w.someTime(), func(a, b int) bool { return slices.Contains(far, a) != slices.Contains(far, b) })
}

// Alone cuts one node off from all others, 3/1 where there are four.
func Alone(w *World) {
	x := w.rng.IntN(len(w.nodes))
	w.note("FAULT node %d is alone", x+1)
	w.check.split()
	w.cutWhile(w.someTime(), func(a, b int) bool { return a == x || b == x })
}

// Deaf makes a node hear nobody, while all hear it.
func Deaf(w *World) {
	x := w.rng.IntN(len(w.nodes))
	w.note("FAULT node %d hears nobody", x+1)
	w.check.split()
	w.cutWhile(w.someTime(), func(_, b int) bool { return b == x })
}

// Mute makes a node that nobody hears, while it hears all.
func Mute(w *World) {
	x := w.rng.IntN(len(w.nodes))
	w.note("FAULT node %d is not heard", x+1)
	w.check.split()
	w.cutWhile(w.someTime(), func(a, _ int) bool { return a == x })
}

// Flapping cuts the link between two random sides, one way or both, again and again:
// each time before, or after, anybody has drawn a conclusion from the last.
func Flapping(w *World) {
	side, oneWay := w.rng.Uint64(), w.rng.IntN(2) == 0
	w.note("FAULT flapping %0*b, one way %v", len(w.nodes), side&(1<<len(w.nodes)-1), oneWay)
	cut := func(a, b int) bool { return side>>a&1 != side>>b&1 && (!oneWay || side>>a&1 == 1) }
	w.flap(3+w.rng.IntN(8), 500*ms, 500*ms, cut)
}

// flap cuts the link so many times, for as long as said at most, with pauses.
func (w *World) flap(times int, down, up int64, cut func(a, b int) bool) {
	if times == 0 || w.mended {
		return
	}
	d := 5*ms + w.rng.Int64N(down)
	w.check.split()
	w.cutWhile(d, cut)
	w.clock.after(d+5*ms+w.rng.Int64N(up), func() { w.flap(times-1, down, up, cut) })
}

// FlappingYoung lets some connect, and flaps both ways as soon as most of them have: their
// owners have had no time to tell anybody that the handshakes are over.
func FlappingYoung(w *World) {
	for range 24 {
		c := w.client(ownership.KindTCP)
		c.steps += 10
		w.conns = append(w.conns, c)
		w.clock.after(w.rng.Int64N(100*ms), c.start)
	}
	side := w.rng.Uint64()
	w.clock.after(100*ms+w.rng.Int64N(200*ms), func() {
		w.note("FAULT flapping %0*b", len(w.nodes), side&(1<<len(w.nodes)-1))
		w.flap(3+w.rng.IntN(8), 2*second, second/2, func(a, b int) bool { return side>>a&1 != side>>b&1 })
	})
}
