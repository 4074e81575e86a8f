package main

import (
	"testing"
	"time"

	"cohort/bench/traffic"
)

// TestTalksAreComplete: through nothing, a switch and a masquerading router
// every connection opens, is answered and closes.
func TestTalksAreComplete(t *testing.T) {
	needRoot(t)
	l, err := newLab()
	if err != nil {
		t.Fatal(err)
	}
	defer l.close()
	shape := traffic.Talk{Flows: traffic.MaxSpread, Hosts: 4096}
	direct, err := l.directTalk("direct", 3, shape)
	if err != nil {
		t.Fatal(err)
	}
	switched, _, err := l.switchedTalk("switched", shape)
	if err != nil {
		t.Fatal(err)
	}
	masquerade, err := l.masqueradeTalk("masq", shape)
	if err != nil {
		t.Fatal(err)
	}
	a, err := newTally(lastCPU())
	if err != nil {
		t.Fatal(err)
	}
	for _, talk := range []*talk{direct, switched, masquerade} {
		if err := a.admit(t.Context(), talk, time.Millisecond); err != nil {
			t.Fatal(err)
		}
		if err := talk.clients.Closing(true); err != nil {
			t.Fatal(err)
		}
		n := 0
		c, err := a.measure(talk, func() (err error) { n, err = talk.open(t.Context(), 1024, 256, closed); return err })
		if err != nil || n != 1024 || c.whole() <= 0 {
			said, _ := talk.clients.Said()
			t.Errorf("%s: %d of 1024 connections complete, %+v, %v, %+v", talk.name, n, c, err, said)
		}
		if err := talk.sound(); err != nil {
			t.Error(err)
		}
	}
}

// TestWarmingClosesWhatItOpens: what a talk was told before, or that it was told
// nothing, changes nothing. Else nothing ever closes, and that looks like a network
// that loses everything.
func TestWarmingClosesWhatItOpens(t *testing.T) {
	needRoot(t)
	l, err := newLab()
	if err != nil {
		t.Fatal(err)
	}
	defer l.close()
	direct, err := l.directTalk("direct", 2, traffic.Talk{Flows: traffic.MaxSpread, Hosts: 4096, ByFlow: true})
	if err != nil {
		t.Fatal(err)
	}
	s := &scene{cfg: scaleConfig{burst: 64}}
	for range 2 {
		if err := s.warm(t.Context(), direct); err != nil {
			t.Fatal(err)
		}
		if err := direct.clients.Closing(false); err != nil {
			t.Fatal(err)
		}
	}
}
