package hosts

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"testing"

	"cohort/ccl/wire"
	"cohort/packet"
)

const limit = 5

// world is some machines over links that keep their order.
type world struct {
	t     *testing.T
	rng   *rand.Rand
	nodes map[wire.NodeID]*node
	queue []delivery
	view  *wire.View
	epoch uint32
}

type delivery struct {
	from, to wire.NodeID
	m        wire.HostUnits
}

type node struct {
	w       *world
	id      wire.NodeID
	inc     wire.Incarnation
	m       *Machine
	have    map[packet.Addr]int // what the allocator has assigned
	refused int
	backlog bool // of its link
}

var errBacklog = errors.New("backlog")

func (n *node) Send(to wire.NodeID, m wire.Message) error {
	if n.backlog {
		return errBacklog
	}
	n.w.queue = append(n.w.queue, delivery{n.id, to, m.(wire.HostUnits)})
	return nil
}

func (w *world) boot(id wire.NodeID) {
	n := &node{w: w, id: id, inc: wire.Incarnation(w.rng.Uint64()), have: map[packet.Addr]int{}}
	n.m = New(Config{Limit: func(int) int { return limit }, Output: n, Answer: func(_ int, host packet.Addr, granted bool) {
		switch {
		case !granted:
			n.refused++
		case w.rng.IntN(10) == 0:
			n.m.Release(0, host) // nothing was idle after all
		default:
			n.have[host]++
		}
	}})
	w.nodes[id] = n
}

// apply begins a view; what was on its way arrives before or after it, as it
// comes.
func (w *world) apply() {
	w.epoch++
	v := &wire.View{Term: 1, Epoch: w.epoch}
	for id := wire.NodeID(1); id < 9; id++ {
		if n := w.nodes[id]; n != nil {
			v.Members = append(v.Members, wire.Member{ID: id, Name: fmt.Sprint(id), Incarnation: n.inc})
		}
	}
	w.view = v
	for _, m := range v.Members {
		w.deliver(w.rng.IntN(4))
		w.nodes[m.ID].m.ApplyView(v, m.ID)
		w.nodes[m.ID].m.Ask(0, packet.Addr{10, 0, 0, 1}) // connections do not wait for views
	}
	for _, m := range v.Members {
		w.nodes[m.ID].m.Ask(0, packet.Addr{10, 0, 0, 2})
		w.nodes[m.ID].m.Register()
		w.deliver(w.rng.IntN(4))
	}
	w.deliver(len(w.queue)) // the rounds have ended
	for _, m := range v.Members {
		w.nodes[m.ID].m.Settled()
	}
}

// deliver hands over n messages, of random pairs, in order for each pair.
func (w *world) deliver(n int) {
	for ; n > 0 && len(w.queue) > 0; n-- {
		i := w.rng.IntN(len(w.queue))
		for j := range i {
			if w.queue[j].from == w.queue[i].from && w.queue[j].to == w.queue[i].to {
				i = j
				break
			}
		}
		d := w.queue[i]
		w.queue = append(w.queue[:i], w.queue[i+1:]...)
		if to := w.nodes[d.to]; to != nil && w.nodes[d.from] != nil {
			to.m.Message(d.from, d.m)
		}
		w.check()
	}
}

// check is NT6: no host has more blocks than it may, over all members.
func (w *world) check() {
	sums := map[packet.Addr]int{}
	for _, n := range w.nodes {
		for h, c := range n.have {
			if sums[h] += c; sums[h] > limit {
				w.t.Fatalf("host %v has %d blocks, may have %d", h, sums[h], limit)
			}
		}
	}
}

// release gives a block of a host back, if the node has one.
func (n *node) release(h packet.Addr) {
	if n.have[h] > 0 {
		n.have[h]--
		n.m.Release(0, h)
	}
}

// Whatever dies, joins and crosses, no host ever has more blocks in the cluster
// than it may; and when all is quiet it can have exactly as many.
func TestNT6_BlocksOfAHostAreCountedExactly(t *testing.T) {
	for seed := range uint64(300) {
		w := &world{t: t, rng: rand.New(rand.NewPCG(seed, 6)), nodes: map[wire.NodeID]*node{}}
		for id := wire.NodeID(1); id <= 4; id++ {
			w.boot(id)
		}
		w.apply()
		hosts := []packet.Addr{{10, 0, 0, 1}, {10, 0, 0, 2}, {10, 0, 0, 3}}
		pick := func() *node {
			m := w.view.Members[w.rng.IntN(len(w.view.Members))]
			return w.nodes[m.ID]
		}
		for range 200 {
			n, h := pick(), hosts[w.rng.IntN(len(hosts))]
			switch w.rng.IntN(12) {
			case 0:
				id := wire.NodeID(1 + w.rng.IntN(5))
				if w.nodes[id] != nil && len(w.nodes) > 1 {
					delete(w.nodes, id)
				} else {
					w.boot(id)
				}
				keep := w.queue[:0]
				for _, d := range w.queue {
					if d.from != id && d.to != id {
						keep = append(keep, d)
					}
				}
				w.queue = keep
				w.apply()
			case 1, 2:
				n.release(h)
			default:
				n.m.Ask(0, h)
			}
			w.deliver(w.rng.IntN(4))
		}
		w.deliver(1 << 20)
		for _, h := range hosts {
			for range 100 {
				pick().m.Ask(0, h)
				w.deliver(1 << 20)
			}
			sum := 0
			for _, n := range w.nodes {
				sum += n.have[h]
			}
			if sum != limit {
				t.Fatalf("seed %d: host %v has %d blocks at last, want the limit %d", seed, h, sum, limit)
			}
		}
		for _, n := range w.nodes {
			for h, c := range n.have {
				for range c {
					n.m.Release(0, h)
				}
				n.have[h] = 0
			}
		}
		w.deliver(1 << 20)
		for id, n := range w.nodes {
			if len(n.m.counts) != 0 || len(n.m.mine) != 0 || len(n.m.open) != 0 {
				t.Fatalf("seed %d: node %d keeps %v, %v, %v", seed, id, n.m.counts, n.m.mine, n.m.open)
			}
		}
	}
}

// An answer that does not fit the link is given later: who asked waits for it, and
// asks no second time. What was not granted is not counted.
func TestNT6_AnAnswerThatDidNotFitTheLinkComesLater(t *testing.T) {
	w := &world{t: t, rng: rand.New(rand.NewPCG(1, 1)), nodes: map[wire.NodeID]*node{}}
	w.boot(1)
	w.boot(2)
	w.apply()
	w.deliver(len(w.queue))
	host := packet.Addr{10, 0, 0, 77}
	for h := byte(0); w.nodes[1].m.director(key{host, 0}) != 2; h++ {
		host[2] = h
	}
	asker, director := w.nodes[1], w.nodes[2]
	director.backlog = true
	asker.m.Ask(0, host)
	w.deliver(len(w.queue))
	director.m.Tick()
	w.deliver(len(w.queue))
	asker.m.Ask(0, host) // changes nothing: the first question is open
	if asker.m.Here(0, host) != 0 || len(w.queue) != 0 || len(director.m.counts[key{host, 0}]) != 0 {
		t.Fatalf("%d blocks, %d messages, counted %v: nothing got through", asker.m.Here(0, host), len(w.queue), director.m.counts[key{host, 0}])
	}
	director.backlog = false
	director.m.Tick()
	w.deliver(len(w.queue))
	if asker.m.Here(0, host)+asker.refused == 0 && asker.have[host] == 0 {
		t.Fatal("the question is never answered")
	}
}
