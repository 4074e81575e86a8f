package blocks

import "testing"

// A unit that thaws in use at its director, and should be at another node, is one where
// no connection begins; it goes there when the last one has ended. So it is after any
// way to get it: what decides is who should have it in the present view.
func TestNT2_WhatThawsInUseReturns(t *testing.T) {
	s := frozen(t, func(s *single) { s.busy = busy(s); s.m.Settled(s.now) })
	elsewhere := 0
	for u := range s.held {
		away := s.m.target[u] != s.m.self
		if s.leased[u] != away {
			t.Errorf("unit %d, which node %d should have, is leased: %v", u, s.m.target[u], s.leased[u])
		}
		if away {
			elsewhere++
		}
	}
	if elsewhere == 0 {
		t.Fatal("every unit's director should have it: this proves nothing")
	}
	s.apply(members(6, 1)) // alone, it should have all
	for u := range s.held {
		if s.leased[u] {
			t.Errorf("unit %d is leased, and nobody else is there", u)
		}
	}
	s.apply(members(7, 1, 2, 3))
	s.units(2, nil)
	s.units(3, nil)
	s.busy = map[int]bool{}
	s.m.Settled(s.now)
	s.tick(300 * ms)
	for u, held := range s.held {
		if held && s.m.target[u] != s.m.self {
			t.Errorf("unit %d is idle and stays", u)
		}
	}
}

// After a restart, and after a node was out of the view, the allocator is told anew.
func TestNT2_TheAllocatorKnowsWhatIsLeasedAfterAPause(t *testing.T) {
	s := frozen(t, func(s *single) { s.busy = busy(s); s.m.Settled(s.now) })
	was := len(s.held)
	s.m.Fence(s.now)
	if len(s.leased) != 0 {
		t.Fatal("it allocates while it is fenced")
	}
	s.apply(members(6, 1, 2, 3))
	s.units(2, nil)
	s.units(3, nil)
	s.m.Settled(s.now)
	elsewhere := 0
	for u, held := range s.held {
		if away := s.m.target[u] != s.m.self; held && s.leased[u] != away {
			t.Errorf("unit %d, which node %d should have, is leased: %v", u, s.m.target[u], s.leased[u])
		} else if held && away {
			elsewhere++
		}
	}
	if elsewhere == 0 || was == 0 {
		t.Error("nothing is leased: this proves nothing")
	}
}
