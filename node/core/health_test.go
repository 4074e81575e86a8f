package core

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"cohort/ccl/wire"
	"cohort/cluster/health"
	"cohort/cluster/membership"
)

// watching monitors the only interface, with the default debounce and ladders.
func watching() Health {
	h := Health{Monitor: health.MonitorConfig{Watched: 1 << 1, Debounce: 500 * time.Millisecond, Grace: 90 * time.Second}}
	h.Names[1] = "in"
	return h
}

// settledPair is a cluster of two whose grace is over.
func settledPair(t *testing.T) *pair {
	p := newPair(t, MTUIgnore, 1700)
	p.run(91 * time.Second)
	p.together(true)
	return p
}

// together checks that both nodes are members, or that only the first one is.
func (p *pair) together(both bool) {
	p.t.Helper()
	want := 1
	if both {
		want = 2
	}
	v, _ := p.nodes[0].core.View()
	w, _ := p.nodes[1].core.View()
	if v == nil || len(v.Members) != want || (w != nil) != both {
		p.t.Fatalf("views %+v and %+v; events %q", v, w, p.nodes[1].events)
	}
}

// link changes an interface of the second node and says how long it takes until
// that is out; 0: 2 s are not enough.
func (p *pair) fails(change func()) time.Duration {
	began, fences := p.now, len(p.nodes[1].fenced)
	change()
	for p.now < began+2000*ms {
		p.run(10 * time.Millisecond)
		if len(p.nodes[1].fenced) > fences {
			return time.Duration(p.now - began)
		}
	}
	return 0
}

func TestHL2_AFailedInterfaceTakesItsNodeOutAfterTheDebounce(t *testing.T) {
	p := settledPair(t)
	b := p.nodes[1].core
	b.Interface(p.now, 1, false)
	p.run(400 * time.Millisecond)
	b.Interface(p.now, 1, true) // a flap
	p.run(time.Second)
	p.together(true)
	if took := p.fails(func() { b.Interface(p.now, 1, false) }); took < 500*time.Millisecond || took > 600*time.Millisecond {
		t.Errorf("out after %v", took)
	}
	p.run(100 * time.Millisecond)
	p.together(false)
	if s := b.Ladder(); s.Phase != health.Waiting || s.Cause != wire.CauseInterface || !strings.Contains(s.Why, "interface in failed, fw-0 has it") {
		t.Errorf("%+v", s)
	}
	// The control node has it still, and is the last one: it stays (EL9).
	p.nodes[0].core.Interface(p.now, 1, false)
	p.run(10 * time.Second)
	p.together(false)
}

func TestHL2_NoNodeGoesForWhatNobodyHas(t *testing.T) {
	p := settledPair(t)
	p.nodes[0].core.Interface(p.now, 1, false)
	p.run(20 * time.Millisecond)
	p.nodes[1].core.Interface(p.now, 1, false)
	p.run(10 * time.Second)
	p.together(true)
}

func TestHL2_NobodyIsJudgedRightAfterItJoined(t *testing.T) {
	p := newPair(t, MTUIgnore, 1700)
	p.run(time.Second)
	if took := p.fails(func() { p.nodes[1].core.Interface(p.now, 1, false) }); took != 0 {
		t.Fatalf("out after %v", took)
	}
	p.run(85 * time.Second)
	p.together(true)
	p.run(5 * time.Second)
	p.together(false)
}

func TestHL3_HL4_AfterTheLastAttemptTheNodeStaysOut(t *testing.T) {
	p := settledPair(t)
	b := p.nodes[1]
	p.fails(func() { b.core.Interface(p.now, 1, false) })
	out := p.now
	var attempts []time.Duration
	last := 0
	for b.core.Ladder().Phase == health.Waiting && p.now < out+int64(time.Hour) {
		p.run(time.Second)
		if a := b.core.Ladder().Attempt; a != last {
			attempts, last = append(attempts, time.Duration(p.now-out).Round(time.Minute)), a
		}
	}
	if want := []time.Duration{5 * time.Minute, 15 * time.Minute, 35 * time.Minute}; !slices.Equal(attempts, want) {
		t.Errorf("attempts %v after the failure, want %v", attempts, want)
	}
	b.core.Interface(p.now, 1, true) // too late
	p.run(time.Hour)
	p.together(false)
	if s := b.core.Member().State(); s != wire.StateDisabled {
		t.Errorf("state %v", s)
	}
	for _, say := range []string{"out because of: data interface; attempt 1 in 5m", "attempt 1: interface in still does not work; the next one in 10m0s", "it was the last one", "disabled: interface in"} {
		if !slices.ContainsFunc(b.events, func(e string) bool { return strings.Contains(e, say) }) {
			t.Errorf("history does not say %q: %q", say, b.events)
		}
	}
	if err := b.core.Enable(p.now, membership.Auto); err != nil {
		t.Fatal(err)
	}
	p.run(time.Second)
	p.together(true)
}

func TestHL3_AMendedInterfaceIsBackAtTheNextAttempt(t *testing.T) {
	p := settledPair(t)
	b := p.nodes[1].core
	p.fails(func() { b.Interface(p.now, 1, false) })
	b.Interface(p.now, 1, true)
	p.run(4*time.Minute + 59*time.Second)
	p.together(false)
	p.run(2 * time.Second)
	p.together(true)
}

