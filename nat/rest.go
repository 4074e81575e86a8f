package nat

// Rest makes a unit rest: nothing is allocated from it before a whole hold-down has
// passed, although it is held. For a unit that changes hands while connections use
// it: what rests there at its former holder nobody else knows, and every port that
// looks unused may be one of these (NT5). Call it before SetHeld; without hold-down
// it does nothing. Uses count as ever. Protocols without ports do not rest: see
// Allocate.
func (p *Ports) Rest(now int64, unit int) {
	if p.hold > 0 && !p.units[unit].held {
		p.restUntil(unit, now+p.hold)
	}
}

func (p *Ports) restUntil(unit int, end int64) {
	u := &p.units[unit]
	if end <= u.rests {
		return
	}
	if u.rests == 0 {
		p.resting = append(p.resting, unit)
	}
	u.rests, u.quiet = end, max(u.quiet, end)
}

// endRests lets units be allocated from whose rest is over.
func (p *Ports) endRests(now int64) {
	kept := p.resting[:0]
	for _, unit := range p.resting {
		u := &p.units[unit]
		switch {
		case u.rests == 0: // given up meanwhile
		case u.rests > now:
			kept = append(kept, unit)
		default:
			later := u.later
			u.rests, u.later = 0, heldLater{}
			p.SetHeld(unit, later.held)
			p.SetLeased(unit, later.leased)
		}
	}
	p.resting = kept
}

// heldLater is what SetHeld and SetLeased have said of a unit that rests.
type heldLater struct{ held, leased bool }
