package health

import (
	"testing"
	"time"
)

const second = int64(time.Second)

func monitor() *Monitor {
	return NewMonitor(MonitorConfig{Watched: 1<<1 | 1<<2, Debounce: 500 * time.Millisecond, Grace: 90 * time.Second})
}

func TestHL2_AFailureCountsAfterTheDebounce(t *testing.T) {
	m := monitor()
	ms := int64(time.Millisecond)
	for _, step := range []struct {
		at   int64
		what func()
		want uint32
	}{
		{at: 0, want: 0},
		{at: 1000, what: func() { m.Link(1000*ms, 1, false) }, want: 0},
		{at: 1499, what: func() { m.Link(1499*ms, 1, false) }, want: 0}, // repeated: nothing new
		{at: 1500, want: 1 << 1},
		{at: 1600, what: func() { m.Link(1600*ms, 1, true) }, want: 0}, // mended: at once
		{at: 1700, what: func() { m.Link(1700*ms, 1, false) }, want: 0},
		{at: 2100, what: func() { m.Link(2100*ms, 1, true); m.Link(2100*ms, 1, false) }, want: 0}, // flaps: begins anew
		{at: 2599, want: 0},
		{at: 2600, want: 1 << 1},
		{at: 2700, what: func() { m.Link(2700*ms, 3, false) }, want: 1 << 1},                        // not monitored
		{at: 9000, what: func() { m.Link(9000*ms, 0, false); m.Link(9000*ms, 40, false) }, want: 2}, // no interface
	} {
		if step.what != nil {
			step.what()
		}
		if got := m.Failed(step.at * ms); got != step.want {
			t.Errorf("at %d ms %#x has failed, want %#x", step.at, got, step.want)
		}
	}
}

func TestHL6_TargetsFailAnInterfaceAsItsLinkDoes(t *testing.T) {
	m := monitor()
	m.Targets(0, 2, false)
	m.Link(second/4, 2, false) // for the second reason: the time runs from the first
	if got := m.Failed(second / 2); got != 1<<2 {
		t.Errorf("%#x has failed", got)
	}
	m.Targets(second, 2, true)
	if got := m.Failed(2 * second); got != 1<<2 {
		t.Errorf("%#x has failed: the link is still down", got)
	}
	m.Link(3*second, 2, true)
	if m.Failed(4*second) != 0 || m.AnyBroken() {
		t.Error("everything works again")
	}
}

func TestHL2_GraceBeginsWithTheJoin(t *testing.T) {
	m := monitor()
	if m.Grace(0) {
		t.Error("grace before any join")
	}
	m.Joined(5 * second)
	if !m.Grace(95*second-1) || m.Grace(95*second) {
		t.Error("grace is not 90 s")
	}
}
