package node

import (
	"cohort/dataplane"
	"cohort/dataplane/fib"
	"cohort/flowtable"
	"cohort/packet"
)

const (
	// hopsLow is how many next hops may be in use before the unused ones are
	// looked for. A scan of a network behind us takes one for every address, and
	// while it is in use its neighbour is asked for.
	hopsLow = 256
	// hopBatch is how many flows one turn asks for theirs.
	hopBatch = 2048
)

// hopUse finds out, a slice a turn, which next hops no flow has.
type hopUse struct {
	on     bool
	cursor uint32

	delegations bool // the round is over the flows and goes on with them

	used [dataplane.MaxNextHops]bool
}

// start begins a round.
func (u *hopUse) start() {
	if !u.on {
		*u = hopUse{on: true}
	}
}

// note keeps a number that was looked up during a round: a flow may get it in
// a slot that the round has passed.
func (u *hopUse) note(nh uint16) {
	if u.on {
		u.used[nh] = true
	}
}

// step goes on for one tick and frees the unused numbers at the end.
func (u *hopUse) step(t *flowtable.Table, free func(held func(nh uint16) bool) int) {
	if !u.on {
		return
	}
	if u.delegations {
		u.cursor = t.ScanDelegations(u.cursor, hopBatch, func(_ uint32, _ *flowtable.ForwardSlot, d *flowtable.DelegationSlot) bool {
			u.used[d.NextHop] = true
			return true
		})
		if u.cursor == 0 {
			free(func(nh uint16) bool { return u.used[nh] })
			u.on = false
		}
		return
	}
	u.cursor = t.ScanFlows(u.cursor, hopBatch, func(_ uint32, f *flowtable.FlowSlot) bool {
		u.used[f.NextHop[0]], u.used[f.NextHop[1]] = true, true
		return true
	})
	u.delegations = u.cursor == 0
}

// lookup is fib.Table.Lookup for a number that a flow may keep.
func (n *Node) lookup(dst packet.Addr) (nh uint16, iface uint8, ok bool) {
	nh, iface, status := n.fib.Lookup(dst)
	n.hops.note(nh)
	return nh, iface, status != fib.Unreachable
}
