package membership

import (
	"fmt"
	"maps"
	"slices"
	"strings"
	"testing"
	"time"

	"cohort/ccl/wire"
	"cohort/cluster/pulse"
)

// heart is the process that beats for a node, on the virtual network. It lives when
// the event loop is paused, unless frozen stops it too.
type heart struct {
	t        *testNode
	p        *pulse.Machine
	frozen   bool
	progress int64 // of the event loop
	permit   int64
	sent     int64
	keeper   pulse.Keeper
	gen      int
	waiting  []func()
}

// fast gives every node a heart: the fast profile.
func (n *network) fast(hold time.Duration) {
	for _, t := range n.nodes {
		t.cfg.Hold, t.cfg.Fast = hold, true
		t.heart = &heart{t: t, frozen: true}
	}
}

// begin starts the process.
func (h *heart) begin() {
	h.gen++
	h.p, h.frozen, h.waiting = pulse.New(h.t.net.now, len(h.t.net.nodes)), false, nil
	h.permit, h.keeper = 0, pulse.Keeper{}
	h.pass(h.gen)
}

// pass is what the real one does between two sleeps.
func (h *heart) pass(gen int) {
	n := h.t.net
	if gen != h.gen || h.frozen {
		return
	}
	h.p.Begin(n.now)
	for _, f := range h.waiting {
		f()
	}
	h.waiting = nil
	h.p.End(n.now)
	if h.p.Due(n.now) {
		for i := range n.nodes {
			h.beat(i, 0)
		}
		h.sent = n.now
		if until, renew := pulse.Renew(n.now, n.now, h.t.lease, h.permit); renew {
			h.t.lease = until
		}
	}
	for i := range n.nodes {
		if h.p.Ask(n.now, i) {
			h.beat(i, wire.PulseAsk)
		}
	}
	h.gen++
	next := h.gen
	n.after(h.p.Next()-n.now, func() { h.pass(next) })
}

// beat sends one to a node.
func (h *heart) beat(to int, flags wire.PulseFlags) {
	n := h.t.net
	o := n.nodes[to]
	if o == h.t || o.heart == nil || n.cuts[[2]*testNode{h.t, o}] || n.loss > 0 && n.rand.Float64() < n.loss {
		return
	}
	if !pulse.Covered(n.now, h.t.lease) {
		flags |= wire.PulseHold
	}
	b := wire.Beat{Life: h.t.cfg.Self.Incarnation, Stale: uint32((n.now - h.progress) / 1e6), Flags: flags}
	n.after(n.delay(), func() {
		if n.cuts[[2]*testNode{h.t, o}] || !o.running {
			return
		}
		take := func() {
			if o.heart.p.Heard(n.now, h.t.index(), b, 0) {
				o.heart.beat(h.t.index(), 0)
			}
		}
		if o.heart.waiting = append(o.heart.waiting, take); !o.heart.frozen {
			o.heart.gen++
			o.heart.pass(o.heart.gen)
		}
	})
}

func (t *testNode) index() int {
	for i, o := range t.net.nodes {
		if o == t {
			return i
		}
	}
	panic("not of this network")
}

// listen is what the event loop does before an input.
func (h *heart) listen() {
	h.progress = h.t.net.now
	m := h.t.m
	m.Attended(h.t.net.now, h.p.Attended())
	for i, o := range h.t.net.nodes {
		m.Beat(o.cfg.Self.VTEP, h.p.Peer(i))
	}
}

// renew is what it does after one.
func (h *heart) renew() {
	n := h.t.net
	h.permit = h.t.m.LeaseUntil(n.now)
	until, set, lapsed := h.keeper.Look(n.now, h.t.lease, h.sent, h.permit)
	switch {
	case set:
		h.t.lease = until
	case lapsed:
		h.permit = 0
		h.t.m.Lapsed(n.now)
	}
}

