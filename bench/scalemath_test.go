package main

import (
	"math"
	"strings"
	"testing"
	"time"

	"cohort/bench/stat"
)

// TestTheSwitchIsSubtracted: as often as a packet crosses, and the generator's
// floor is that of as many ports.
func TestTheSwitchIsSubtracted(t *testing.T) {
	s := &scene{floor1: &talk{}, floorN: &talk{}, wire: &talk{}, one: &talk{}, many: &talk{}, apart: &talk{}}
	each := map[*talk]float64{s.floor1: 100, s.floorN: 150, s.wire: 180, s.one: 400, s.many: 570, s.apart: 492}
	r := &ScaleThroughput{Crossings: 0.5}
	r.sum(s, []lap{{each: each, upkeep: map[*talk]float64{s.one: 10, s.many: 60}}})
	near := func(name string, got stat.Summary, want float64) {
		if math.Abs(got.Median-want) > 1e-9 {
			t.Errorf("%s %v, want %v", name, got.Median, want)
		}
	}
	near("one", r.One, 300)
	near("many", r.Many, 420)
	near("switch", r.Switch, 80)
	near("factor", r.Factor, 300.0/380)
	near("to nodes apart", r.ToApart, 342.0/380)
	near("with the switch", r.WithSwitch, 300.0/420)
	near("upkeep", r.Upkeep, 60)
	near("packets alone", r.Packets, 290.0/320)
}

// TestIdleDaemonsAreNotThePackets: what they take anyway is subtracted once,
// and what others have is not ours.
func TestIdleDaemonsAreNotThePackets(t *testing.T) {
	c := cost{sender: 60 * time.Millisecond, softirq: 10 * time.Millisecond, daemons: 50 * time.Millisecond, idle: 20 * time.Millisecond, others: 6 * time.Millisecond}
	if c.whole() != 100*time.Millisecond {
		t.Errorf("%v", c.whole())
	}
	var with company
	if with.add(c); !with.quiet() {
		t.Errorf("%+v is not quiet", with)
	}
	if with.others++; with.quiet() {
		t.Errorf("%+v is quiet", with)
	}
}

// TestAStepOfTheClockDisturbsNoRound: what others had of short samples is a step
// too much in one and too little in the next.
func TestAStepOfTheClockDisturbsNoRound(t *testing.T) {
	var with, disturbed company
	for range 6 {
		for _, off := range []time.Duration{10 * time.Millisecond, -10 * time.Millisecond} {
			c := cost{sender: 120 * time.Millisecond, others: off}
			with.add(c)
			c.others += 7 * time.Millisecond
			disturbed.add(c)
		}
	}
	if !with.quiet() || disturbed.quiet() {
		t.Errorf("quiet %v by steps alone, %v with others", with.quiet(), disturbed.quiet())
	}
}

func TestLapsThatCount(t *testing.T) {
	s := &scene{cfg: scaleConfig{rounds: 4}}
	quiet, loud, lossy := lap{quiet: true, whole: true}, lap{whole: true}, lap{quiet: true}
	for _, c := range []struct {
		laps      []lap
		used      int
		rejected  int
		disturbed bool
	}{
		{[]lap{quiet, loud, lossy, quiet}, 2, 2, false},
		{[]lap{loud, loud, lossy}, 2, 1, true},
		{[]lap{quiet, lossy}, 1, 1, false},
	} {
		use, rejected, disturbed := s.used(c.laps)
		if len(use) != c.used || rejected != c.rejected || disturbed != c.disturbed {
			t.Errorf("%+v: %d used, %d rejected, %v", c, len(use), rejected, disturbed)
		}
	}
}

// TestAimsOfTheFactors: by forwarding and number of nodes; one node has none.
func TestAimsOfTheFactors(t *testing.T) {
	for _, c := range []struct {
		nodes  int
		way    string
		factor float64
		want   string
	}{
		{4, forwardDelegate, 0.97, "aim 0.97: met"}, {16, forwardDelegate, 0.94, "aim 0.95: missed"},
		{4, forwardOwner, 0.87, "aim 0.88: missed"}, {16, forwardOwner, 0.85, "aim 0.85: met"}, {1, forwardOwner, 1, ""},
	} {
		r := scaled(c.nodes, c.way, spreadFlows, c.factor)
		if got := strings.TrimSpace(r.aim(r.Throughput.Factor, aimThroughput(&r))); got != c.want {
			t.Errorf("%+v: %q", c, got)
		}
	}
	var out strings.Builder
	r := Report{
		Scale: []ScaleResult{scaled(4, forwardOwner, spreadFlows, 0.8)},
		Link:  []LinkResult{{Who: whoCohort, What: linkTCP, Bytes: stat.Summary{Median: 80}, ToPeer: stat.Summary{Median: 0.04}}, {Who: whoCohort, What: linkUDP, Bytes: stat.Summary{Median: 40}}},
	}
	if err := r.print(&out); err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{"aim 0.88: missed", "aim 0.78: met", "aim 0.75: met", "aim 72 bytes: missed, 0.05 of the CPU: met", "aim 48 bytes: met"} {
		if !strings.Contains(out.String(), want) {
			t.Errorf("no %q in\n%s", want, out.String())
		}
	}
}

// TestWhatIsSubtractedFromARate: the switch as often as a frame crosses it, and
// what idle daemons take, which Raw leaves in both.
func TestWhatIsSubtractedFromARate(t *testing.T) {
	s := &scene{floor1: &talk{}, floorN: &talk{}, wire: &talk{}, one: &talk{}, many: &talk{}, apart: &talk{}, peer: &talk{}}
	us := func(v float64) float64 { return v * 1e3 }
	l := lap{
		each: map[*talk]float64{s.floor1: us(4), s.floorN: us(5), s.wire: us(6), s.one: us(14), s.many: us(31), s.apart: us(17), s.peer: us(12)},
		idle: map[*talk]float64{s.one: us(2), s.many: us(6)},
	}
	r := &ScaleRate{Frames: 0.5, Crossed: 1.5}
	r.sum(s, []lap{l}, 8) // a frame costs the switch (6-4)/8 us
	near := func(name string, got stat.Summary, want float64) {
		t.Helper()
		if math.Abs(got.Median-want) > 1e-9 {
			t.Errorf("%s %v, want %v", name, got.Median, want)
		}
	}
	near("one", r.One, 10)
	near("many", r.Many, 26)
	near("switch", r.Switch, 0.25)
	near("factor", r.Factor, 10/25.5)
	near("with the switch", r.WithSwitch, 10.0/26)
	near("raw", r.Raw, 12.0/32)
	near("to nodes apart", r.ToApart, 12/25.5)
	near("masquerade", r.ToMasquerade, 0.8)
	near("idle of one", r.IdleOne, 2)
	near("idle of many", r.IdleMany, 6)
	c := cost{sender: 10, daemons: 60, idle: 20}
	if got := c.idleShare(); got != 20.0/50 {
		t.Errorf("idle share %v", got)
	}
	if got := c.upkeepShare(); got != 40.0/50 {
		t.Errorf("upkeep share %v", got)
	}
}
