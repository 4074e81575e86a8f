package reliable

import (
	"math"
	"slices"
	"testing"

	"pgregory.net/rapid"

	"cohort/ccl/wire"
)

// The time of a message counts from the first chance to send it, the wait for the
// window included, and in the minute after it was acknowledged.
func TestMG9_LagIsFromTheFirstChanceToTheAcknowledgement(t *testing.T) {
	n := newNetwork(1, Config{})
	n.delay = func() int64 { return 1e6 }
	n.now = 100e9
	send := func(count int) {
		for range count {
			if err := n.ends[0].Send(wire.Synced{}); err != nil {
				t.Fatal(err)
			}
		}
		n.flush()
	}
	send(1)
	n.now += 5e5
	if got := n.ends[0].Waiting(n.now); got != 5e5 {
		t.Errorf("half a millisecond after it was sent the oldest waits for %d ns", got)
	}
	n.run(t, func() bool { return n.ends[0].messages == 0 })
	if got := n.ends[0].Waiting(n.now); got != 0 {
		t.Errorf("nothing is left, and the oldest waits for %d ns", got)
	}
	var l Lags
	n.ends[0].AddLags(n.now, &l)
	// There, the delay of an acknowledgement, and back.
	if got := l.Quantile(0.5); l.Count() != 1 || got < 3e6 || got > 3e6*5/4 {
		t.Errorf("%d messages took %d ns", l.Count(), got)
	}

	began := n.now
	send(16 * startWindow * 26) // segments of 26 messages: more than the window
	n.run(t, func() bool { return n.ends[0].messages == 0 })
	took := n.now - began
	l = Lags{}
	n.ends[0].AddLags(n.now, &l)
	if got := l.Quantile(1); got < took || got > took*5/4 {
		t.Errorf("the last of many took %d ns, counted are at most %d", took, got)
	}
	l = Lags{}
	n.ends[0].AddLags(n.now+61e9, &l)
	if l.Count() != 0 {
		t.Errorf("%d messages are remembered after a minute", l.Count())
	}
}

func TestMG9_WhatIsRepeatedKeepsItsAge(t *testing.T) {
	n := newNetwork(1, Config{})
	n.now = 100e9
	n.loss = 1
	if err := n.ends[0].Send(wire.Synced{}); err != nil {
		t.Fatal(err)
	}
	n.flush()
	for began := n.now; n.now < began+2e9; n.now = n.ends[0].next {
		n.flush()
		if got := n.ends[0].Waiting(n.now); got != max(n.now-began, 1) {
			t.Fatalf("waits for %d ns after %d, %d of which it was sent in", got, n.now-began, n.ends[0].stats.Retransmits)
		}
	}
	if n.ends[0].stats.Retransmits == 0 {
		t.Fatal("nothing was repeated: the test tests nothing")
	}
}

func TestMG9_ProgressStartsOverWithTheInstance(t *testing.T) {
	n := newNetwork(1, Config{})
	for i := range 10 {
		if err := n.ends[0].Send(wire.Synced{View: uint32(i)}); err != nil {
			t.Fatal(err)
		}
	}
	before := n.ends[0].Progress()
	if before.Sent != 10 || before.Acked != 0 {
		t.Errorf("queued: %+v", before)
	}
	n.run(t, func() bool { return n.ends[0].messages == 0 })
	if p := n.ends[0].Progress(); p.Sent != 10 || p.Acked != 10 || p.Instance != before.Instance {
		t.Errorf("acknowledged: %+v", p)
	}
	n.ends[0].Restart()
	if p := n.ends[0].Progress(); p.Sent != 0 || p.Acked != 0 || p.Instance == before.Instance {
		t.Errorf("started over: %+v", p)
	}
}

// Quantiles are those of the sorted list, rounded up by a quarter at most.
func TestMG9_QuantilesAreThoseOfTheList(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		var h history
		var list []int64
		now := int64(1000e9)
		for range rapid.IntRange(1, 300).Draw(t, "count") {
			lag := int64(math.Exp(rapid.Float64Range(7, 24.9).Draw(t, "log")))
			h.add(now, lag, 1)
			list = append(list, lag)
		}
		slices.Sort(list)
		var l Lags
		h.addTo(now, &l)
		for _, q := range []float64{0.01, 0.5, 0.99, 1} {
			at := max(int(q*float64(len(list))+0.5), 1) - 1
			got, want := l.Quantile(q), list[at]
			if got <= want || got > max(want+want/4+1, 1<<lagFrom) {
				t.Fatalf("quantile %v of %d is %d, want %d", q, len(list), got, want)
			}
		}
	})
}