func TestHL3_AControlLinkThatFailsLaterIsTriedEveryFiveMinutes(t *testing.T) {
	p := settledPair(t)
	a, b := p.nodes[0].core, p.nodes[1].core
	// Both lose it, as when the switch between them fails: the control node stays.
	p.size = 0
	a.ControlLink(p.now, false)
	took := p.fails(func() { b.ControlLink(p.now, false) })
	if took < 200*time.Millisecond || took > 300*time.Millisecond {
		t.Errorf("out after %v of a hold time of 300 ms", took)
	}
	p.run(time.Hour)
	p.together(false)
	if s := b.Ladder(); s.Phase != health.Waiting || s.Cause != wire.CauseLink || s.Attempt < 11 {
		t.Errorf("%+v", s)
	}
	p.size = 1700
	a.ControlLink(p.now, true)
	b.ControlLink(p.now, true)
	p.run(5*time.Minute + time.Second)
	p.together(true)
}

func TestHL3_AControlLinkThatFailsAtTheFirstJoinNeedsAnOperator(t *testing.T) {
	p := newPair(t, MTUIgnore, 0)
	p.nodes[1].core.ControlLink(p.now, false)
	p.run(time.Minute) // past ElectionWait: it founds no cluster of its own
	p.size = 1700
	p.nodes[1].core.ControlLink(p.now, true)
	p.run(time.Hour)
	p.together(false)
	if s := p.nodes[1].core.Ladder(); s.Phase != health.Disabled || s.Cause != wire.CauseFirstLink {
		t.Errorf("%+v", s)
	}
}

func TestEL10_DisableAndEnable(t *testing.T) {
	p := settledPair(t)
	a, b := p.nodes[0], p.nodes[1]
	life := b.life
	if err := b.core.Enable(p.now, membership.Auto); !errors.Is(err, ErrClustering) {
		t.Errorf("enable while clustering: %v", err)
	}
	if err := b.core.Disable(p.now, "said so"); err != nil || len(b.fenced) != 1 {
		t.Fatalf("%v, fenced %q", err, b.fenced)
	}
	p.run(20 * time.Millisecond)
	p.together(false) // at once, not after the hold time
	if err := b.core.Disable(p.now, "again"); !errors.Is(err, ErrDisabled) {
		t.Errorf("disabled twice: %v", err)
	}
	p.run(time.Hour)
	p.together(false)
	if err := b.core.Enable(p.now, membership.Join); err != nil {
		t.Fatal(err)
	}
	p.run(time.Second)
	p.together(true)
	if b.life == life {
		t.Error("a node that was out has the incarnation that it had")
	}
	// Taken out by another node, it stays out as well.
	if err := a.core.Member().Expel(p.now, "fw-1"); err != nil {
		t.Fatal(err)
	}
	p.run(time.Hour)
	p.together(false)
	if s := b.core.Ladder(); s.Phase != health.Disabled || s.Cause != wire.CauseOperator {
		t.Errorf("%+v", s)
	}
}

func TestEL10_ADisabledNodeStartsDisabled(t *testing.T) {
	p := newPair(t, MTUIgnore, 1700)
	b := p.boot(1, MTUIgnore)
	b.core.StartDisabled(p.now, "disabled by an operator")
	p.run(time.Minute)
	p.together(false)
	if err := b.core.Enable(p.now, membership.Auto); err != nil {
		t.Fatal(err)
	}
	p.run(time.Second)
	p.together(true)
}

// A node whose link is bad hears its peers on, and probes them. Each of these probes
// fails too: the next attempt comes when it was said to, and history says so once.
func TestHL3_CL3_AnAttemptIsToldOnceAndNotPutOff(t *testing.T) {
	p := newPair(t, MTUEnforce, 1654)
	p.run(2 * time.Second)
	b := p.nodes[1]
	p.size = 1000
	b.core.member.GiveUp(p.now, "a test")
	told := func(attempt string) (n int) {
		for _, e := range b.events {
			if strings.Contains(e, attempt+" in 5m") {
				n++
			}
		}
		return n
	}
	p.run(30 * time.Second)
	s := b.core.Ladder()
	if s.Phase != health.Waiting || s.Cause != wire.CauseLink {
		t.Fatalf("%+v: %q", s, b.events)
	}
	next := fmt.Sprintf("attempt %d", s.Attempt+1)
	p.run(4 * time.Minute)
	if later := b.core.Ladder(); later.Next != s.Next || told(next) != 1 {
		t.Fatalf("%s is told %d times, and comes %v later", next, told(next), time.Duration(later.Next-s.Next))
	}
	p.run(time.Minute)
	if later := b.core.Ladder(); later.Attempt != s.Attempt+1 || later.Phase != health.Waiting {
		t.Fatalf("the attempt was not made: %+v", later)
	}
}

// A node that an operator has taken out stays out, whatever its link is like (EL10).
func TestEL10_CL3_ABadLinkDoesNotBringBackADisabledNode(t *testing.T) {
	p := newPair(t, MTUEnforce, 1654)
	p.run(2 * time.Second)
	b := p.nodes[1]
	if err := b.core.Disable(p.now, "disabled by a test"); err != nil {
		t.Fatal(err)
	}
	p.size = 1000
	p.run(30 * time.Second)
	if s := b.core.Ladder(); s.Phase != health.Disabled || s.Cause != wire.CauseOperator {
		t.Fatalf("%+v", s)
	}
	p.size = 1654
	p.run(6 * time.Minute)
	p.together(false)
}
