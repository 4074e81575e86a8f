package blocks

import (
	"container/heap"
	"fmt"
	"math/rand/v2"
	"time"

	"cohort/ccl/wire"
)

const ms = int64(time.Millisecond)

// world is a network of Machines under a clock of its own, with everything
// around them that the argument in doc.go speaks of: reliable channels that can
// start over, views that nodes apply at different times, disks that are slow,
// memory that outlives a process, and connections that live in the units.
type world struct {
	rng      *rand.Rand
	now      int64
	events   events
	seq      int
	term     uint32
	cuts     []cutting // the numberings that views may have
	cut      int       // of the next view
	nodes    []*node
	links    map[[2]int]*link
	atoms    []owned // the ports, each by itself: what units are made of
	conns    []conn
	failed   []string // broken promises
	delay    func(a, b *node) int64
	ranges   int  // Config.MaxRanges
	reliable bool // Send never fails
	takes    bool // every new process knows what the one before took and gave away, not just half of them
	slowDisk bool // a restarted process may find an older view
}

// cutting is a numbering: the ports of each unit.
type cutting struct {
	pools []Range
	atoms [][]int
}

// whole is the numbering in which every port is a unit.
func whole(pools ...Range) cutting {
	c := cutting{pools: pools}
	for u := range (&Config{Pools: pools}).units() {
		c.atoms = append(c.atoms, []int{u})
	}
	return c
}

// from computes what the units of c are made of, as package nat does.
func (c *cutting) from(old *cutting) []Part {
	of := map[int]int{}
	for u, list := range old.atoms {
		for _, a := range list {
			of[a] = u
		}
	}
	parts := make([]Part, len(c.atoms))
	for u, list := range c.atoms {
		p := Part{of[list[0]], of[list[len(list)-1]] - of[list[0]] + 1}
		for _, a := range list {
			if _, ok := of[a]; !ok {
				p = Part{}
				break
			}
		}
		parts[u] = p
	}
	return parts
}

// owned is who may allocate from a unit, in truth.
type owned struct {
	by   *node
	life wire.Incarnation
}

type conn struct {
	atom int
	own  *node
	life wire.Incarnation
}

// node is one machine in the world.
type node struct {
	w        *world
	i        int
	name     string
	found    bool
	m        *Machine
	alive    bool // the incarnation goes on, with or without a process
	gone     bool // never comes back
	life     wire.Incarnation
	side     int
	view     *wire.View
	former   *wire.View // the one before
	cut      int        // numbering of the machine
	recut    bool       // is being told another one
	ready    bool       // settled in view
	back     uint64     // units taken back so far
	inUse    uint64     // units thawed in use so far
	begun    int        // processes so far
	dropping bool       // its units are given up, not given away

	disk     Memory
	journal  map[int]bool
	number   uint64 // of the journal
	taken    [wire.MaxNodes]Taken
	passed   map[int]bool // given away in the view of the journal
	held     map[int]bool // what Ports knows
	leased   map[int]bool
	answered []int
}

func (n *node) id() wire.NodeID { return wire.NodeID(n.i + 1) }

type event struct {
	at  int64
	seq int
	f   func()
}

type events []event

func (e events) Len() int { return len(e) }

func (e events) Less(i, j int) bool {
	return e[i].at < e[j].at || e[i].at == e[j].at && e[i].seq < e[j].seq
}

func (e events) Swap(i, j int) { e[i], e[j] = e[j], e[i] }

func (e *events) Push(x any) { *e = append(*e, x.(event)) }

func (e *events) Pop() any {
	x := (*e)[len(*e)-1]
	*e = (*e)[:len(*e)-1]
	return x
}

func newWorld(seed uint64, nodes int, pools ...Range) *world {
	w := &world{
		rng: rand.New(rand.NewPCG(seed, 1)), now: 1000 * ms, cuts: []cutting{whole(pools...)}, links: map[[2]int]*link{},
		delay: func(_, _ *node) int64 { return ms },
	}
	w.atoms = make([]owned, len(w.cuts[0].atoms))
	for range nodes {
		w.add(true)
	}
	return w
}

func (w *world) fail(format string, args ...any) {
	w.failed = append(w.failed, fmt.Sprintf("%v: ", time.Duration(w.now))+fmt.Sprintf(format, args...))
}

func (w *world) after(d int64, f func()) {
	w.seq++
	heap.Push(&w.events, event{w.now + d, w.seq, f})
}

// run lets d pass, in whole ticks.
func (w *world) run(d time.Duration) {
	for end := w.now + int64(d); w.now < end; {
		w.step()
	}
}

// step goes on to the next event, or to the next tick of everybody, which is
// every 10 ms.
func (w *world) step() {
	next := (w.now/(10*ms) + 1) * 10 * ms
	if len(w.events) > 0 && w.events[0].at <= next {
		e := heap.Pop(&w.events).(event)
		w.now = e.at
		e.f()
		return
	}
	w.now = next
	for _, n := range w.nodes {
		if n.m != nil {
			n.m.Tick(w.now)
		}
	}
}

// add makes a node and boots it.
func (w *world) add(found bool) *node {
	n := &node{w: w, i: len(w.nodes), name: fmt.Sprintf("fw-%c", 'a'+len(w.nodes)), found: found, journal: map[int]bool{}, passed: map[int]bool{}, held: map[int]bool{}}
	w.nodes = append(w.nodes, n)
	n.boot()
	return n
}

// boot begins a new life.
func (n *node) boot() {
	n.alive, n.life, n.view = true, wire.Incarnation(n.w.rng.Uint64()|1), nil
	n.start()
}

// start begins a process of the present life.
func (n *node) start() {
	n.begun++
	process := n.begun
	n.held, n.leased, n.ready, n.back, n.inUse = map[int]bool{}, map[int]bool{}, false, 0, 0
	n.m = New(n.w.now, Config{
		Pools: n.w.cuts[n.cut].pools, Cut: uint32(n.cut), Seed: [16]byte{7}, Memory: n.disk, Found: n.found, Output: n, Ports: n, LeaseFor: time.Second, MaxRanges: n.w.ranges,
		Remember: func(m Memory) {
			n.w.after(n.w.rng.Int64N(20*ms), func() {
				if n.begun == process && n.m != nil && m.Version > n.disk.Version {
					n.disk = m
					n.m.Remembered(n.w.now, m.Version)
				}
			})
		},
		Journal: n,
		Forgotten: func() {
			n.w.after(1, func() {
				if n.begun == process && n.m != nil {
					n.lose()
					n.w.form(n.side, 20*ms)
				}
			})
		},
		Answered: func(_, units int) { n.answered = append(n.answered, units) },
	})
	for _, o := range n.w.nodes {
		n.w.reset(n, o)
	}
}

// holders counts the units that each node holds, -1 for those nobody does.
func (w *world) holders() map[int]int {
	count := map[int]int{}
	for _, list := range w.cuts[w.cut].atoms {
		if o := w.atoms[list[0]]; o.by == nil {
			count[-1]++
		} else {
			count[o.by.i]++
		}
	}
	return count
}
