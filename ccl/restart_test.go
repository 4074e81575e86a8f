package ccl

import (
	"net/netip"
	"slices"
	"testing"

	"cohort/ccl/wire"
)

// A node begins a new life in the same process: state messages of the former
// one, on the way or queued, are never delivered, and the peer is told.
func TestRestartStateVoidsWhatTheFormerLifeSaid(t *testing.T) {
	eachMode(t, func(t *testing.T, clear bool) {
		w, a, b := talking(t, clear)
		a.got, b.got = nil, nil
		a.mustSend(b, wire.Synced{View: 2}) // queued
		b.mustSend(a, wire.Synced{View: 3})
		a.RestartState()
		resets := b.resets
		a.mustSend(b, wire.Synced{View: 4})
		w.settle()
		if len(b.got) != 1 || b.got[0] != wire.Message(wire.Synced{View: 4}) {
			t.Errorf("the peer got %v, want what the new life said only", b.got)
		}
		if len(a.got) != 0 {
			t.Errorf("the new life got %v, which was for the former one", a.got)
		}
		if b.resets != resets+1 {
			t.Errorf("the peer was told %d times, want once", b.resets-resets)
		}
	})
}

// A datagram of the former life that was left somewhere on the way, such as in the ring of
// a device that was down, is void when it comes, however late (CL6).
func TestCL6_WhatComesLateIsOfItsOwnLife(t *testing.T) {
	eachMode(t, func(t *testing.T, clear bool) {
		w, a, b := talking(t, clear)
		var late [][]byte
		w.tap = func(from, _ netip.Addr, d []byte) {
			if from == a.addr {
				late = append(late, d)
			}
		}
		a.mustSend(b, wire.Synced{View: 2})
		w.flush()
		w.air, w.tap, b.got = nil, nil, nil
		a.RestartState()
		a.mustSend(b, wire.Synced{View: 3})
		w.settle()
		resets := b.resets
		for _, d := range late {
			b.Receive(w.now, a.addr, d)
		}
		w.settle()
		if len(late) == 0 || len(b.got) != 1 || b.got[0] != wire.Message(wire.Synced{View: 3}) {
			t.Errorf("%d datagrams came late, the peer got %v, want what the new life said only", len(late), b.got)
		}
		if b.resets != resets {
			t.Error("they made the peer begin anew")
		}
	})
}

// What was said in a view that the sender has left is not repeated to a peer that
// comes back and asks: it would take it for an answer (EL4). What was said in the
// present one is.
func TestEL4_APeerThatComesBackIsNotToldTheFormerView(t *testing.T) {
	eachMode(t, func(t *testing.T, clear bool) {
		for _, left := range []bool{true, false} {
			w := worldIn(t, clear, 2)
			a, b := w.nodes[0], w.nodes[1]
			old := wire.Heartbeat{From: wire.Member{ID: 1}, Term: 1, Epoch: 2}
			say := func() {
				for _, to := range []netip.Addr{b.addr, {}} {
					if err := a.Datagram(w.now, to, old); err != nil {
						t.Fatal(err)
					}
				}
			}
			say()
			w.settle()
			say() // queued when the view changes
			if left {
				a.Unsay(w.now)
			}
			w.boot(1)
			b.got = nil
			if err := b.Datagram(w.now, a.addr, wire.Heartbeat{From: wire.Member{ID: 2}}); err != nil {
				t.Fatal(err)
			}
			w.until("heard", func() bool { return len(a.got) > 0 })
			for w.step() {
			}
			if told := slices.Contains(b.got, wire.Message(old)); told == left {
				t.Errorf("left the view: %v, the peer got %v", left, b.got)
			}
		}
	})
}

// talking are two endpoints that know each other, and the world they are in.
func talking(t *testing.T, clear bool) (w *world, a, b *node) {
	w = worldIn(t, clear, 2)
	a, b = w.nodes[0], w.nodes[1]
	a.mustSend(b, wire.Synced{View: 1})
	b.mustSend(a, wire.Synced{View: 1})
	w.settle()
	return w, a, b
}
