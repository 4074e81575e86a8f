package ccl

import (
	"math/rand"
	"net/netip"
	"testing"

	"cohort/ccl/seal"
	"cohort/ccl/wire"
)

// world is a set of Endpoints on one virtual link.
type world struct {
	t     testing.TB
	now   int64
	rnd   *rand.Rand
	loss  float64
	dup   float64
	delay func() int64
	clear bool
	tap   func(from, to netip.Addr, b []byte) // sees every datagram sent
	nodes []*node
	air   []flying
}

type flying struct {
	at       int64
	from, to netip.Addr
	b        []byte
}

type node struct {
	*Endpoint
	w      *world
	addr   netip.Addr
	got    []wire.Message
	from   []netip.Addr
	resets int
	heard  int
	next   int64
	dead   bool
}

var clusterKey = seal.Key{ID: 1, Secret: [32]byte{1, 2, 3}}

func newWorld(t testing.TB, seed int64, n int) *world {
	w := &world{t: t, rnd: rand.New(rand.NewSource(seed))}
	w.delay = func() int64 { return 50_000 }
	for i := range n {
		w.nodes = append(w.nodes, &node{w: w, addr: netip.AddrFrom4([4]byte{10, 99, 0, byte(i + 1)})})
		w.boot(i)
	}
	return w
}

// boot starts a node's endpoint, or starts it again with nothing remembered.
func (w *world) boot(i int) *node {
	w.t.Helper()
	n := w.nodes[i]
	cfg := EndpointConfig{
		Local: n.addr, Rand: w.rnd,
		Output:  func(to netip.Addr, b []byte) { w.send(n, to, b) },
		Deliver: func(from netip.Addr, m wire.Message) { n.got = append(n.got, m); n.from = append(n.from, from) },
		Heard:   func(netip.Addr) { n.heard++ },
		Reset:   func(netip.Addr) { n.resets++ },
	}
	if !w.clear {
		s, err := seal.New(seal.Config{Local: n.addr, Keys: []seal.Key{clusterKey}, Rand: w.rnd})
		if err != nil {
			w.t.Fatal(err)
		}
		cfg.Sealer = s
	}
	e, err := NewEndpoint(cfg)
	if err != nil {
		w.t.Fatal(err)
	}
	n.Endpoint, n.got, n.from, n.resets, n.heard, n.next = e, nil, nil, 0, 0, w.now
	return n
}

func (w *world) send(from *node, to netip.Addr, b []byte) {
	if from.dead {
		return
	}
	if w.tap != nil {
		w.tap(from.addr, to, append([]byte(nil), b...))
	}
	for _, n := range w.nodes {
		if n == from || to.IsValid() && to != n.addr {
			continue
		}
		for range 1 + btoi(w.rnd.Float64() < w.dup) {
			if w.rnd.Float64() >= w.loss {
				w.air = append(w.air, flying{w.now + w.delay(), from.addr, n.addr, append([]byte(nil), b...)})
			}
		}
	}
}

func btoi(b bool) int {
	if b {
		return 1
	}
	return 0
}

func (w *world) node(a netip.Addr) *node {
	for _, n := range w.nodes {
		if n.addr == a {
			return n
		}
	}
	return nil
}

func (w *world) flush() {
	for _, n := range w.nodes {
		n.next = n.Tick(w.now)
	}
}

// step goes to the next event; false when there is none.
func (w *world) step() bool {
	at := int64(1<<63 - 1)
	for _, n := range w.nodes {
		at = min(at, n.next)
	}
	for _, f := range w.air {
		at = min(at, f.at)
	}
	if at == 1<<63-1 {
		return false
	}
	w.now = max(w.now, at)
	var due, rest []flying
	for _, f := range w.air {
		if f.at <= w.now {
			due = append(due, f)
		} else {
			rest = append(rest, f)
		}
	}
	w.air = rest
	for _, f := range due {
		if n := w.node(f.to); !n.dead {
			n.Receive(w.now, f.from, f.b)
		}
	}
	w.flush()
	return true
}

func (w *world) until(what string, ok func() bool) {
	w.t.Helper()
	w.flush()
	for limit := w.now + 60e9; !ok(); {
		if !w.step() || w.now > limit {
			for _, n := range w.nodes {
				w.t.Logf("%v: %+v", n.addr, n.Counters())
			}
			w.t.Fatalf("never: %s", what)
		}
	}
}

// settle runs until nothing is in the air and nothing is unacknowledged.
func (w *world) settle() {
	w.t.Helper()
	w.until("everything acknowledged", func() bool { return len(w.air) == 0 && w.unacked() == 0 })
}

func (w *world) unacked() (n int) {
	for _, e := range w.nodes {
		for _, p := range e.Peers() {
			s, _ := e.Stats(p)
			n += s.State.UnackedMessages + s.Control.UnackedMessages
		}
	}
	return n
}

func (n *node) mustSend(to *node, m wire.Message) {
	n.w.t.Helper()
	if err := n.Send(n.w.now, to.addr, m); err != nil {
		n.w.t.Fatal(err)
	}
}

// meet lets every pair exchange a message, and forgets that it did.
func (w *world) meet() {
	w.t.Helper()
	for _, a := range w.nodes {
		for _, b := range w.nodes {
			if a != b {
				a.mustSend(b, wire.Query{})
			}
		}
	}
	w.settle()
	for _, n := range w.nodes {
		n.got, n.from = nil, nil
	}
}
