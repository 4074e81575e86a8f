package heart

import (
	"net/netip"
	"reflect"
	"sync"
	"testing"

	"cohort/ccl/wire"
	"cohort/cluster/pulse"
)

// twoPeers is a daemon's end that runs no heart, and the memory as a heart has it.
func twoPeers(t *testing.T) (*Process, *memory, []netip.Addr) {
	t.Helper()
	peers := []netip.Addr{netip.MustParseAddr("10.99.0.2"), netip.MustParseAddr("10.99.0.3")}
	p, err := New(Config{Command: []string{"x"}, Peers: peers})
	must(t, err)
	its, err := mapMemory(int(p.file.Fd()))
	must(t, err)
	t.Cleanup(func() { must(t, its.unmap()); must(t, p.Close()) })
	return p, its, peers
}

func (p *Process) each() map[netip.Addr]pulse.Peer {
	all := map[netip.Addr]pulse.Peer{}
	p.Each(func(a netip.Addr, b pulse.Peer) { all[a] = b })
	return all
}

// HL7: the daemon reads what a heart wrote of a peer, and of one that never beat
// nothing. A heart that dies while it writes leaves the daemon what it had, and the
// next one is read again.
func TestHL7_WhatADyingHeartWroteHalfIsNotRead(t *testing.T) {
	p, its, peers := twoPeers(t)
	if all := p.each(); len(all) != 0 || p.Peers()[peers[0]].At >= 0 {
		t.Fatalf("before any beat: %+v, %+v", all, p.Peers())
	}
	first := pulse.Peer{At: 1000, Life: 7, Progress: 900, Hold: true, Longest: 50}
	its.peers[1].write(first)
	want := map[netip.Addr]pulse.Peer{peers[1]: first}
	if all := p.each(); !reflect.DeepEqual(all, want) {
		t.Fatalf("%+v, want %+v", all, want)
	}
	// What write does before it is interrupted.
	its.peers[1].seq.Store(its.peers[1].seq.Load() | 1)
	its.peers[1].at.Store(2000)
	if all := p.each(); !reflect.DeepEqual(all, want) {
		t.Fatalf("half written: %+v, want %+v", all, want)
	}
	next := pulse.Peer{At: 3000, Life: 8, Progress: 2900, Longest: 60}
	for range 3 {
		its.peers[1].write(next)
		if got := p.each()[peers[1]]; got != next || p.Peers()[peers[1]] != next {
			t.Fatalf("of the next heart: %+v, want %+v", got, next)
		}
	}
}

// A row is read as a whole while it is written.
func TestHL7_ARowIsReadAsAWhole(t *testing.T) {
	p, its, peers := twoPeers(t)
	var writing sync.WaitGroup
	const writes = 200_000
	writing.Go(func() {
		for i := int64(1); i <= writes; i++ {
			its.peers[0].write(pulse.Peer{At: i, Life: wire.Incarnation(i), Progress: i, Hold: i&1 == 1, Longest: i})
		}
	})
	for last := int64(0); last < writes; {
		b, known := p.each()[peers[0]]
		if known && (b.Life != wire.Incarnation(b.At) || b.Progress != b.At || b.Longest != b.At || b.Hold != (b.At&1 == 1) || b.At < last) {
			t.Errorf("torn: %+v after %d", b, last)
			break
		}
		last = b.At
	}
	writing.Wait()
}

// Each stage's spread comes back as it was.
func TestHL7_SpreadsAreReadAsTheyWereWritten(t *testing.T) {
	p, its, _ := twoPeers(t)
	var want [pulse.NumStages]pulse.Spread
	for i := range want {
		for k := range want[i].Counts {
			want[i].Counts[k] = uint64(100*i + k + 1)
		}
		want[i].Sum, want[i].Worst = int64(1000+i), int64(500+i)
		its.stages[i].write(&want[i])
		its.lateAt[i].Store(uint64(7 + i))
	}
	s := p.Stats()
	if s.Stages != want {
		t.Errorf("%+v, want %+v", s.Stages, want)
	}
	for i, n := range s.LateAt {
		if n != uint64(7+i) {
			t.Errorf("stage %d: %d late", i, n)
		}
	}
}
