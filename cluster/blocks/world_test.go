package blocks

import (
	"container/heap"
	"fmt"
	"math/rand/v2"
	"slices"
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

// link is one direction of a channel.
type link struct {
	last  int64 // when the newest message arrives
	queue []wire.Message
}

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
func (e *events) Push(x any)   { *e = append(*e, x.(event)) }
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
