package nat

import (
	"cmp"
	"slices"

	"cohort/packet"
)

// Hold is a key that waits in hold-down, until when.
type Hold struct {
	Key packet.FlowKey
	End int64 // of the clock that Ports is told
}

// HoldJournal hears of every key that begins to wait. What it writes down a later
// process of the same life gives to RestoreHolds: the connection's late packets do not
// stop for a daemon that is restarted (RFC 6888, REQ-8).
type HoldJournal interface {
	Wait(k packet.FlowKey, end int64)
}

// SetHoldJournal says who hears of keys that wait; nil, the default, for nobody. Call it
// before use.
func (p *Ports) SetHoldJournal(j HoldJournal) { p.journal = j }

// RestoreHolds makes keys wait on that a former process knew to wait, in any order and
// some of them twice. Those that are over, or of no pool's address, change nothing; none
// waits longer than a whole hold-down from now. Call it before any Release.
func (p *Ports) RestoreHolds(now int64, list []Hold) {
	list = slices.Clone(list)
	slices.SortFunc(list, func(a, b Hold) int { return cmp.Compare(a.End, b.End) })
	for _, h := range list {
		unit, ok := p.g.UnitOf(h.Key)
		if end := min(h.End, now+p.hold); ok && end > now {
			p.units[unit].quiet = max(p.units[unit].quiet, end)
			p.waiting.add(now, h.Key, end)
			p.restPort(unit, &waiting{h.Key, end})
		}
	}
}
