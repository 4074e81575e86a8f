package nat

import "cohort/packet"

// AllocateAddress finds an address of a PoolAddresses pool that is held and
// idle, for one host alone (NT8): the host's paired one if possible. It is not in
// use until Use is called with the mapping's key, which must be before the next
// call. The answer is Allocated or Short.
func (p *Ports) AllocateAddress(now int64, pool int, host packet.Addr) (packet.Addr, Result) {
	p.scratch = p.g.rank(pool, host, p.scratch)
	for _, r := range p.scratch {
		e := &p.g.addresses[r.address]
		if u := &p.units[e.FirstUnit]; u.held && u.uses == 0 && u.quiet <= now {
			p.pools[pool].short = 0
			return e.Addr, Allocated
		}
	}
	p.pools[pool].short++
	return packet.Addr{}, Short
}

// Idle reports whether nothing here stands against handing a unit over or
// thawing it: no use, no hold-down, no host whose own it is.
func (p *Ports) Idle(now int64, unit int) bool {
	u := &p.units[unit]
	return u.uses == 0 && u.quiet <= now && u.host == packet.Addr{}
}

// Usage returns how many ports of a unit have at least one use, of the protocol
// that uses most. For a whole address it is 1 or 0.
func (p *Ports) Usage(unit int) (used int) {
	u := &p.units[unit]
	if u.size == 0 {
		return int(min(u.uses, 1))
	}
	for _, n := range u.used {
		used = max(used, int(n))
	}
	return used
}

// Uses returns how many uses a unit has: connections, stubs, reservations and
// mappings of all protocols.
func (p *Ports) Uses(unit int) int { return int(p.units[unit].uses) }

// Spare returns how many units of a pool this node holds without using them. A
// hold-down may still run in some, which keeps them from being handed over: Idle
// knows.
func (p *Ports) Spare(pool int) (units int) { return p.pools[pool].idle }

// most bounds what Need asks for at once: the units come from others.
const most = 8

// Need returns a pool that needs more units, and how many. A pool needs units
// when requests found none, and already when no idle unit is left and fewer than
// an eighth of a block's ports are unused, so that connections seldom have to
// wait for a lease. Pools take turns. The demand lasts until a unit of the pool
// is held or a request succeeds: a caller that could get none should wait before
// it tries again.
func (p *Ports) Need() (pool int, units int, ok bool) {
	for i := range p.pools {
		pool = (p.asked + i) % len(p.pools)
		if units = p.need(pool); units > 0 {
			p.asked = pool + 1
			return pool, units, true
		}
	}
	return 0, 0, false
}

func (p *Ports) need(pool int) int {
	state, of := &p.pools[pool], &p.g.pools[pool]
	if state.short > 0 {
		return min(1+state.short/max(of.BlockSize, 1), most)
	}
	if of.Kind != PoolPorts || state.idle > 0 {
		return 0
	}
	open, free := 0, [classes]int{}
	for i := range of.Addresses {
		a := &p.address[of.firstAddress+i]
		open += a.open
		for c, n := range a.free {
			free[c] += n
		}
	}
	if open == 0 {
		return 0
	}
	if of.MaxBlocksPerHost != 0 {
		return 1 // the next host needs a unit of its own
	}
	for _, n := range free {
		if n < of.BlockSize/8 {
			return 1
		}
	}
	return 0
}
