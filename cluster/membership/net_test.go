package membership

import (
	"container/heap"
	"fmt"
	"math/rand/v2"
	"net/netip"
	"slices"
	"strings"
	"time"

	"cohort/ccl/wire"
)

// network runs machines on a virtual clock over a network that loses, delays
// and reorders as told. It checks what must hold at every moment.
type network struct {
	now       int64
	seq       int
	queue     eventQueue
	rand      *rand.Rand
	nodes     []*testNode
	cuts      map[[2]*testNode]bool // from, to
	loss      float64
	delay     func() int64
	log       strings.Builder
	broken    []string // violated invariants
	disturbed int64    // when links last changed
	rulers    map[uint32]string
	content   map[[2]uint32]string
	life      wire.Incarnation
	rejoin    time.Duration // fenced nodes come back after this; 0: never
}

// testNode is one machine with its process: alive, paused or dead.
type testNode struct {
	net         *network
	cfg         Config
	m           *Machine
	running     bool
	paused      bool
	backlog     []func() // what a paused process finds when it goes on
	gen         int      // of the armed tick
	applied     *wire.View
	saved       *wire.View // what a hitless restart finds
	term, epoch uint32     // of the newest view ever, in the state directory
	down        uint32     // failed interfaces, as the node reports them
	grace       bool
	narrow      []*testNode // nodes that its full-sized packets do not reach
	why         wire.Cause  // of the last time that it was fenced
	lease       int64       // what the fast path has
	heart       *heart      // nil without the fast profile
	ticks       int
	gone        int64 // when it stopped to run, for lease checks
	woke        int64 // when it went on after a pause
	fences      int
	history     []appliedView
}

type appliedView struct {
	at int64
	v  *wire.View
}

type event struct {
	at  int64
	seq int
	do  func()
}

type eventQueue []event

func (q eventQueue) Len() int { return len(q) }
func (q eventQueue) Less(i, j int) bool {
	return q[i].at < q[j].at || q[i].at == q[j].at && q[i].seq < q[j].seq
}
func (q eventQueue) Swap(i, j int) { q[i], q[j] = q[j], q[i] }
func (q *eventQueue) Push(x any)   { *q = append(*q, x.(event)) }
func (q *eventQueue) Pop() any {
	old := *q
	e := old[len(old)-1]
	*q = old[:len(old)-1]
	return e
}

const second = int64(time.Second)

func newNetwork(seed uint64) *network {
	return &network{
		now:  second,
		rand: rand.New(rand.NewPCG(seed, 1)),
		cuts: map[[2]*testNode]bool{}, rulers: map[uint32]string{}, content: map[[2]uint32]string{},
		delay: func() int64 { return int64(time.Millisecond) },
	}
}

func (n *network) after(d int64, do func()) {
	n.seq++
	heap.Push(&n.queue, event{n.now + d, n.seq, do})
}

func (n *network) run(d time.Duration) {
	end := n.now + int64(d)
	for len(n.queue) > 0 && n.queue[0].at <= end {
		e := heap.Pop(&n.queue).(event)
		n.now = e.at
		e.do()
	}
	n.now = end
}

func (n *network) violated(format string, args ...any) {
	n.broken = append(n.broken, fmt.Sprintf("%v: ", time.Duration(n.now))+fmt.Sprintf(format, args...))
}

func vtep(i int) netip.Addr { return netip.AddrFrom4([4]byte{10, 99, 0, byte(i)}) }

// add declares a node; peers are set by connect.
func (n *network) add(name string, priority uint8) *testNode {
	t := &testNode{net: n, cfg: Config{
		Self:    wire.Member{Name: name, VTEP: vtep(len(n.nodes) + 1), Priority: priority, Serial: "S" + name},
		Cluster: "edge", Version: "1", DataMTU: 1500, Interfaces: []string{"inside", "outside"},
	}}
	n.nodes = append(n.nodes, t)
	return t
}

// connect makes every declared node a peer of every other.
func (n *network) connect() {
	for _, t := range n.nodes {
		for _, o := range n.nodes {
			t.cfg.Peers = append(t.cfg.Peers, o.cfg.Self.VTEP)
		}
	}
}

func (n *network) node(name string) *testNode {
	for _, t := range n.nodes {
		if t.cfg.Self.Name == name {
			return t
		}
	}
	panic("no node " + name)
}

func (n *network) at(a netip.Addr) *testNode {
	for _, t := range n.nodes {
		if t.cfg.Self.VTEP == a {
			return t
		}
	}
	return nil
}

func (n *network) newLife() wire.Incarnation {
	n.life++
	return n.life
}

// boot starts a process with an empty flow table.
func (t *testNode) boot() {
	t.launch(t.net.newLife())
	t.lease = 0
	t.do(func() { t.m.Start(t.net.now) })
}

