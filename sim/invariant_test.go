package sim

import (
	"testing"

	"cohort/ccl/wire"
	"cohort/cluster/ownership"
	"cohort/flowtable"
)

// TestFR11_ACopyThatWasOvertakenSavesNothing: a dead owner's copy goes on its own time
// after another node has taken the connection over. Should that die with its copy, nothing
// can be asked of the cluster (TestNT4_NT5_ThawInUse/power, seed 15410011).
func TestFR11_ACopyThatWasOvertakenSavesNothing(t *testing.T) {
	w := open(Config{Seed: 1, Nodes: 4})
	w.boot()
	w.advance(2 * second)
	c := w.client(ownership.KindUDP)
	w.conns = append(w.conns, c)
	c.started = w.clock.now
	w.enter(c.packet(0, false, c.key))
	w.advance(second)
	var owner, x *node
	for _, n := range w.nodes {
		if ref := n.table.Lookup(c.key); ref != 0 && !ref.IsForward() {
			owner = n
		} else if _, copied := n.copies.Get(c.key); !copied {
			x = n
		}
	}
	if err := x.copies.Put(flowtable.Backup{Key: flowtable.Pack(c.key), Gen: 1, Owner: 9, Incarnation: 9, Flags: wire.ConnOrphan, Timeout: 10, Confirmed: x.tick()}); err != nil {
		t.Fatal(err)
	}
	if !w.check.goodCopy(x, c) {
		t.Error("it is no copy of the present owner's generation")
	}
	owner.table.UpdateFlow(owner.table.Lookup(c.key).Slot(), func(f *flowtable.FlowSlot) { f.Gen++ })
	if w.check.goodCopy(x, c) {
		t.Error("it is one of an owner who was replaced")
	}
}
