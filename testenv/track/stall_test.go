package track

import (
	"context"
	"net/netip"
	"testing"
	"testing/synctest"
	"time"

	"cohort/testenv/icmp"
)

// swift is the fastest tracker of the campaigns.
var swift = Config{Interval: 20 * time.Millisecond, Losses: 3, Answers: 2}

var hop1, hop2 = netip.MustParseAddr("10.1.0.1"), netip.MustParseAddr("10.1.0.2")

// network is the socket of a Tracker in virtual time: hops that answer or do not, and a
// machine that keeps the Tracker from running for a while.
type network struct {
	answers  func(hop netip.Addr, seq uint16) (after time.Duration, ok bool)
	sending  func(hop netip.Addr, seq uint16) time.Duration // how long it stands still after it has sent
	waking   func(seq uint16) time.Duration                 // and before it reads
	asleep   bool
	seq      uint16
	arriving []arrival
}

type arrival struct {
	at time.Time
	r  icmp.Reply
}

func (n *network) Send(to netip.Addr, seq uint16, _ []byte) error {
	if after, ok := n.answers(to, seq); ok {
		n.arriving = append(n.arriving, arrival{time.Now().Add(after), icmp.Reply{From: to, Seq: seq}})
	}
	if n.sending != nil {
		time.Sleep(n.sending(to, seq))
	}
	n.seq, n.asleep = seq, true
	return nil
}

func (n *network) Queued() (icmp.Reply, bool, error) {
	if n.asleep && n.waking != nil {
		time.Sleep(n.waking(n.seq))
	}
	n.asleep = false
	for i, a := range n.arriving {
		if !a.at.After(time.Now()) {
			n.arriving = append(n.arriving[:i], n.arriving[i+1:]...)
			return a.r, true, nil
		}
	}
	return icmp.Reply{}, false, nil
}

func (n *network) Close() error { return nil }

// eventsIn runs a swift tracker of hop1 and hop2 for so long, in virtual time, and
// returns its events and when it began.
func eventsIn(t *testing.T, d time.Duration, n *network, onChange func(Event)) (events []Event, start time.Time) {
	synctest.Test(t, func(t *testing.T) {
		start = time.Now()
		tr := newTracker(n, swift, []netip.Addr{hop1, hop2}, onChange)
		ctx, cancel := context.WithTimeout(t.Context(), d)
		defer cancel()
		if err := tr.Run(ctx); err != nil {
			t.Errorf("Run = %v", err)
		}
		events = tr.Events()
	})
	return events, start
}

func soon(netip.Addr, uint16) (time.Duration, bool) { return time.Millisecond, true }

func nothing(Event) {}

// A machine that is busy keeps the tracker from running for five intervals, again and
// again and wherever it is. The hops answer, and their answers are in the socket.
func TestTracker_AStalledOneWithdrawsNobody(t *testing.T) {
	stall := 5 * swift.Interval
	for name, n := range map[string]*network{
		"after a probe": {sending: func(hop netip.Addr, seq uint16) time.Duration {
			if hop == hop2 && seq%3 == 0 {
				return stall
			}
			return 0
		}},
		"between the probes of two hops": {sending: func(hop netip.Addr, seq uint16) time.Duration {
			if hop == hop1 {
				return stall
			}
			return 0
		}},
		"when it wakes":                 {waking: func(seq uint16) time.Duration { return stall * time.Duration(seq&1) }},
		"when it wakes, in every round": {waking: func(uint16) time.Duration { return stall }},
	} {
		t.Run(name, func(t *testing.T) {
			// The slowest answer that is in time.
			n.answers = func(netip.Addr, uint16) (time.Duration, bool) { return swift.Interval - 1, true }
			if events, start := eventsIn(t, time.Minute, n, nothing); len(events) > 0 {
				t.Errorf("%d changes, the first is %+v after %v", len(events), events[0], events[0].At.Sub(start))
			}
		})
	}
}

// The router changes its routes, which takes it five intervals, and probes nobody: the
// hop that lives has no part in it.
func TestTracker_SlowRoutesWithdrawNobodyElse(t *testing.T) {
	n := &network{answers: func(hop netip.Addr, seq uint16) (time.Duration, bool) {
		return swift.Interval - 1, hop == hop2 || seq/10%2 == 0 // hop1 comes and goes
	}}
	events, _ := eventsIn(t, time.Minute, n, func(Event) { time.Sleep(5 * swift.Interval) })
	if len(events) < 2 {
		t.Fatalf("%d changes of a hop that comes and goes", len(events))
	}
	for _, e := range events {
		if e.Hop != 0 {
			t.Errorf("%+v: it always answered", e)
		}
	}
}

// A hop that falls silent is withdrawn Losses intervals after the first probe that it
// does not answer, not later and not sooner, and the other one stays.
func TestTracker_ASilentHopIsWithdrawnInItsTime(t *testing.T) {
	var silent time.Time // when the first unanswered probe was sent
	n := &network{answers: func(hop netip.Addr, seq uint16) (time.Duration, bool) {
		if hop == hop1 && seq >= 10 {
			if seq == 10 {
				silent = time.Now()
			}
			return 0, false
		}
		return soon(hop, seq)
	}}
	events, _ := eventsIn(t, time.Second, n, nothing)
	want := Event{At: silent.Add(time.Duration(swift.Losses) * swift.Interval)}
	if len(events) != 1 || events[0] != want {
		t.Errorf("changes %+v, want %+v", events, want)
	}
}

// A tracker that stood still for five intervals counts one loss for them, and withdraws
// a hop that died meanwhile as soon as it has missed what was sent to it.
func TestTracker_StandingStillCountsForOneLoss(t *testing.T) {
	stall := 5 * swift.Interval
	var silent time.Time
	n := &network{
		answers: func(hop netip.Addr, seq uint16) (time.Duration, bool) {
			if hop == hop1 && seq == 10 {
				silent = time.Now()
			}
			return time.Millisecond, hop != hop1 || seq < 10
		},
		waking: func(seq uint16) time.Duration {
			if seq == 10 {
				return stall
			}
			return 0
		},
	}
	events, _ := eventsIn(t, time.Second, n, nothing)
	want := Event{At: silent.Add(stall + time.Duration(swift.Losses)*swift.Interval)}
	if len(events) != 1 || events[0] != want {
		t.Errorf("changes %+v, want %+v", events, want)
	}
}

// Every second probe, or one in three, is answered: never so many lost in a row.
func TestTracker_AHopThatAnswersNowAndThenStays(t *testing.T) {
	for _, every := range []uint16{2, 3} {
		n := &network{answers: func(hop netip.Addr, seq uint16) (time.Duration, bool) {
			return time.Millisecond, seq%every == 0
		}}
		if events, _ := eventsIn(t, time.Minute, n, nothing); len(events) > 0 {
			t.Errorf("one of %d answered: %d changes, the first is %+v", every, len(events), events[0])
		}
	}
}

// An answer that takes longer than the interval is late for its own probe and none to
// the next one.
func TestTracker_LateAnswersAreLosses(t *testing.T) {
	n := &network{answers: func(hop netip.Addr, _ uint16) (time.Duration, bool) {
		if hop == hop1 {
			return swift.Interval + 1, true
		}
		return swift.Interval - 1, true
	}}
	events, start := eventsIn(t, time.Second, n, nothing)
	want := Event{At: start.Add(time.Duration(swift.Losses) * swift.Interval)}
	if len(events) != 1 || events[0] != want {
		t.Errorf("changes %+v, want %+v", events, want)
	}
}
