package node

import (
	"time"

	"cohort/flowtable"
	"cohort/packet"
)

// rerouteBudget is how long one turn may look up routes: an answer that is not
// cached costs some fifty microseconds, and a table of distinct remote
// addresses would hold the loop up, packets, heartbeats and lease included, for seconds.
const rerouteBudget = int64(500 * time.Microsecond)

// reroute gives flows the next hops of changed routes, a slice a turn.
type reroute struct {
	on     bool
	again  bool // the routes changed during the round
	cursor uint32

	delegations bool // the round is over the flows and goes on with them
}

// start begins a round. One that is under way goes on, and another one follows
// it: routes that change all the time must not keep the last slots waiting.
func (r *reroute) start() {
	r.again = r.on
	r.on = true
}

// step goes on for one turn.
func (r *reroute) step(t *flowtable.Table, nextHop func(packet.Addr) uint16, clock func() int64) {
	if !r.on {
		return
	}
	end := clock() + rerouteBudget
	if r.delegations {
		r.cursor = t.ScanDelegations(r.cursor, t.ForwardSlots(), func(slot uint32, _ *flowtable.ForwardSlot, d *flowtable.DelegationSlot) bool {
			if hop := nextHop(d.To.Dst); hop != d.NextHop {
				t.UpdateDelegation(slot, func(d *flowtable.DelegationSlot) { d.NextHop = hop })
			}
			return clock() < end
		})
		if r.cursor == 0 {
			r.on, r.again, r.delegations = r.again, false, false
		}
		return
	}
	r.cursor = t.ScanFlows(r.cursor, t.Slots(), func(slot uint32, f *flowtable.FlowSlot) bool {
		if f.Key[0].Dst == (packet.Addr{}) {
			return true // a mapping leads nowhere
		}
		// Where each side really is, not the address that the other side knows.
		if hops := [2]uint16{nextHop(f.Key[1].Src), nextHop(f.Key[0].Src)}; hops != f.NextHop {
			t.UpdateFlow(slot, func(f *flowtable.FlowSlot) { f.NextHop = hops })
		}
		return clock() < end
	})
	r.delegations = r.cursor == 0
}