func (t *testNode) launch(life wire.Incarnation) {
	cfg := t.cfg
	cfg.LastTerm, cfg.LastEpoch = t.term, t.epoch
	cfg.Self.Incarnation = life
	m, err := New(cfg, t)
	if err != nil {
		panic(err)
	}
	if t.running {
		t.gone = t.net.now // the life before
	}
	t.m, t.running, t.paused, t.backlog, t.applied = m, true, false, nil, nil
	t.cfg.Self.Incarnation = life
	m.Health(t.net.now, t.down, t.grace)
	if t.heart != nil {
		t.heart.progress = t.net.now
		t.heart.begin()
	}
}

// resume starts a process that finds the table of the former one.
func (t *testNode) resume() {
	v := t.saved
	t.launch(t.cfg.Self.Incarnation)
	t.applied = v
	t.do(func() {
		if err := t.m.Resume(t.net.now, v, v.Named(t.cfg.Self.Name).ID); err != nil {
			panic(err)
		}
	})
}

// report tells the machine of its interfaces.
func (t *testNode) report() {
	t.do(func() { t.m.Health(t.net.now, t.down, t.grace) })
}

// measure tells the machine of its links, as the node does at every tick.
func (t *testNode) measure() {
	set := uint64(0)
	if t.m.view != nil {
		for _, o := range t.narrow {
			if mem := t.m.view.Named(o.cfg.Self.Name); mem != nil {
				set |= 1 << mem.ID
			}
		}
	}
	t.m.Narrow(t.net.now, set)
}

func (t *testNode) kill() {
	t.running, t.gone = false, t.net.now
	t.gen++
	if t.heart != nil {
		t.heart.frozen = true
	}
}

func (t *testNode) pause() { t.paused, t.gone = true, t.net.now }

func (t *testNode) unpause() {
	t.paused, t.woke = false, t.net.now
	backlog := t.backlog
	t.backlog = nil
	for _, f := range backlog {
		t.do(f)
	}
}

// do runs an input of the machine as the event loop would: input, then arm the
// timer, then renew the lease.
func (t *testNode) do(input func()) {
	if !t.running {
		return
	}
	if t.paused {
		t.backlog = append(t.backlog, input)
		return
	}
	if t.heart != nil {
		t.heart.listen()
	}
	if input(); t.m.Asked() {
		t.m.Drain(t.net.now, true)
	}
	t.measure()
	if t.heart != nil {
		t.heart.renew()
	} else if until := t.m.LeaseUntil(t.net.now); until != 0 {
		t.lease = until
	}
	t.gen++
	gen := t.gen
	t.net.after(max(0, t.m.Next()-t.net.now), func() {
		if gen == t.gen {
			t.do(func() { t.ticks++; t.m.Tick(t.net.now) })
		}
	})
}

func (n *network) deliver(from, to *testNode, msg wire.Message) {
	if n.cuts[[2]*testNode{from, to}] || n.loss > 0 && n.rand.Float64() < n.loss {
		return
	}
	n.after(n.delay(), func() {
		if !n.cuts[[2]*testNode{from, to}] {
			to.do(func() { to.m.Step(n.now, from.cfg.Self.VTEP, msg) })
		}
	})
}

// Broadcast implements Output.
func (t *testNode) Broadcast(msg wire.Message) {
	for _, a := range t.cfg.Peers {
		if a != t.cfg.Self.VTEP {
			t.Send(a, msg)
		}
	}
}

// Send implements Output.
func (t *testNode) Send(to netip.Addr, msg wire.Message) {
	if o := t.net.at(to); o != nil {
		t.net.deliver(t, o, msg)
	}
}

// Apply implements Output and checks EL6: whole, newer, unambiguous views.
func (t *testNode) Apply(v *wire.View) {
	n, name := t.net, t.cfg.Self.Name
	if !v.Newer(t.applied) {
		n.violated("EL6: %s applies %d/%d after %d/%d", name, v.Term, v.Epoch, t.applied.Term, t.applied.Epoch)
	}
	if me := v.Named(name); me == nil || me.Incarnation != t.cfg.Self.Incarnation {
		n.violated("%s applies a view without itself", name)
	}
	if !validView(v) {
		n.violated("%s applies an invalid view %+v", name, v)
	}
	ruler := v.Member(v.Control).Name
	if r, ok := n.rulers[v.Term]; ok && r != ruler {
		n.violated("two control nodes in term %d: %s and %s", v.Term, r, ruler)
	}
	n.rulers[v.Term] = ruler
	key, text := [2]uint32{v.Term, v.Epoch}, fmt.Sprint(v.Members)
	if c, ok := n.content[key]; ok && c != text {
		n.violated("two views are %d/%d: %s and %s", v.Term, v.Epoch, c, text)
	}
	n.content[key] = text
	n.checkLeases(t, t.applied, v)
	t.applied, t.saved, t.term, t.epoch = v, v, v.Term, v.Epoch
	t.history = append(t.history, appliedView{n.now, v})
}

