package main

import (
	"errors"
	"testing"
	"time"
)

// slowNode has a ring that it empties at its own pace, and owns what was in it.
type slowNode struct {
	ring  []int
	owns  map[int]bool
	clock time.Time
	taken time.Time // when it took the last one
	lose  func(i int) bool
}

const slowEach = time.Second / 60_000 // packets that it takes

func (s *slowNode) filler(size int) *filler {
	return &filler{
		size: size, most: time.Minute, now: func() time.Time { return s.clock },
		send: func(from, n, step int) error {
			f := filler{step: step}
			for i := from; i < from+n; i++ {
				s.pass(time.Second / time.Duration(f.rate(200_000)))
				if len(s.ring) < 512 && !s.lose(i) {
					s.ring = append(s.ring, i)
				}
			}
			return nil
		},
		look:  func() error { s.pass(fillLook); return nil },
		owned: func() (int, error) { return len(s.owns), nil },
	}
}

func (s *slowNode) pass(d time.Duration) {
	s.clock = s.clock.Add(d)
	for ; s.clock.Sub(s.taken) >= slowEach; s.taken = s.taken.Add(slowEach) {
		if len(s.ring) > 0 {
			s.owns[s.ring[0]], s.ring = true, s.ring[1:]
		}
	}
}

func newSlowNode() *slowNode {
	return &slowNode{owns: map[int]bool{}, clock: time.Unix(0, 0), taken: time.Unix(0, 0)}
}

// TestFillEndsWithEveryConnection: a node that takes less than a third of the rate at
// which first packets come gets each of them, and few twice, whatever is lost on the way.
func TestFillEndsWithEveryConnection(t *testing.T) {
	const size = 1_000_000
	for _, c := range []struct {
		name string
		one  int // of so many packets is lost; 0 = none
		most int
	}{{"slow", 0, size * 9 / 4}, {"slow and lossy", 100_000, size * 9 / 4}, {"very lossy", 1000, 4 * size}} {
		n, sends := newSlowNode(), 0
		n.lose = func(int) bool { sends++; return c.one != 0 && sends%c.one == 0 }
		f := n.filler(size)
		owned, err := f.fill()
		if err != nil || owned != size || len(n.owns) != size {
			t.Errorf("%s: %d of %d connections, %v", c.name, owned, size, err)
		}
		if f.sent > c.most {
			t.Errorf("%s: %d first packets for %d connections, want at most %d", c.name, f.sent, size, c.most)
		}
	}
}

// TestFillTellsOfWhatNeverComes: the window is named in which a connection is missing.
func TestFillTellsOfWhatNeverComes(t *testing.T) {
	n := newSlowNode()
	n.lose = func(i int) bool { return i == 3*fillWindow+7 }
	f := n.filler(10 * fillWindow)
	owned, err := f.fill()
	if !errors.Is(err, errNotFilled) || owned != 4*fillWindow-1 || f.at != 3*fillWindow || f.to != 4*fillWindow {
		t.Errorf("%d connections, window %d to %d: %v", owned, f.at, f.to, err)
	}
}
