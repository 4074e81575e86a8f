package translate

import (
	"time"

	"cohort/ccl/wire"
	"cohort/cluster/ownership"
	"cohort/nat"
	"cohort/packet"
)

// Units is what a Translator asks about units: cluster/blocks.
type Units interface {
	// Order returns the nodes that a unit's second keys are kept at, best
	// first; 0 stands for a missing one.
	Order(unit int) (first, second, third wire.NodeID)
	// Apart reports whether a node is missing that may own connections whose
	// second keys lie in units of this one.
	Apart() bool
	// Held reports whether this node may allocate from a unit.
	Held(unit int) bool
	// Want asks for more units of a pool. Asking again while an answer is on
	// its way costs nothing.
	Want(pool, count int)
}

// Stats counts refusals and requests since the start.
type Stats struct {
	Wanted uint64 // times that this node had no port for a packet and asked for a unit
}

// Translator implements ownership.NAT.
type Translator struct {
	rules    *nat.Rules
	geometry *nat.Geometry
	ports    *nat.Ports
	units    Units
	hosts    Hosts
	log      BlockLog
	owns     HostJournal          // may be nil
	former   map[packet.Addr]bool // addresses that were a pool's in this process and are none's now
	full     map[hostKey]int64    // hosts that may not have more, until when that is believed
	dry      map[int]int64        // pools of which no node has a unit to spare, the same
	since    map[int]int64        // when a host got a unit
	freeAt   int64
	buf      []int
	last     decided
	stats    Stats
	refused  []uint64 // by pool
	lacked   int      // the pool that had no port last
	fullHost packet.Addr
}

// decided is the rules' decision about the source of one packet. Mapping and
// then Source, or Map, are asked about the same one.
type decided struct {
	in, out uint8
	k, to   packet.FlowKey
	nat.Decision
}

// source is Rules.Source, remembered until the next packet.
func (t *Translator) source(in, out uint8, k, to packet.FlowKey) *nat.Decision {
	d := &t.last
	if d.in != in || d.out != out || d.k != k || d.to != to {
		*d = decided{in, out, k, to, t.rules.Source(in, out, k, to)}
	}
	return &d.Decision
}

var _ ownership.NAT = (*Translator)(nil)

// SetHostJournal says who keeps which blocks are whose; nil, the default, for nobody.
// Call it before use.
func (t *Translator) SetHostJournal(j HostJournal) { t.owns = j }

// New makes a translator. Whoever keeps the units tells ports what is held. log
// may be nil.
func New(rules *nat.Rules, ports *nat.Ports, units Units, hosts Hosts, log BlockLog) *Translator {
	t := &Translator{
		rules: rules, geometry: rules.Geometry(), ports: ports, units: units, hosts: hosts, log: log,
		full: map[hostKey]int64{}, dry: map[int]int64{}, since: map[int]int64{}, former: map[packet.Addr]bool{},
		refused: make([]uint64, len(rules.Geometry().Pools())),
	}
	ports.SetKeepers(t.keeper)
	return t
}

// keeper returns who keeps the second keys of this node's connections in a unit that it
// holds: the holder comes first in the unit's order, and the first that is not the owner
// keeps them.
func (t *Translator) keeper(unit int) uint8 {
	_, second, _ := t.units.Order(unit)
	return uint8(second)
}

// Recut makes rules what new connections are translated by, with the bounds of
// hold-down that go with them (NT7). It reports whether units have other
// numbers: then nothing is held or in use until Ports is told again.
//
// Packets to an address that a pool has no more still belong to connections, or
// to nobody: they begin none, and are not routed, as those to any address of NAT.
func (t *Translator) Recut(rules *nat.Rules, holdDown time.Duration, holdDownMax int) (recut bool) {
	old, g := t.geometry, rules.Geometry()
	t.rules, t.geometry, t.last = rules, g, decided{}
	t.refused, t.lacked = make([]uint64, len(g.Pools())), 0 // pools have other indexes
	clear(t.dry)
	for _, a := range old.Table() {
		if !g.Has(a.Addr) {
			t.former[a.Addr] = true
		}
	}
	for a := range t.former {
		if g.Has(a) {
			delete(t.former, a)
		}
	}
	if recut = !g.Equal(old); recut {
		clear(t.full)
		clear(t.since)
		had := t.hostUnits(old)
		t.ports.Recut(g, holdDown, holdDownMax)
		t.recordLost(had, old)
		if t.owns != nil {
			t.owns.Owns(g.Checksum(), t.hostUnits(g))
		}
	} else {
		t.ports.SetHoldDown(holdDown, holdDownMax)
	}
	return recut
}

