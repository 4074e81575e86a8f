package nat

import (
	"math/rand/v2"
	"testing"
	"time"

	"cohort/packet"
)

// Of the idle units the one is opened that nobody could lease yet.
func TestNT3_RestingUnitIsOpenedFirst(t *testing.T) {
	for seed := range uint64(20) {
		w := newWorld(t, time.Minute, portPool("egress", 1))
		w.rng = rand.New(rand.NewPCG(seed, seed))
		for u := range 10 {
			w.SetHeld(u, true)
		}
		w.close(w.must(tcp(1, 1024+512*4)), true)
		if u, _ := w.g.UnitOf(w.must(tcp(2, 80))); u != 4 {
			t.Fatalf("unit %d was opened, hold-down runs in 4", u)
		}
	}
}

func TestRFC6888_HoldDown(t *testing.T) {
	w := newWorld(t, 2*time.Minute, portPool("egress", 1))
	w.SetHeld(0, true)
	var keys []packet.FlowKey
	for range 512 {
		keys = append(keys, w.must(tcp(1, 80)))
	}
	for _, k := range keys[2:20] {
		w.close(k, true)
	}
	w.close(keys[0], true)
	for range 50 { // among nineteen that wait
		w.close(keys[1], false)
		if k := w.must(tcp(2, 80)); k != keys[1] {
			t.Fatalf("got %s, only %s is free", k, keys[1])
		}
	}
	if _, result := w.open(tcp(2, 80)); result != Short {
		t.Fatalf("a key in hold-down was given out: %s", result)
	}
	other := w.must(to(packet.ProtoTCP, 2, keys[0].DstPort, "192.0.2.2", 80))
	if other.DstPort != keys[0].DstPort {
		t.Errorf("REQ-8 c: another remote may have the port at once, got %d", other.DstPort)
	}
	w.close(other, false)
	w.now += 2*60*second - 1
	if _, result := w.open(tcp(2, 80)); result != Short {
		t.Fatalf("hold-down ended early: %s", result)
	}
	w.now++
	back := map[packet.FlowKey]bool{keys[0]: true}
	for _, k := range keys[2:20] {
		back[k] = true
	}
	for range 19 {
		if k := w.must(tcp(2, 80)); !back[k] {
			t.Fatalf("%s was not in hold-down", k)
		}
	}
}

func TestIdleWaitsForUsesAndHoldDown(t *testing.T) {
	w := newWorld(t, 2*time.Minute, portPool("egress", 1))
	w.SetHeld(0, true)
	if !w.Idle(w.now, 0) {
		t.Error("an untouched unit is not idle")
	}
	a := w.must(tcp(1, 80))
	w.Use(a) // a stub of the same key
	w.close(a, true)
	w.now += 3 * 60 * second
	if w.Idle(w.now, 0) {
		t.Error("idle with a use left: uses nest")
	}
	w.Release(w.now, a, true)
	if w.Idle(w.now, 0) || w.Spare(0) != 1 {
		t.Error("idle in hold-down")
	}
	w.now += 2 * 60 * second
	if !w.Idle(w.now, 0) {
		t.Error("not idle after hold-down, though nobody called Tick")
	}
	w.Release(w.now, a, true)
	if !w.Idle(w.now, 0) || w.Stats().Unmatched != 1 {
		t.Error("a Release without Use changed something, or was not counted")
	}
	w.Tick(w.now)
	if n := w.Stats().HoldDownWaiting; n != 0 {
		t.Errorf("%d keys wait after Tick", n)
	}
}

// A full hold-down of one remote must not hide units that have clean ports.
func TestNT3_HoldDownOfOneRemoteLeavesOtherUnits(t *testing.T) {
	w := newWorld(t, 2*time.Minute, portPool("egress", 1))
	for u := range 20 {
		w.SetHeld(u, true)
	}
	for range 20 * 512 * 9 / 10 {
		w.close(w.must(tcp(1, 80)), true)
	}
}
