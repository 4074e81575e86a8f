package health

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"cohort/ccl/wire"
)

// climb falls out for a cause and fails every attempt; it returns the times of the
// attempts, and how it ends.
func climb(t *testing.T, cause wire.Cause, most int) string {
	t.Helper()
	l, err := NewLadder(Defaults(), 90*time.Second)
	if err != nil {
		t.Fatal(err)
	}
	now := second
	l.Joined(now)
	l.Out(now, cause, "it broke")
	var said []string
	for range most {
		s := l.Status()
		if s.Phase == Disabled {
			break
		}
		if l.Due(s.Next - 1) {
			t.Fatal("an attempt before its time")
		}
		said = append(said, time.Duration(s.Next-now).String())
		now = s.Next
		if !l.Due(now) || l.Due(now) {
			t.Fatal("not one attempt at its time")
		}
		if l.Failed(now, "still broken"); l.Status().Why != "still broken" {
			t.Error("the newest reason is not shown")
		}
	}
	s := l.Status()
	return fmt.Sprintf("%s then %s after %d of %d", strings.Join(said, " "), s.Phase, s.Attempt, s.Attempts)
}

func TestHL3_Ladders(t *testing.T) {
	for cause, want := range map[wire.Cause]string{
		wire.CauseNode:      "0s 5s 5s 5s then waiting after 4 of -1",
		wire.CauseInterface: "5m0s 10m0s 20m0s then disabled after 3 of 3",
		wire.CauseLink:      "5m0s 5m0s 5m0s 5m0s then waiting after 4 of -1",
		wire.CauseFirstLink: " then disabled after 0 of 0",
		wire.CauseOperator:  " then disabled after 0 of 0",
		wire.CauseInternal:  " then disabled after 0 of 0",
	} {
		if got := climb(t, cause, 4); got != want {
			t.Errorf("%s: %s, want %s", CauseName(cause), got, want)
		}
	}
}

// A node that got in and falls out again goes on where it was, unless it has been
// a member for a while, or another thing has failed.
func TestHL3_TheLadderGoesOnUntilTheNodeHasSettled(t *testing.T) {
	for _, c := range []struct {
		stays time.Duration
		again wire.Cause
		want  time.Duration
	}{
		{time.Second, wire.CauseInterface, 10 * time.Minute},
		{89 * time.Second, wire.CauseInterface, 10 * time.Minute},
		{90 * time.Second, wire.CauseInterface, 5 * time.Minute},
		{time.Second, wire.CauseLink, 5 * time.Minute},
	} {
		l, _ := NewLadder(Defaults(), 90*time.Second)
		l.Joined(0)
		l.Out(second, wire.CauseInterface, "")
		now := l.Status().Next
		l.Due(now)
		l.Joined(now)
		l.Joined(now + second) // said again at every view
		now += int64(c.stays)
		l.Out(now, c.again, "")
		if got := time.Duration(l.Status().Next - now); got != c.want {
			t.Errorf("out again after %v, %s: next attempt in %v, want %v", c.stays, CauseName(c.again), got, c.want)
		}
	}
}

// A node that is fenced again and again does not try more often than every 5 s.
func TestHL3_AFencedNodeTriesAtOnceButNotTwiceIn5s(t *testing.T) {
	l, _ := NewLadder(Defaults(), 90*time.Second)
	now, attempts := second, 0
	for now < 61*second {
		l.Out(now, wire.CauseNode, "fenced")
		now = max(now, l.Status().Next)
		if !l.Due(now) {
			t.Fatal("not due")
		}
		attempts++
		l.Joined(now)
		now += second / 10
	}
	if attempts != 13 {
		t.Errorf("%d attempts in a minute", attempts)
	}
}

func TestHL3_AnOperatorEndsTheWait(t *testing.T) {
	l, _ := NewLadder(Defaults(), 90*time.Second)
	l.Out(second, wire.CauseOperator, "removed")
	if s := l.Status(); s.Phase != Disabled || l.Due(inf) {
		t.Fatalf("%+v, and tries by itself", s)
	}
	l.Enable()
	if s := l.Status(); s.Phase != On || s.Attempt != 0 {
		t.Errorf("%+v", s)
	}
}

func TestNewLadderRefusesSchedulesThatCannotWork(t *testing.T) {
	for _, s := range []Schedule{
		{Attempts: -2, Interval: time.Second, Variation: 1},
		{Attempts: 1, Variation: 1},
		{Attempts: 1, Interval: time.Second, Variation: 4},
		{Attempts: 1, Interval: time.Second},
	} {
		all := Defaults()
		all[wire.CauseLink] = s
		if _, err := NewLadder(all, 0); err == nil || !strings.Contains(err.Error(), "control link") {
			t.Errorf("%+v: %v", s, err)
		}
	}
}
