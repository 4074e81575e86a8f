package main

import (
	"bytes"
	"strings"
	"testing"
	"time"

	"cohort/testenv/campaign"
)

// TestFailoverIsMeasured: each contender loses its active router once, with a hold
// time of 0.9 s. What is measured is what they promise: nobody is out for much
// longer than that, and for the peer, through whose one router everything goes, no
// flow for much less.
func TestFailoverIsMeasured(t *testing.T) {
	r := measured(t, "failover")
	if len(r.Failover) != 2 {
		t.Fatalf("%d contenders", len(r.Failover))
	}
	for i := range r.Failover {
		f := &r.Failover[i]
		t.Logf("%s: %+v", f.Name, f.Trials)
		if f.Timers == "" || f.HoldMS != 900 || len(f.Trials) != 1 {
			t.Errorf("%+v", f)
		}
		if b := f.Blackout.Median; b < 300 || b > 5000 {
			t.Errorf("%s: out for %.0f ms with a hold time of 900 ms", f.Name, b)
		}
		if f.TCPLost > 0 || f.UDPLost > 0 {
			t.Errorf("%s: lost %d TCP connections and %d UDP flows, all of which had their copies", f.Name, f.TCPLost, f.UDPLost)
		}
	}
	if peer := &r.Failover[0]; peer.Hit.Median != float64(peer.UDP) {
		t.Errorf("the peer's one router died and hit %.0f flows of %d", peer.Hit.Median, peer.UDP)
	}
}

// TestFailoverCountsFlowsThatWereHit: a pause of a busy machine is no blackout.
func TestFailoverCountsFlowsThatWereHit(t *testing.T) {
	at := time.Now()
	gap := func(d time.Duration) campaign.Gap { return campaign.Gap{From: at, To: at.Add(d)} }
	tr := &trial{}
	tr.gaps([]campaign.Gap{gap(30 * time.Millisecond), gap(3 * time.Second), gap(hitAfter), gap(time.Second)})
	if tr.Blackout != 3000 || tr.Median != 2000 || tr.Hit != 2 {
		t.Errorf("%+v", tr)
	}
}

// TestFailoverTakesTurns: A B B A, and all trials of a contender are its own.
func TestFailoverTakesTurns(t *testing.T) {
	cfg := failoverConfig{tcp: 7, udp: 3}
	got := cfg.result(contender{name: "a", hold: time.Second}, []trial{{Blackout: 10, TCPLost: 2}, {Blackout: 30, UDPLost: 1}, {Blackout: 20, TCPLost: 1, Hit: 3}})
	if got.Blackout.Median != 20 || got.TCPLost != 3 || got.UDPLost != 1 || got.Hit.N != 3 || got.HoldMS != 1000 {
		t.Errorf("%+v", got)
	}
	order := turns(3, false)
	if want := []int{0, 1, 2, 2, 1, 0}; len(order) != 6 || order[0] != want[0] || order[2] != want[2] || order[3] != want[3] || order[5] != want[5] {
		t.Errorf("%v, want %v", order, want)
	}
	if order := turns(2, true); len(order) != 2 || order[1] != 1 {
		t.Errorf("half a round is %v", order)
	}
}

func TestFailoverReportSaysTimersAndLosses(t *testing.T) {
	r := Report{Failover: []FailoverResult{{Name: "peer", HoldMS: 3000, Timers: "every second", TCP: 200, UDP: 32, TCPLost: 5, Trials: make([]trial, 6)}}}
	var out bytes.Buffer
	if err := r.print(&out); err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{"peer: every second", "5 of 1200", "0 of 192"} {
		if !strings.Contains(out.String(), want) {
			t.Errorf("no %q in\n%s", want, out.String())
		}
	}
}

// VRRP's own timer is the hold time and the skew of the backup's priority.
func TestFailoverTimersAreEqual(t *testing.T) {
	for hold, advert := range map[time.Duration]time.Duration{3 * time.Second: time.Second, 900 * time.Millisecond: 300 * time.Millisecond, time.Second: 330 * time.Millisecond} {
		if got := advertOf(hold); got != advert {
			t.Errorf("hold %v: advertisement every %v, want %v", hold, got, advert)
		}
	}
}
