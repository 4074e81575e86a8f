package flowtable

import "testing"

// fakeGrace numbers periods; a test ends them.
type fakeGrace struct{ begun, ended uint64 }

func (g *fakeGrace) Begin(bool) uint64   { g.begun++; return g.begun }
func (g *fakeGrace) Ended(n uint64) bool { return g.ended >= n }

// However much time passes, nothing that died is used again, nor are its counters final,
// before the programs that ran have ended; and nobody is asked when nothing died.
func TestDESIGN3_SlotsRestUntilProgramsHaveEnded(t *testing.T) {
	table := newTable(t, 1, 1)
	g := &fakeGrace{}
	table.Watch(g)
	flow, err := table.InsertFlow(flowN(1))
	if err != nil {
		t.Fatal(err)
	}
	forward, err := table.InsertForward(forwardN(2))
	if err != nil {
		t.Fatal(err)
	}
	if err := table.Delegate(forward, delegationN(1)); err != nil {
		t.Fatal(err)
	}
	table.Reclaim(0)
	if g.begun != 0 {
		t.Errorf("%d periods began, and nothing has died", g.begun)
	}
	delegation := table.EndDelegation(forward)
	rest := table.Rest(5)
	table.FreeDelegation(delegation)
	table.RemoveForward(forward)
	table.RemoveFlow(flow)
	for now := uint32(10); now < 1<<20; now *= 2 {
		table.Reclaim(now)
		if s := table.Stats(); s.FreeFlows != 0 || s.FreeForwards != 0 || s.FreeDelegations != 0 || s.Quarantined != 3 {
			t.Fatalf("at tick %d: %+v", now, s)
		}
		if table.Rested(rest, now) {
			t.Fatalf("counters are final at tick %d, and a program may be counting", now)
		}
	}
	if g.begun != 4 {
		t.Errorf("%d periods began", g.begun)
	}
	g.ended = 1
	if !table.Rested(rest, 1<<20) || table.Rested(rest, 5+graceTicks-1) {
		t.Error("a rest is over when its period has ended and two ticks have passed")
	}
	g.ended = g.begun
	table.Reclaim(1 << 20)
	if s := table.Stats(); s.FreeFlows != 1 || s.FreeForwards != 1 || s.FreeDelegations != 1 || s.Quarantined != 0 {
		t.Errorf("after the programs have ended: %+v", s)
	}
}
