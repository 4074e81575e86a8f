package nat

import "cohort/packet"

// Port block allocation (NT6, RFC 6888 REQ-4, RFC 7422): in a pool with
// MaxBlocksPerHost every host has units of its own. How many it may have in the
// cluster is decided elsewhere; here is which of this node's units are whose.

// hostKey is a host in a pool.
type hostKey struct {
	pool uint16
	host packet.Addr
}

// UnitForHost proposes a unit that AssignHost could give to a host: one that is
// held and idle, of the host's paired address if possible, and not one that another
// node should have if there are others. ok is false when
// there is none; then Need asks for one.
func (p *Ports) UnitForHost(now int64, pool int, host packet.Addr) (unit int, ok bool) {
	p.scratch = p.g.rank(pool, host, p.scratch)
	for _, of := range [4]struct{ leased, resting bool }{{false, false}, {false, true}, {true, false}, {true, true}} {
		for _, r := range p.scratch {
			a := &p.address[r.address]
			if a.idle == 0 {
				continue
			}
			start := p.rng.IntN(a.idle)
			for i := range a.idle {
				unit := int(p.g.addresses[r.address].FirstUnit) + int(a.members[a.open+(start+i)%a.idle])
				if u := &p.units[unit]; u.leased == of.leased && (u.quiet > now) == of.resting {
					p.pools[pool].short = 0
					return unit, true
				}
			}
		}
	}
	p.pools[pool].short++
	return 0, false
}

// AssignHost makes a unit a host's own; the zero Addr takes it back. Only units
// of pools with MaxBlocksPerHost can be assigned, others stay nobody's. The
// assignment outlasts SetHeld(unit, false): whoever takes it back also logs it.
func (p *Ports) AssignHost(unit int, host packet.Addr) {
	u := &p.units[unit]
	pool := p.g.pool[u.address]
	if u.host == host || p.g.pools[pool].MaxBlocksPerHost == 0 {
		return
	}
	if nobody := (packet.Addr{}); u.host != nobody {
		p.unlink(unit, hostKey{pool, u.host})
	}
	u.host = host
	if nobody := (packet.Addr{}); host != nobody {
		p.link(unit, hostKey{pool, host})
	}
	p.place(unit)
}

// link puts a unit in front of its host's list.
func (p *Ports) link(unit int, key hostKey) {
	u := &p.units[unit]
	u.nextOfHost, u.assignedAt = p.hosts[key], uint32(len(p.assigned))
	p.hosts[key] = uint32(unit) + 1
	p.assigned = append(p.assigned, uint32(unit))
}

// unlink takes a unit out of its host's list.
func (p *Ports) unlink(unit int, key hostKey) {
	u := &p.units[unit]
	last := p.assigned[len(p.assigned)-1]
	p.assigned[u.assignedAt], p.units[last].assignedAt = last, u.assignedAt
	p.assigned = p.assigned[:len(p.assigned)-1]
	next := u.nextOfHost
	u.nextOfHost = 0
	switch first := p.hosts[key]; {
	case first != uint32(unit)+1:
		for at := first; ; at = p.units[at-1].nextOfHost {
			if before := &p.units[at-1]; before.nextOfHost == uint32(unit)+1 {
				before.nextOfHost = next
				return
			}
		}
	case next == 0:
		delete(p.hosts, key)
	default:
		p.hosts[key] = next
	}
}

// HostOf returns whose own a unit is.
func (p *Ports) HostOf(unit int) (host packet.Addr, ok bool) {
	host = p.units[unit].host
	return host, host != packet.Addr{}
}

// FreeHostUnits appends to buf[:0] the units that are some host's but have
// neither uses nor hold-downs any more. The caller logs the end of each
// (HostOf), tells the host's director, and takes it back with AssignHost. It
// looks at every assigned unit: call it a few times a second at most.
func (p *Ports) FreeHostUnits(now int64, buf []int) []int {
	buf = buf[:0]
	for _, unit := range p.assigned {
		if u := &p.units[unit]; u.uses == 0 && u.quiet <= now {
			buf = append(buf, int(unit))
		}
	}
	return buf
}

// ofHost searches the units that are the host's own, in the order of choice that
// Allocate describes.
func (s *search) ofHost() bool {
	first := s.p.hosts[hostKey{uint16(s.q.Pool), s.q.Host}]
	next := func(at uint32) uint32 { return s.p.units[at-1].nextOfHost }
	s.probes = unusedProbes
	for at := first; at != 0; at = next(at) {
		u := &s.p.units[at-1]
		if offset := int(s.q.Prefer) - int(u.first); offset >= 0 && offset < int(u.size) && u.held && u.ports[s.class].free(offset) {
			if s.openUnused(s.p.g.addresses[u.address].Addr, s.q.Prefer) {
				return true
			}
		}
	}
	if s.q.Keeper != 0 && s.p.keeper != nil {
		for at := first; at != 0; at = next(at) {
			if u := &s.p.units[at-1]; u.held && s.p.keeper(int(at-1)) == s.q.Keeper && s.unusedIn(u) {
				return true
			}
		}
	}
	for at := first; at != 0; at = next(at) {
		if u := &s.p.units[at-1]; u.held && s.unusedIn(u) {
			return true
		}
	}
	if s.q.Exclusive {
		return false
	}
	units := 0
	for at := first; at != 0; at = next(at) {
		units++
	}
	for at := first; at != 0; at = next(at) {
		u := &s.p.units[at-1]
		if !u.held {
			continue
		}
		start := s.p.rng.IntN(int(u.size))
		for i := range min(scanProbes/units+1, int(u.size)) { // the bound is for all units together
			if s.share(u, (start+i)%int(u.size)) {
				return true
			}
		}
	}
	return false
}