// freeze stops the whole node, as a guest that is paused, and thaw lets it go on.
func (t *testNode) freeze() { t.pause(); t.heart.frozen = true }

func (t *testNode) thaw() {
	t.heart.frozen = false
	t.heart.gen++
	t.heart.pass(t.heart.gen)
	t.unpause()
}

// fastFormed is a healthy cluster in the fast profile.
func fastFormed(t *testing.T, count int) *network {
	t.Helper()
	return formedWith(t, count, func(n *network) { n.fast(3 * time.Second) })
}

// HL7: a node that died is out of all views within 200 ms, the control node too
// (EL4), and not before its lease is over.
func TestHL7_EL4_DeathIsDetectedIn200ms(t *testing.T) {
	worst := time.Duration(0)
	forSeeds(t, 8, func(n *network) {
		n.build(3 * time.Second)
		n.fast(pick(n, 500*time.Millisecond, 3*time.Second, 45*time.Second))
		for _, t := range n.nodes {
			t.boot()
		}
		n.run(8*time.Second + n.between(0, time.Second))
		victim := pick(n, n.nodes...)
		if n.rand.IntN(4) == 0 {
			victim.freeze()
		} else {
			victim.kill()
		}
		killed := n.now
		n.run(time.Second)
		for _, t := range n.nodes {
			out := n.firstWithout(t, victim, killed)
			took := time.Duration(out - killed)
			switch {
			case t == victim:
			case out == 0 || took > 200*time.Millisecond:
				n.violated("%s lost %s after %v", t.cfg.Self.Name, victim.cfg.Self.Name, took)
			case out < victim.lease:
				n.violated("%s lost %s %v before its lease ended", t.cfg.Self.Name, victim.cfg.Self.Name, time.Duration(victim.lease-out))
			}
			worst = max(worst, took)
		}
	})
	t.Logf("slowest detection: %v", worst)
}

// HL7: a busy event loop does not look dead while its pulse beats. The node goes on
// forwarding for 0.6 hold times, and is out only after a whole one.
func TestHL7_HL5_ABusyLoopIsNotDead(t *testing.T) {
	for _, control := range []bool{false, true} {
		n := fastFormed(t, 4)
		busy := n.nodes[2]
		if control {
			busy = n.nodes[0]
		}
		views := len(n.nodes[1].history)
		busy.pause()
		n.run(1100 * time.Millisecond)
		if busy.lease <= n.now {
			t.Error("a loop that stood still for 0.37 hold times costs the lease")
		}
		busy.unpause()
		n.run(time.Second)
		if more := len(n.nodes[1].history) - views; more != 0 || busy.fences != 0 || busy.m.doubt.on || busy.lease <= n.now {
			t.Errorf("%d views, fenced %d times, in doubt %v", more, busy.fences, busy.m.doubt.on)
		}

		busy.pause()
		n.run(1900 * time.Millisecond)
		if busy.lease > n.now {
			t.Error("a pulse alone keeps the lease of a loop that is stuck for 0.63 hold times")
		}
		if n.firstWithout(n.nodes[1], busy, n.now-int64(2*time.Second)) != 0 {
			t.Error("a loop that stood still for 0.63 hold times is removed")
		}
		n.run(1500 * time.Millisecond)
		if n.firstWithout(n.nodes[1], busy, 0) == 0 {
			t.Error("a stuck node stays")
		}
		if log := n.log.String(); !strings.Contains(log, "event loop stands still for 3") {
			t.Errorf("nothing says why:\n%s", log)
		}
	}
}

