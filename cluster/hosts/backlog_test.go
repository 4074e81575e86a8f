package hosts

import (
	"math/rand/v2"
	"testing"

	"cohort/ccl/wire"
	"cohort/packet"
)

// pair is an asker, a director, and a host that is counted there.
func pair(t *testing.T) (w *world, asker, director *node, host packet.Addr) {
	w = &world{t: t, rng: rand.New(rand.NewPCG(1, 1)), nodes: map[wire.NodeID]*node{}}
	w.boot(1)
	w.boot(2)
	w.apply()
	w.deliver(1 << 20)
	host = packet.Addr{10, 0, 0, 77}
	for h := byte(0); w.nodes[1].m.director(key{host, 0}) != 2; h++ {
		host[2] = h
	}
	return w, w.nodes[1], w.nodes[2], host
}

// A question that is to be repeated, in a new view or because the director's channel
// started over, and does not fit the link, is asked when it fits: until then no packet
// of the host would ask again.
func TestNT6_AQuestionThatDidNotFitTheLinkIsAskedLater(t *testing.T) {
	for name, lose := range map[string]func(w *world, asker *node){
		"a new view": func(w *world, asker *node) {
			w.queue = nil
			w.epoch++
			v := *w.view
			v.Epoch = w.epoch
			w.view = &v
			for id, n := range w.nodes {
				n.m.ApplyView(w.view, id)
			}
			asker.m.Register()
		},
		"a channel that started over": func(w *world, asker *node) {
			w.queue = nil
			asker.m.PeerReset(2)
		},
	} {
		t.Run(name, func(t *testing.T) {
			w, asker, director, host := pair(t)
			asker.m.Ask(0, host) // and is lost
			asker.backlog = true
			lose(w, asker)
			asker.m.Ask(0, host) // changes nothing: the first question is open
			asker.m.Tick()
			asker.backlog = false
			asker.m.Tick()
			for _, n := range w.nodes {
				for !n.m.Register() {
					t.Fatal("there is no backlog")
				}
			}
			w.deliver(1 << 20)
			director.m.Settled()
			w.deliver(1 << 20)
			if len(asker.m.open) != 0 {
				t.Fatal("the question is never answered")
			}
			asker.m.Tick()
			if len(w.queue) != 0 {
				t.Errorf("asks once more: %v", w.queue)
			}
		})
	}
}

// The round of re-registration waits until the directors know what hosts have here:
// by its end they grant on the sum.
func TestNT6_TheRoundWaitsForABackedUpLink(t *testing.T) {
	w, asker, director, host := pair(t)
	for asker.have[host] < limit { // one time in ten the world gives it back
		asker.m.Ask(0, host)
		w.deliver(1 << 20)
	}
	w.epoch++
	v := *w.view
	v.Epoch = w.epoch
	for id, n := range w.nodes {
		n.m.ApplyView(&v, id)
	}
	asker.backlog = true
	if asker.m.Register() || asker.m.Register() {
		t.Fatal("says that everything is told, and nothing fits the link")
	}
	asker.backlog = false
	if !asker.m.Register() {
		t.Fatal("there is no backlog any more")
	}
	w.deliver(1 << 20)
	asker.m.Register()
	if len(w.queue) != 0 {
		t.Errorf("told twice: %v", w.queue)
	}
	director.m.Settled()
	if got := director.m.counts[key{host, 0}]; len(got) != 1 || got[0].count != limit {
		t.Errorf("counts %v, want %d", got, limit)
	}
	refused := asker.refused
	asker.m.Ask(0, host)
	w.deliver(1 << 20)
	if asker.refused != refused+1 {
		t.Error("a host got more than it may")
	}

	// The director's process starts over within the view.
	w.boot(2)
	director = w.nodes[2]
	director.m.ApplyView(&v, 2)
	asker.backlog = true
	asker.m.PeerReset(2)
	if asker.m.Register() {
		t.Fatal("says that everything is told again, and nothing fits the link")
	}
	asker.backlog = false
	if !asker.m.Register() {
		t.Fatal("there is no backlog any more")
	}
	w.deliver(1 << 20)
	if got := director.m.counts[key{host, 0}]; len(got) != 1 || got[0].count != limit {
		t.Errorf("after the restart: counts %v, want %d", got, limit)
	}
}
