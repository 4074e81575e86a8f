package translate

import (
	"cohort/cluster/ownership"
	"cohort/nat"
	"cohort/packet"
)

// Hosts is what a Translator asks about the blocks of inside hosts, for pools
// that limit them (NT6): cluster/hosts.
type Hosts interface {
	// Ask asks for one more block for a host; the answer goes to HostAnswer.
	Ask(pool int, host packet.Addr)
	// Release says that a host has one less.
	Release(pool int, host packet.Addr)
}

// BlockLog hears which host has which block: one record for a block and not for
// each of its connections (RFC 6888, REQ-12; RFC 7422). unit is a number of the
// geometry that the Translator had when the call of it began: during Recut, of the
// former one.
type BlockLog func(unit int, host packet.Addr, assigned bool)

// Own is a block that is a host's own.
type Own struct {
	Unit int
	Host packet.Addr
}

// HostJournal keeps which blocks are whose, for the process that takes over from this
// one within its life: connections alone do not tell it (RestoreHosts).
type HostJournal interface {
	// Own says that a block is a host's own from now on; the zero host: nobody's.
	Own(unit int, host packet.Addr)
	// Owns begins anew, with all that there is, under the numbers of a geometry with
	// this checksum (NT7).
	Owns(cut uint32, all []Own)
}

// keepFor is how long a host keeps a block that it does not use, in nanoseconds:
// the packet that wanted it may be on its way. freeEvery is how often it is looked.
const (
	keepFor   = int64(1e9)
	freeEvery = int64(250e6)
)

// refusedFor is how long a refusal is believed before the host's director, or the
// other nodes, are asked again, in nanoseconds.
const refusedFor = int64(100e6)

type hostKey struct {
	pool int
	host packet.Addr
}

// hostShort is a host whose blocks here have no port for a connection.
func (t *Translator) hostShort(now int64, pool int, host packet.Addr) ownership.Reason {
	k := hostKey{pool, host}
	if until, full := t.full[k]; full && now < until {
		t.fullHost = host
		return ownership.ReasonNATHost
	}
	delete(t.full, k)
	if now < t.dry[pool] && t.ports.Spare(pool) == 0 {
		return ownership.ReasonNATPorts // a block that it may have is of no use
	}
	t.hosts.Ask(pool, host)
	return ownership.ReasonWait
}

// HostAnswer takes the answer of a host's director. Without an idle block at
// hand the grant goes back, and a block is asked for.
func (t *Translator) HostAnswer(now int64, pool int, host packet.Addr, granted bool) {
	if !granted {
		t.full[hostKey{pool, host}] = now + refusedFor
		return
	}
	unit, ok := t.ports.UnitForHost(now, pool, host)
	if !ok {
		t.hosts.Release(pool, host)
		t.short(now, pool)
		return
	}
	t.assign(unit, host)
	t.since[unit] = now
	t.record(unit, host, true)
}

// assign makes a block a host's own, or nobody's.
func (t *Translator) assign(unit int, host packet.Addr) {
	t.ports.AssignHost(unit, host)
	if t.owns != nil {
		t.owns.Own(unit, host)
	}
}

// RestoreHosts says which blocks were whose before this process, of those that are
// still held. The log has heard of that from the process before. Whose connections use a
// block says nothing of it: a block that was thawed in use is nobody's, and to count it
// would give a host more than it may have (NT6); and one that no connection uses yet, or
// only those that another node owns, is a host's all the same.
func (t *Translator) RestoreHosts(now int64, list []Own) {
	for _, o := range list {
		if o.Unit < 0 || o.Unit >= t.geometry.Units() || !t.units.Held(o.Unit) {
			continue
		}
		t.ports.AssignHost(o.Unit, o.Host)
		t.since[o.Unit] = now
	}
}

// freeHosts takes blocks back from hosts that use none of their ports.
func (t *Translator) freeHosts(now int64) {
	if now < t.freeAt {
		return
	}
	t.freeAt = now + freeEvery
	t.buf = t.ports.FreeHostUnits(now, t.buf[:0])
	for _, unit := range t.buf {
		host, ok := t.ports.HostOf(unit)
		if !ok || now-t.since[unit] < keepFor {
			continue
		}
		delete(t.since, unit)
		t.assign(unit, packet.Addr{})
		t.hosts.Release(t.geometry.Describe(unit).Pool, host)
		t.record(unit, host, false)
	}
	for k, until := range t.full {
		if now >= until {
			delete(t.full, k)
		}
	}
}

func (t *Translator) hostUnits(g *nat.Geometry) (list []Own) {
	for unit := range g.Units() {
		if host, ok := t.ports.HostOf(unit); ok {
			list = append(list, Own{unit, host})
		}
	}
	return list
}

// recordLost says of the blocks that hosts had before a recut that they have them no
// more, unless they do: Ports.Recut leaves a host only what are the same ports. The
// record has the old number of the block, for it goes to who still knows old.
func (t *Translator) recordLost(had []Own, old *nat.Geometry) {
	for _, b := range had {
		was := old.Describe(b.Unit)
		if unit, ok := t.geometry.Unit(was.Addr, was.First); ok {
			if host, _ := t.ports.HostOf(unit); host == b.Host {
				continue
			}
		}
		t.record(b.Unit, b.Host, false)
	}
}

// LoseHosts takes all blocks back: this node's connections are gone.
func (t *Translator) LoseHosts() {
	for unit := range t.geometry.Units() {
		if host, ok := t.ports.HostOf(unit); ok {
			t.assign(unit, packet.Addr{})
			t.record(unit, host, false)
		}
	}
	clear(t.full)
	clear(t.since)
}

func (t *Translator) record(unit int, host packet.Addr, assigned bool) {
	if t.log != nil {
		t.log(unit, host, assigned)
	}
}
