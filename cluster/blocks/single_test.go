package blocks

import (
	"errors"
	"testing"

	"cohort/ccl/wire"
)

// single is one Machine whose neighbours are played by the test.
type single struct {
	t      *testing.T
	m      *Machine
	now    int64
	view   *wire.View
	sent   []sent
	full   bool // the link takes nothing
	held   map[int]bool
	leased map[int]bool
	rested map[int]int64 // until when; 0 = for a hold-down
	quiet  map[int]int64
	busy   map[int]bool
	memory []Memory
	log    []string // what happens, in order
	got    []int
	asked  int // about idle units
}

type sent struct {
	to wire.NodeID
	m  wire.Message
}

// lineageOf is the lineage that singles belong to.
const lineageOf = 77

// newSingle makes node 1 of two addresses with 8 units each. It remembers its
// lineage and the nodes of v, if any, and is not a member yet.
func newSingle(t *testing.T, v *wire.View, change func(*Config)) *single {
	s := &single{t: t, now: 1000 * ms, held: map[int]bool{}, leased: map[int]bool{}, rested: map[int]int64{}, quiet: map[int]int64{}, busy: map[int]bool{}}
	cfg := Config{
		Pools: pools([2]int{2, 8}), Seed: [16]byte{1}, Output: s, Ports: s, Journal: s, Found: true,
		Answered: func(_, n int) { s.got = append(s.got, n) },
	}
	if v != nil {
		cfg.Memory = Memory{Version: 3, Lineage: lineageOf}
		for _, m := range v.Members {
			cfg.Memory.Roster = append(cfg.Memory.Roster, wire.RosterEntry{Name: m.Name, Seen: 1})
		}
	}
	if change != nil {
		change(&cfg)
	}
	s.m = New(s.now, cfg)
	return s
}

// newMember makes it a member of v.
func newMember(t *testing.T, v *wire.View, change func(*Config)) *single {
	s := newSingle(t, v, change)
	s.apply(v)
	return s
}

// newHeard makes it a member of v that all others have told that they hold nothing.
func newHeard(t *testing.T, v *wire.View, change func(*Config)) *single {
	s := newMember(t, v, change)
	for _, m := range v.Members {
		if m.ID != 1 {
			s.units(m.ID, nil)
		}
	}
	return s
}

func (s *single) Send(to wire.NodeID, m wire.Message) error {
	if s.full {
		return errors.New("full")
	}
	if _, ok := m.(wire.GiveUnits); ok {
		s.log = append(s.log, "send")
	}
	s.sent = append(s.sent, sent{to, m})
	return nil
}

func (s *single) SetHeld(u int, held bool) {
	if held == s.held[u] {
		s.t.Errorf("SetHeld(%d, %v) twice", u, held)
	}
	s.held[u] = held
	if !held {
		delete(s.leased, u)
		s.log = append(s.log, "stop")
	}
}

func (s *single) SetLeased(u int, leased bool) {
	if !s.held[u] {
		s.t.Errorf("SetLeased(%d, %v), which is not held", u, leased)
	}
	s.leased[u] = leased
}

// holdDown is how long ports of a single rest.
const holdDown = 120_000 * ms

func (s *single) Rest(u int, end int64) int64 {
	if s.held[u] {
		s.t.Errorf("Rest(%d), which is held", u)
	}
	if end == 0 {
		end = s.now + holdDown
	}
	s.rested[u] = end
	return end
}

func (s *single) Quiet(u int) int64 { return s.quiet[u] }

func (s *single) Heard(u int, end int64) {
	if end == 0 {
		end = s.now + holdDown
	}
	s.quiet[u] = max(s.quiet[u], end)
}

func (s *single) Idle(u int) bool {
	s.asked++
	return !s.busy[u] && s.quiet[u] <= s.now
}
func (s *single) View(uint64) {}
func (s *single) Hold(_ int, held bool) {
	if !held {
		s.log = append(s.log, "journal")
	}
}

// apply makes the machine a member of v.
func (s *single) apply(v *wire.View) {
	s.view = v
	s.m.ApplyView(s.now, v, 1)
}

// units is what node `from` announces.
func (s *single) units(from wire.NodeID, change func(*wire.Units)) {
	u := wire.Units{
		View: s.view.Tag(), Lineage: s.m.lineage, Geometry: s.m.geometry, Sum: s.m.roster.sum, Took: s.m.peers[from].given, Count: uint32(s.m.units),
	}
	if change != nil {
		change(&u)
	}
	s.m.Message(s.now, from, u)
}

func (s *single) tick(d int64) {
	for end := s.now + d; s.now < end; {
		s.now += 10 * ms
		s.m.Tick(s.now)
	}
}

// heldBy makes the machine hold units that node `from` gives it.
func (s *single) heldBy(from wire.NodeID, seq uint64, units ...int) {
	var r ranger
	for _, u := range units {
		r.add(u)
	}
	s.m.Message(s.now, from, wire.GiveUnits{View: s.view.Tag(), Seq: s.m.peers[from].took + seq, Units: r})
}

// take returns the messages sent since the last call, of one type.
func take[M wire.Message](s *single) (list []M) {
	for _, x := range s.sent {
		if m, ok := x.m.(M); ok {
			list = append(list, m)
		}
	}
	s.sent = nil
	return list
}

func all(s *single) (list []int) {
	for u := range s.m.units {
		list = append(list, u)
	}
	return list
}
