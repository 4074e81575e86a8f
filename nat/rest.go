package nat

// Rest makes a unit rest: no port is allocated from it before end, although it is
// held. For a unit that changes hands while connections use it: which of the ports
// that look unused rest since they were used at its former holder nobody else knows
// (NT5). end 0 stands for a whole hold-down from now, which is also the longest. It
// returns when the rest ends, 0 = the unit does not rest.
//
// Call it before SetHeld; without hold-down it does nothing. Uses count as ever.
// Protocols without ports do not rest: see Allocate.
func (p *Ports) Rest(now int64, unit int, end int64) int64 {
	end = p.within(now, end)
	if end <= now || p.units[unit].held {
		return 0
	}
	p.restUntil(unit, end)
	return p.units[unit].rests
}

// Quiet returns when the last hold-down ends that is known of in a unit; a time
// that is over, or 0, when there is none.
func (p *Ports) Quiet(unit int) int64 { return p.units[unit].quiet }

// Heard says that somebody else knows of a hold-down in a unit that lasts until end;
// 0 as for Rest. Which port it is of is not known: the unit is not Idle before.
func (p *Ports) Heard(now int64, unit int, end int64) {
	u := &p.units[unit]
	u.quiet = max(u.quiet, p.within(now, end))
}

// within bounds the end of a hold-down by a whole one from now, which 0 stands for.
func (p *Ports) within(now, end int64) int64 {
	if whole := now + p.hold; end == 0 || end > whole {
		return whole
	}
	return end
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
