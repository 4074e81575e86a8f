package node

import (
	"testing"

	"cohort/flowtable"
)

// Numbers of next hops that no flow has are freed, and only those: also when a
// flow gets one while the flows are being asked.
func TestTR1_UnusedNextHopsAreFreed(t *testing.T) {
	const old, fresh, unused = 5, 6, 7
	table := flowsTo(t, 2*hopBatch)
	table.UpdateFlow(1, func(f *flowtable.FlowSlot) { f.NextHop = [2]uint16{old, 1} })
	var u hopUse
	freed := map[uint16]bool{}
	free := func(held func(uint16) bool) (n int) {
		for nh := range uint16(len(u.used)) {
			freed[nh] = !held(nh)
		}
		return n
	}
	u.note(unused) // before the round: nobody kept it
	u.start()
	u.step(table, free)
	table.UpdateFlow(2, func(f *flowtable.FlowSlot) { f.NextHop[0] = fresh }) // a passed slot
	u.note(fresh)
	u.start() // one is under way
	for ticks := 0; u.on; ticks++ {
		if ticks > 5 {
			t.Fatal("the round does not end")
		}
		u.step(table, free)
	}
	for nh, want := range map[uint16]bool{1: false, old: false, fresh: false, unused: true, 4095: true} {
		if freed[nh] != want {
			t.Errorf("next hop %d freed: %v", nh, freed[nh])
		}
	}
}
