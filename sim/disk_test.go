package sim

import (
	"slices"
	"testing"

	"cohort/ccl/wire"
)

// hear lets the node be told of one that left in order, long ago: it has something to
// write down, and nothing is asked of anybody before it has.
func (n *node) hear(name string) {
	w := n.w
	for _, o := range w.nodes {
		if o != n {
			n.core.Units().Message(w.clock.now, o.self, wire.Roster{Entries: []wire.RosterEntry{{Name: name, Seen: 1, Over: true}}})
			return
		}
	}
}

// knows reports whether the node's disk has the name.
func (n *node) knows(name string) bool {
	return n.disk != nil && slices.ContainsFunc(n.disk.Roster, func(e wire.RosterEntry) bool { return e.Name == name })
}

// unaware lists, for each node, the members that have not said that they have on disk
// what it knows.
func (w *World) unaware() (list []string) {
	for _, n := range w.nodes {
		list = append(list, n.core.Units().Unaware()...)
	}
	return list
}

// TestDisk_AStoppedDaemonHearsWhenItContinues: a write ends while its daemon is stopped,
// by a fault that ends by itself or with all others, and whether the others remove the
// node meanwhile or not. There is nothing to write afterwards, so nothing else would ever
// tell the daemon that it has what it knows on disk, and units would thaw nowhere.
func TestDisk_AStoppedDaemonHearsWhenItContinues(t *testing.T) {
	for name, mend := range map[string]bool{"by itself": false, "the faults end": true} {
		t.Run(name, func(t *testing.T) {
			removed, stayed := 0, 0
			for seed := range uint64(40) {
				w := open(Config{Seed: seed, Nodes: 3, NAT: true})
				w.boot()
				w.advance(2 * second)
				if list := w.unaware(); len(list) > 0 {
					t.Fatalf("seed %d: %v are unaware before anything happened", seed, list)
				}
				Stop(w)
				n := w.nodes[slices.IndexFunc(w.nodes, func(n *node) bool { return n.stopped })]
				n.hear("fw-old")
				w.advance(10 * ms)
				own := n.view.Member(n.self).Name
				if !n.stopped || !n.knows("fw-old") || !slices.Contains(n.core.Units().Unaware(), own) {
					t.Fatalf("seed %d: stopped %v, on disk %v, the daemon waits for %v: want it written, and the daemon not to know yet", seed, n.stopped, n.knows("fw-old"), n.core.Units().Unaware())
				}
				before := n.tag
				if mend {
					w.advance(500 * ms)
					w.mend()
					if slices.Contains(n.core.Units().Unaware(), own) {
						t.Fatalf("seed %d: the daemon goes on, and still does not know what is on disk", seed)
					}
				}
				w.advance(5 * second)
				if n.tag == before {
					stayed++
				} else {
					removed++
				}
				if list := w.unaware(); len(list) > 0 || n.stopped {
					t.Errorf("seed %d: node %d heard of its write while it was stopped, and %v are unaware ever after", seed, n.index+1, list)
				}
				for _, o := range w.nodes {
					if !o.knows("fw-old") {
						t.Errorf("seed %d: node %d has not written down what node %d told", seed, o.index+1, n.index+1)
					}
				}
			}
			if removed == 0 || stayed == 0 && !mend {
				t.Errorf("%d were removed while they were stopped, %d stayed: this proves nothing", removed, stayed)
			}
		})
	}
}

// TestDisk_NoOlderVersionReplacesANewer: whichever of two writes ends first, the disk
// has the second version in the end, and never goes back on its way there.
func TestDisk_NoOlderVersionReplacesANewer(t *testing.T) {
	skipped := 0
	for seed := range uint64(40) {
		w := open(Config{Seed: seed, Nodes: 2, NAT: true})
		w.boot()
		w.advance(2 * second)
		n := w.nodes[0]
		first := n.disk.Version
		n.hear("fw-old")
		n.hear("fw-older")
		var had []uint64
		w.clock.run(w.clock.now+10*ms, func() {
			if v := n.disk.Version; len(had) == 0 || had[len(had)-1] != v {
				had = append(had, v)
			}
		})
		if !slices.IsSorted(had) || had[len(had)-1] != first+2 || !n.knows("fw-older") {
			t.Errorf("seed %d: the disk had versions %v; %d and %d were written", seed, had, first+1, first+2)
		}
		if !slices.Contains(had, first+1) {
			skipped++
		}
	}
	if skipped == 0 || skipped == 40 {
		t.Errorf("the second write overtook the first one in %d of 40 seeds: this proves nothing", skipped)
	}
}

// TestDisk_ALifeThatIsOverHearsNothing: what a stopped daemon has not heard yet is not
// said to the one after it, which may have read an older version.
func TestDisk_ALifeThatIsOverHearsNothing(t *testing.T) {
	w := open(Config{Seed: 1, Nodes: 2, NAT: true})
	w.boot()
	w.advance(2 * second)
	n, said := w.nodes[0], 0
	do := func() { said++ }
	n.awake(n.life, do)
	if said != 1 {
		t.Fatalf("a daemon that runs heard %d words of 1", said)
	}
	n.stopped = true
	n.awake(n.life, do)
	former := n.life
	w.powerOff(n)
	n.awake(former, do)
	w.advance(4 * second)
	if !n.running() {
		t.Fatal("the machine has not booted")
	}
	n.awake(former, do)
	n.stopped = true
	n.proceed()
	if said != 1 {
		t.Errorf("a life that is over, or the one after it, heard %d words", said-1)
	}
}