// HL5, HL7: a node that was frozen as a whole for longer than its lease does not
// forward before the others have confirmed it.
func TestHL7_HL5_AFrozenNodeAsksFirst(t *testing.T) {
	n := fastFormed(t, 4)
	b := n.nodes[1]
	views := len(n.nodes[0].history)
	b.freeze()
	n.run(95 * time.Millisecond) // the lease is over, the others have not noticed
	b.thaw()
	if b.lease > n.now {
		t.Error("it forwards before it has asked")
	}
	n.run(60 * time.Millisecond)
	if b.m.doubt.on || b.lease <= n.now || len(n.nodes[0].history) != views {
		t.Errorf("doubt %v, lease %v, %d views", b.m.doubt.on, time.Duration(b.lease-n.now), len(n.nodes[0].history)-views)
	}
	b.freeze()
	n.run(400 * time.Millisecond)
	b.thaw()
	if n.run(100 * time.Millisecond); b.fences != 1 || b.lease != 0 {
		t.Errorf("after its removal: fenced %d times, lease %v", b.fences, time.Duration(b.lease))
	}
}

// HL7: two beats that are lost are no death: the node is asked.
func TestHL7_LostBeatsKillNobody(t *testing.T) {
	n := fastFormed(t, 4)
	var views []int
	for _, node := range n.nodes {
		views = append(views, len(node.history))
	}
	n.loss = 0.05
	n.run(20 * time.Second)
	for i, node := range n.nodes {
		if more := len(node.history) - views[i]; more != 0 {
			t.Errorf("%s: %d views while everybody was healthy", node.cfg.Self.Name, more)
		}
	}
}

// HL7: whoever was too busy to listen calls nobody dead, as long as he beats not for
// longer than the others wait: his own delay is not their silence.
func TestHL7_WhoDidNotListenRemovesNobody(t *testing.T) {
	n := fastFormed(t, 4)
	control := n.nodes[0]
	for range 20 {
		control.freeze()
		n.run(90 * time.Millisecond)
		control.thaw()
		n.run(300 * time.Millisecond)
	}
	for _, node := range n.nodes {
		if len(node.history) > 3 || node.fences > 0 {
			t.Errorf("%s: %d views, fenced %d times", node.cfg.Self.Name, len(node.history), node.fences)
		}
	}
}

// HL5, HL7: an orderly restart is judged by the hold time, because the beats say so,
// and the lease that it leaves is not shorter for it.
func TestHL7_HL5_PlannedRestart(t *testing.T) {
	n := fastFormed(t, 3)
	b := n.nodes[1]
	until := b.m.PlanRestart(n.now)
	for range 3 {
		for i := range n.nodes {
			b.heart.beat(i, wire.PulseHold)
		}
	}
	b.lease = until
	b.kill()
	n.run(2500 * time.Millisecond)
	if b.lease <= n.now {
		t.Error("the lease ended early")
	}
	b.resume()
	n.run(100 * time.Millisecond)
	if v, why := n.agreed(); why != "" || b.m.doubt.on || len(b.history) != 1 {
		t.Fatalf("view %v: %s, %d views", v, why, len(b.history))
	}
	if over := b.lease - n.now; over > pulse.Lease {
		t.Errorf("it beats, and its lease is still %v long", time.Duration(over))
	}
	b.kill()
	at := n.now
	n.run(300 * time.Millisecond)
	if out := n.firstWithout(n.nodes[0], b, at); out == 0 || out-at > int64(200*time.Millisecond) {
		t.Error("after the restart it is judged by the hold time for ever")
	}
}

// HL7: nodes of both profiles live together, for a change of the profile one by one:
// who never beats is judged by the hold time.
func TestHL7_ProfilesMix(t *testing.T) {
	n := newNetwork(1)
	for i := range 4 {
		n.add(fmt.Sprintf("n%d", i+1), uint8(i+1))
	}
	n.connect()
	n.fast(3 * time.Second)
	for _, node := range n.nodes[2:] {
		node.cfg.Fast, node.heart = false, nil
	}
	for _, node := range n.nodes {
		node.boot()
	}
	n.run(10 * time.Second)
	if _, why := n.agreed(); why != "" || len(n.nodes[0].history) > 2 {
		t.Fatalf("%s, %d views", why, len(n.nodes[0].history))
	}
	for _, b := range n.broken {
		t.Error(b)
	}
}