// checkLeases proves that a dead or stopped process's fast path is silent when
// others take its connections (HL5). Not under loss or cuts: the lease rests on
// the last heartbeats having arrived.
func (n *network) checkLeases(by *testNode, before, v *wire.View) {
	if n.loss > 0 || len(n.cuts) > 0 || n.now-n.disturbed < 3*by.m.hold {
		return
	}
	for _, o := range n.nodes {
		self := &o.cfg.Self
		was := before.Named(self.Name)
		is := v.Named(self.Name)
		removed := was != nil && was.Incarnation == self.Incarnation && (is == nil || is.Incarnation != self.Incarnation)
		if removed && (!o.running || o.paused) && o.lease > n.now {
			n.violated("HL5: %s is out of the view of %s %v before its lease ends",
				self.Name, by.cfg.Self.Name, time.Duration(o.lease-n.now))
		}
	}
}

// Fenced implements Output: stop, flush, come back as a new incarnation. EL9:
// somebody else must have been running until a moment ago, or this node was
// stopped and finds in its queue that it was removed meanwhile.
func (t *testNode) Fenced(why string, cause wire.Cause) {
	n := t.net
	was := t.applied
	t.lease, t.applied, t.saved, t.fences, t.why = 0, nil, nil, t.fences+1, cause
	if cause == wire.CauseInterface || cause == wire.CauseLink {
		n.checkHandicap(t, was)
	}
	others := 0
	for _, o := range n.nodes {
		if o != t && (o.running && !o.paused || n.now-o.gone < 2*int64(max(o.cfg.Hold, DefaultHold))) {
			others++
		}
	}
	if others == 0 && n.now-t.woke > 3*t.m.hold {
		n.violated("EL9: %s, the last node, is fenced: %s", t.cfg.Self.Name, why)
	}
	if n.rejoin == 0 {
		return
	}
	m := t.m
	n.after(int64(n.rejoin), func() {
		t.do(func() {
			if t.m == m && m.state == wire.StateFenced {
				t.cfg.Self.Incarnation = n.newLife()
				if err := m.Rejoin(n.now, t.cfg.Self.Incarnation); err != nil {
					panic(err)
				}
			}
		})
	})
}

// checkHandicap proves HL2, CL3 and EL9: who is out because of its interfaces or of
// its link leaves a member behind. Not under loss or cuts, and not when the one that was better
// off has just died: nobody can know that yet.
func (n *network) checkHandicap(t *testNode, was *wire.View) {
	if n.loss > 0 || len(n.cuts) > 0 || n.now-n.disturbed < 3*t.m.hold {
		return
	}
	for _, o := range n.nodes {
		switch {
		case o == t || was.Named(o.cfg.Self.Name) == nil:
		case o.running && !o.paused && o.m.state == wire.StateInSync:
			return
		case n.now-o.gone < 2*t.m.hold:
			return
		}
	}
	n.violated("EL9: %s is out because of its interfaces or its link, and nobody is left", t.cfg.Self.Name)
}

// Event implements Output.
func (t *testNode) Event(e Event) {
	state := StateName(e.To)
	if e.From != e.To {
		state = StateName(e.From) + " -> " + state
	}
	fmt.Fprintf(&t.net.log, "%9.3fs %s: %s: %s\n", float64(e.At-second)/1e9, t.cfg.Self.Name, state, e.Cause)
}

// split separates groups of nodes from each other.
func (n *network) split(groups ...[]*testNode) {
	n.disturbed = n.now
	n.cuts = map[[2]*testNode]bool{}
	for i, g := range groups {
		for j, h := range groups {
			for _, a := range g {
				for _, b := range h {
					if i != j {
						n.cuts[[2]*testNode{a, b}] = true
					}
				}
			}
		}
	}
}

func (n *network) heal() {
	n.cuts, n.loss, n.disturbed = map[[2]*testNode]bool{}, 0, n.now
}

// agreed returns the view that all running nodes are in, or why there is none.
func (n *network) agreed() (*wire.View, string) {
	var v *wire.View
	names := []string{}
	for _, t := range n.nodes {
		if !t.running {
			continue
		}
		name := t.cfg.Self.Name
		switch {
		case t.m.state != wire.StateInSync || t.m.doubt.on:
			return nil, fmt.Sprintf("%s is %s", name, StateName(t.m.state))
		case v != nil && (v.Term != t.applied.Term || v.Epoch != t.applied.Epoch):
			return nil, fmt.Sprintf("%s is in view %s, others in %s", name,
				ViewName(t.applied.Term, t.applied.Epoch), ViewName(v.Term, v.Epoch))
		}
		v = t.applied
		names = append(names, name)
	}
	if v == nil {
		return nil, "nobody runs"
	}
	members := []string{}
	for _, m := range v.Members {
		members = append(members, m.Name)
	}
	slices.Sort(members)
	slices.Sort(names)
	if !slices.Equal(members, names) {
		return nil, fmt.Sprintf("members are %v, running %v", members, names)
	}
	return v, ""
}
