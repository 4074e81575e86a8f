package nat

import (
	"slices"
	"time"

	"cohort/packet"
)

// Part is a row of units of another numbering: Count of them from First on.
type Part struct{ First, Count int }

// From says what the units of g are made of: for each, the units of old that
// had its ports. Who held all of these may go on to allocate from it (NT7), for
// it could do so before. Count is 0 where some of its ports were in no unit,
// or in one of another kind: then nobody holds it.
//
// The first unit of an address stands for protocols without ports as well (see
// UnitOf). So it is made of old units only if the first of these is among them.
func (g *Geometry) From(old *Geometry) []Part {
	parts := make([]Part, g.Units())
	for u := range parts {
		d := g.Describe(u)
		at, known := old.index.get(d.Addr)
		if !known {
			continue
		}
		e, o := &g.addresses[g.of[u]], &old.addresses[at]
		if (e.BlockSize == 0) != (o.BlockSize == 0) || d.First < o.FirstPort || d.Last > o.LastPort {
			continue
		}
		lo, hi := 0, 0
		if o.BlockSize != 0 {
			lo, hi = int(d.First-o.FirstPort)/int(o.BlockSize), int(d.Last-o.FirstPort)/int(o.BlockSize)
		}
		if u == int(e.FirstUnit) && lo != 0 {
			continue
		}
		parts[u] = Part{int(o.FirstUnit) + lo, hi - lo + 1}
	}
	return parts
}

// Names returns for each unit what it is known by when its number changes: its
// address and first port.
func (g *Geometry) Names() []uint64 {
	names := make([]uint64, g.Units())
	for u := range names {
		d := g.Describe(u)
		names[u] = uint64(number(d.Addr))<<32 | uint64(d.First)<<16
	}
	return names
}

// Has reports whether an address is one of a pool's.
func (g *Geometry) Has(a packet.Addr) bool {
	_, ok := g.index.get(a)
	return ok
}

// Recut gives p the units of other pools, and the bounds of hold-down that go
// with them. Afterwards nothing is held and nothing in use: the caller says
// SetHeld and Use again. Hold-downs go on; those that are under way keep their
// length. A unit that is what it was stays its host's.
func (p *Ports) Recut(g *Geometry, holdDown time.Duration, holdDownMax int) {
	old := *p
	*p = *NewPorts(g, holdDown, old.rng)
	p.waiting, p.stats, p.keeper, p.journal = old.waiting, old.stats, old.keeper, old.journal
	p.SetHoldDownMax(holdDownMax)
	p.eachWaiting(func(unit int, w *waiting) { p.units[unit].quiet = max(p.units[unit].quiet, w.end) })
	for unit, from := range g.From(old.g) {
		for i := range from.Count {
			p.restUntil(unit, old.units[from.First+i].rests)
		}
		if from.Count == 1 && g.Describe(unit).samePorts(old.g.Describe(from.First)) {
			p.AssignHost(unit, old.units[from.First].host)
		}
	}
}

func (u Unit) samePorts(o Unit) bool { return u.First == o.First && u.Last == o.Last }

// HostUnits visits how many units are each host's own, in no order.
func (p *Ports) HostUnits(visit func(pool int, host packet.Addr, units int)) {
	for k, first := range p.hosts {
		n := 0
		for at := first; at != 0; at = p.units[at-1].nextOfHost {
			n++
		}
		visit(int(k.pool), k.host, n)
	}
}

// Equal reports whether two numberings are the same, with all that goes with
// the pools.
func (g *Geometry) Equal(o *Geometry) bool {
	return slices.Equal(g.pools, o.pools) && slices.Equal(g.addresses, o.addresses)
}