// HL7, EL6, EL9: the fast profile under everything that can happen, with the checks
// of every moment: see TestEL6_EL9_NetworkFuzz.
func TestHL7_NetworkFuzz(t *testing.T) {
	forSeeds(t, 2, func(n *network) {
		n.build(time.Second)
		n.fast(pick(n, 500*time.Millisecond, 3*time.Second))
		hold := n.nodes[0].cfg.Hold
		for _, t := range n.nodes {
			t.boot()
			n.run(n.between(0, 100*time.Millisecond))
		}
		for range 5 + n.rand.IntN(20) {
			switch t := pick(n, n.nodes...); {
			case n.rand.IntN(4) != 0:
				n.disturb()
			case t.running && !t.paused:
				t.freeze()
			case t.running && t.heart.frozen:
				t.thaw()
			}
			n.run(n.between(0, pick(n, 100*time.Millisecond, hold, 3*hold)))
		}
		n.mend()
		n.run(6*time.Second + 8*hold)
		if _, why := n.agreed(); why != "" {
			n.violated("no agreement after healing: %s", why)
		}
	})
}

func TestHL7_FastNeedsALongerHold(t *testing.T) {
	n := newNetwork(1)
	c := n.add("a", 1).cfg
	c.Self.Incarnation, c.Fast, c.Hold = 1, true, 400*time.Millisecond
	if _, err := New(c, n.nodes[0]); err == nil {
		t.Error("a hold time of 400 ms is taken")
	}
}

// HL7: silence counts up to when the pulse of this node has read all, not up to now:
// an event loop that runs beside a pulse that does not hears nothing.
func TestHL7_APulseThatDoesNotRunCallsNobodySilent(t *testing.T) {
	n := fastFormed(t, 2)
	m, heard := n.nodes[0].m, n.nodes[0].heart.p.Attended()
	p := m.peers[vtep(2)]
	n.now += int64(250 * time.Millisecond)
	if m.Attended(n.now, heard); m.silent(n.now, p) {
		t.Error("silent, says a node that has not listened")
	}
	if m.Attended(n.now, n.now); !m.silent(n.now, p) {
		t.Error("not silent, after 250 ms without a beat")
	}
}

// HL7, EL5: a link that breaks between two sides for about as long as it takes to notice,
// and heals at any moment of that, fences nobody and loses nobody's connections.
func TestHL7_EL5_ACutThatHealsAtTheRemovalFencesNobody(t *testing.T) {
	told := 0
	for length := 100 * time.Millisecond; length <= 260*time.Millisecond; length += 4 * time.Millisecond {
		n := fastFormed(t, 4)
		control := slices.IndexFunc(n.nodes, func(o *testNode) bool { return o.m.ruling() })
		beside := (control + 1) % 4
		for i, o := range n.nodes {
			if i != control && i != beside {
				n.cuts[[2]*testNode{o, n.nodes[control]}], n.cuts[[2]*testNode{o, n.nodes[beside]}] = true, true
			}
		}
		n.run(25 * time.Millisecond) // the side of the control node notices first
		for _, both := range slices.Collect(maps.Keys(n.cuts)) {
			n.cuts[[2]*testNode{both[1], both[0]}] = true
		}
		n.run(length)
		n.heal()
		n.run(3 * time.Second)
		for _, node := range n.nodes {
			if node.fences != 0 || len(node.m.view.Members) != 4 {
				t.Fatalf("a cut of %v: %s was fenced %d times and has %d members:\n%s", length, node.cfg.Self.Name, node.fences, len(node.m.view.Members), n.log.String())
			}
		}
		told += strings.Count(n.log.String(), "it goes on without those")
	}
	if told == 0 {
		t.Error("no cut healed in the moment of a removal: nothing was tested")
	}
}
