package main

import (
	"errors"
	"os/exec"
	"testing"
	"time"

	"cohort/bench/traffic"
	"cohort/testenv/netns"
	"cohort/testenv/topology"
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

// TestIdleNodesOfOtherTalksAreNoDisturbance: they rest on the same CPU whoever is
// measured. What is no part of the comparison is.
func TestIdleNodesOfOtherTalksAreNoDisturbance(t *testing.T) {
	needRoot(t)
	l, err := newLab()
	if err != nil {
		t.Fatal(err)
	}
	defer l.close()
	direct, err := l.directTalk("direct", 2, traffic.Talk{Flows: traffic.MaxSpread, Hosts: 64, ByFlow: true})
	if err != nil {
		t.Fatal(err)
	}
	p, err := direct.ns.Start(exec.Command("sh", "-c", "while :; do :; done"))
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = p.Kill() }()
	resting := &talk{name: "resting", ns: direct.ns, cluster: &cluster{Topology: &topology.Topology{}, others: []*netns.Process{p}}}
	knows, err := newTally(lastCPU())
	if err != nil {
		t.Fatal(err)
	}
	stranger, err := newTally(lastCPU())
	if err != nil {
		t.Fatal(err)
	}
	if err := errors.Join(knows.admit(t.Context(), direct, time.Millisecond), knows.admit(t.Context(), resting, time.Millisecond)); err != nil {
		t.Fatal(err)
	}
	const burnt = 500 * time.Millisecond
	var inner cost
	outer, err := stranger.measure(direct, func() (err error) {
		inner, err = knows.measure(direct, func() error {
			for begun, now := resting.mustTime(t), time.Duration(0); now < begun+burnt; now = resting.mustTime(t) {
				time.Sleep(10 * time.Millisecond)
			}
			return nil
		})
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	// Both see what others have in steps of 10 ms; whatever else ran is in both.
	if more := outer.others - inner.others; more < burnt*3/4 {
		t.Errorf("others had %v for who does not know of what used %v, %v for who does", outer.others, burnt, inner.others)
	}
}

func (t *talk) mustTime(tb testing.TB) time.Duration {
	d, err := t.daemonTime()
	if err != nil {
		tb.Fatal(err)
	}
	return d
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
