package sim

import (
	"fmt"
	"maps"
	"testing"

	"cohort/cluster/ownership"
)

// TestFR10 plays the scenarios with hosts that send in fragments, each of which takes a
// way of its own. That those of one datagram leave with one translation, and none leaves
// twice, is checked where they arrive.
func TestFR10(t *testing.T) {
	weathers := maps.Clone(scenarios)
	weathers["drain"] = Config{Faults: []Fault{Drain, PowerOff}}
	weathers["sync"] = Config{Sync: true, Faults: []Fault{Snipe}}
	for name, cfg := range weathers {
		for _, nat := range []bool{false, true} {
			t.Run(fmt.Sprintf("%s/nat=%v", name, nat), func(t *testing.T) {
				t.Parallel()
				cfg := cfg
				cfg.NAT, cfg.Fragments = nat, true
				var sum Result
				for s := range (*seeds + 1) / 2 {
					r := play(t, name, cfg, *first+uint64(s))
					sum.Datagrams, sum.Gathered, sum.Completed, sum.Excused = sum.Datagrams+r.Datagrams, sum.Gathered+r.Gathered, sum.Completed+r.Completed, sum.Excused+r.Excused
				}
				t.Logf("%d datagrams in fragments, %d arrived whole; %d conversations complete, %d excused", sum.Datagrams, sum.Gathered, sum.Completed, sum.Excused)
				if sum.Datagrams == 0 || sum.Completed == 0 {
					t.Fatal("no fragments, or nothing completed: nothing was tested")
				}
				if name == "calm" && sum.Gathered != sum.Datagrams {
					t.Errorf("%d of %d datagrams were lost although nothing was broken", sum.Datagrams-sum.Gathered, sum.Datagrams)
				}
			})
		}
	}
}

// TestFR10_TheTownInFragments compares the town's cluster with one node, while every other
// host sends in fragments: they take the ways of mappings and port blocks, and overtake
// each other between nodes.
func TestFR10_TheTownInFragments(t *testing.T) {
	for name, cfg := range scenarios {
		cfg.Town, cfg.Flows, cfg.Fragments, cfg.Timeouts = true, 512, true, townTimeouts
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			gathered := 0
			for s := range (*seeds + 7) / 8 {
				gathered += playTown(t, cfg, *first+uint64(s)).Gathered
			}
			if gathered == 0 {
				t.Fatal("no datagram arrived whole: nothing was tested")
			}
		})
	}
}

// TestFR10_AJoinMovesItsShare lets a node join while others hold fragments whose first has
// not come: those that are its own now go, and the others follow their first.
func TestFR10_AJoinMovesItsShare(t *testing.T) {
	w := open(Config{Seed: 1, Nodes: 3})
	for _, n := range w.nodes[:2] {
		n.boot()
	}
	w.probe()
	w.advance(2 * second)
	c := w.client(ownership.KindUDP)
	w.conns = append(w.conns, c)
	const datagrams = 90
	part := func(id, number int) pkt {
		p := c.packet(0, false, c.key)
		p.cut = &cutPart{id: uint16(id), number: number, of: 2}
		if number > 0 {
			p.Kind, p.Key.SrcPort, p.Key.DstPort = ownership.KindFragment, 0, 0
		}
		return p
	}
	for id := range datagrams {
		w.enter(part(id, 1))
	}
	w.advance(10 * ms)
	held := 0
	for _, n := range w.nodes[:2] {
		held += n.core.Fragments().Held()
	}
	if held != datagrams {
		t.Fatalf("%d of %d fragments are held", held, datagrams)
	}
	w.nodes[2].boot()
	w.advance(2 * second)
	moved := int(w.drops[ownership.ReasonFragmentMoved])
	if moved < datagrams/6 || moved > datagrams/2 {
		t.Errorf("%d of %d datagrams moved to the third node, want about a third", moved, datagrams)
	}
	for id := range datagrams { // no more at once than may wait for a director
		w.enter(part(id, 0))
		w.advance(2 * ms)
	}
	if w.result.Gathered != datagrams-moved {
		t.Errorf("%d datagrams arrived whole, want %d", w.result.Gathered, datagrams-moved)
	}
	report(t, 1, w.result)
}

// TestFR10_AForgedSourceEndsNothing lets fragments with a client's address enter where the
// way back to it does not lead, before and between the client's own.
func TestFR10_AForgedSourceEndsNothing(t *testing.T) {
	w := open(Config{Seed: 1, Nodes: 3})
	for _, n := range w.nodes {
		n.boot()
	}
	w.probe()
	w.advance(2 * second)
	c := w.client(ownership.KindUDP)
	w.conns = append(w.conns, c)
	part := func(id, number int) pkt {
		p := c.packet(0, false, c.key)
		p.cut = &cutPart{id: uint16(id), number: number, of: 3}
		if number > 0 {
			p.Kind, p.Key.SrcPort, p.Key.DstPort = ownership.KindFragment, 0, 0
		}
		return p
	}
	const datagrams = 40
	for id := range datagrams {
		for number := range 3 {
			forged := part(id, number*id%3) // what begins, or is there twice, or both
			forged.In = 1 + c.in%2
			w.enter(forged)
			w.advance(ms)
			w.enter(part(id, number))
			w.advance(ms)
		}
	}
	w.advance(second)
	if w.result.Gathered != datagrams {
		t.Errorf("%d datagrams of %d arrived whole", w.result.Gathered, datagrams)
	}
	if w.drops[ownership.ReasonReversePath] == 0 {
		t.Error("nothing forged was refused")
	}
	report(t, 1, w.result)
}