// Former implements ownership.NAT.
func (t *Translator) Former(k packet.FlowKey) bool { return t.former[k.Dst] || t.former[k.Src] }

// Stands implements ownership.NAT. A mapping of a pool of ports has a protocol,
// one of a whole address has none.
func (t *Translator) Stands(mapping packet.FlowKey) bool {
	pool, ok := t.geometry.Pool(mapping.Dst)
	return ok && (t.geometry.Pools()[pool].Kind == nat.PoolPorts) == (mapping.Proto != 0)
}

// Ports returns the allocator: cluster/blocks tells it what is held.
func (t *Translator) Ports() *nat.Ports { return t.ports }

// Rules returns the rules.
func (t *Translator) Rules() *nat.Rules { return t.rules }

// Stats returns the counters.
func (t *Translator) Stats() Stats { return t.stats }

// Refusals returns how many packets were refused since the start or the last
// Recut because a pool, by its index in the geometry, had no port for them on any
// node.
func (t *Translator) Refusals(pool int) uint64 { return t.refused[pool] }

// FullHost returns the host that was refused a port last because it has all the
// blocks it may have (ReasonNATHost). For the log.
func (t *Translator) FullHost() packet.Addr { return t.fullHost }

// Refused implements ownership.NAT.
func (t *Translator) Refused() { t.refused[t.lacked]++ }

// Tick ends hold-downs and asks for units before they are missed. Call it every
// 10 ms or so.
func (t *Translator) Tick(now int64) {
	t.ports.Tick(now)
	if pool, units, ok := t.ports.Need(); ok {
		t.units.Want(pool, units)
	}
	t.freeHosts(now)
}

// Destination implements ownership.NAT.
func (t *Translator) Destination(in uint8, k packet.FlowKey) (packet.FlowKey, bool) {
	to, _, what := t.rules.Destination(in, k)
	return to, what == nat.Translated || what == nat.Untouched && !t.former[k.Dst]
}

// Source implements ownership.NAT.
func (t *Translator) Source(now int64, in, out uint8, k, to packet.FlowKey, near wire.NodeID, taken func(packet.FlowKey) bool) (reply packet.FlowKey, logged bool, r ownership.Reason) {
	d := t.source(in, out, k, to)
	switch d.What {
	case nat.Fixed:
		return nat.ReplyKey(to, d.Addr, d.Port), d.LogXlates, ownership.ReasonNone
	case nat.PickPort:
		reply, r = t.pick(now, nat.Request{Pool: d.Pool, Host: k.Src, To: to, Prefer: k.SrcPort, Keeper: uint8(near)}, taken)
		return reply, d.LogXlates, r
	}
	logged = d.LogXlates
	if !logged && (k.Dst != to.Dst || k.DstPort != to.DstPort) {
		_, rule, _ := t.rules.Destination(in, k) // the other side of a static rule
		logged = t.rules.LogXlates(rule)
	}
	return nat.ReplyKey(to, k.Src, k.SrcPort), logged, ownership.ReasonNone
}

// pick chooses a port of a pool, or asks for a unit in which there is one.
func (t *Translator) pick(now int64, q nat.Request, taken func(packet.FlowKey) bool) (packet.FlowKey, ownership.Reason) {
	addr, port, r := t.ports.Allocate(now, q, taken)
	if r != nat.Allocated {
		t.lacked = q.Pool
	}
	switch r {
	case nat.Short:
		return packet.FlowKey{}, t.short(now, q.Pool)
	case nat.HostShort:
		return packet.FlowKey{}, t.hostShort(now, q.Pool, q.Host)
	case nat.Elsewhere:
		return packet.FlowKey{}, ownership.ReasonNATProtocol
	}
	return nat.ReplyKey(q.To, addr, port), ownership.ReasonNone
}

// short asks for a unit, and says whether to wait for it.
func (t *Translator) short(now int64, pool int) ownership.Reason {
	if now >= t.dry[pool] {
		t.stats.Wanted++
		t.units.Want(pool, 1)
	}
	if now < t.dry[pool] {
		return ownership.ReasonNATPorts
	}
	return ownership.ReasonWait
}

// UnitsAnswer takes the end of a Want: so many units came.
func (t *Translator) UnitsAnswer(now int64, pool, units int) {
	if units == 0 {
		t.dry[pool] = now + refusedFor
	} else {
		delete(t.dry, pool)
	}
}

// Mapping implements ownership.NAT. One-to-one translation is a mapping of the
// whole host, for all protocols.
func (t *Translator) Mapping(in, out uint8, k, to packet.FlowKey) (mapping packet.FlowKey, flags uint8, ok bool) {
	d := t.source(in, out, k, to)
	if d.Filtering == nat.EndpointIndependent {
		flags |= wire.ConnOpen
	}
	if d.LogXlates {
		flags |= wire.ConnLogged
	}
	switch {
	case d.What == nat.PickAddress:
		return packet.FlowKey{Src: k.Src, Zone: k.Zone}, flags, true
	case d.What == nat.PickPort && d.Mapping == nat.EndpointIndependent:
		return packet.FlowKey{Src: k.Src, SrcPort: k.SrcPort, Proto: k.Proto, Zone: k.Zone}, flags, true
	}
	return packet.FlowKey{}, 0, false
}

// Home implements ownership.NAT.
func (t *Translator) Home(in, out uint8, k, to packet.FlowKey) (unit int, ok bool) {
	if d := t.source(in, out, k, to); d.What == nat.PickPort {
		return t.geometry.Home(d.Pool, k.Src), true
	}
	return 0, false
}

// Translates implements ownership.NAT.
func (t *Translator) Translates(in, out uint8, k packet.FlowKey) bool {
	return t.source(in, out, k, k).What != nat.Keep
}

// Map implements ownership.NAT.
func (t *Translator) Map(now int64, in, out uint8, k, to packet.FlowKey, near wire.NodeID, taken func(packet.FlowKey) bool) (packet.FlowKey, ownership.Reason) {
	d := t.source(in, out, k, to)
	mapping, _, _ := t.Mapping(in, out, k, to)
	if d.What == nat.PickPort {
		return t.pick(now, nat.Request{Pool: d.Pool, Host: k.Src, To: mapping, Prefer: k.SrcPort, Keeper: uint8(near), Exclusive: true}, taken)
	}
	addr, r := t.ports.AllocateAddress(now, d.Pool, k.Src)
	if r != nat.Allocated {
		t.lacked = d.Pool
		return packet.FlowKey{}, t.short(now, d.Pool)
	}
	return nat.ReplyKey(mapping, addr, 0), ownership.ReasonNone
}

// Mapped implements ownership.NAT.
func (t *Translator) Mapped(k packet.FlowKey) (packet.FlowKey, bool) {
	unit, ok := t.geometry.UnitOf(k)
	if !ok {
		return packet.FlowKey{}, false
	}
	m := packet.FlowKey{Dst: k.Dst, Zone: k.Zone}
	if t.geometry.Pools()[t.geometry.Describe(unit).Pool].Kind == nat.PoolPorts {
		m.DstPort, m.Proto = k.DstPort, k.Proto
	}
	return m, true
}

// MaxInbound implements ownership.NAT.
func (t *Translator) MaxInbound(mapping packet.FlowKey) int {
	pool, ok := t.geometry.Pool(mapping.Dst)
	if !ok {
		return 0
	}
	return t.rules.MaxInbound(pool)
}

// Use implements ownership.NAT.
func (t *Translator) Use(reply packet.FlowKey) { t.ports.Use(reply) }

// Release implements ownership.NAT.
func (t *Translator) Release(now int64, reply packet.FlowKey, hold bool) {
	t.ports.Release(now, reply, hold)
}

// Apart implements ownership.NAT.
func (t *Translator) Apart() bool { return t.units.Apart() }

// Unit implements ownership.NAT.
func (t *Translator) Unit(k packet.FlowKey) (int, bool) { return t.geometry.UnitOf(k) }

// Holds implements ownership.NAT.
func (t *Translator) Holds(unit int) bool { return t.units.Held(unit) }

// Order implements ownership.NAT.
func (t *Translator) Order(unit int) (first, second, third wire.NodeID) {
	return t.units.Order(unit)
}
