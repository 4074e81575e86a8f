package ownership

import (
	"cohort/ccl/wire"
	"cohort/flowtable"
)

// Exposure (MG9): what this node owns, by where it would be without this node.
//
// Nothing is kept per connection but two bytes of its slot: to whom the newest state
// was sent, in which life of that node, and in which era. Eras number what is sent to
// a member: one ends at a tick, and with it is noted how many messages had been sent
// by then. When the reliable channel has that many acknowledged, everything of the
// era has arrived. So a message costs two bytes written, an acknowledgement costs
// nothing, and there is no timer: ageing, which passes every connection once a
// second anyway, counts, and turns eras that have arrived into zero long before their
// numbers are used again.
//
// What is acknowledged has arrived, in order, and was handled; that the holder has
// no room for it is counted there (CopiesFull).

// Progress is how far messages to a member have come: Instance changes when what was
// sent before is void, Sent are the messages queued, Acked those that arrived.
type Progress struct {
	Instance    uint32
	Sent, Acked uint64
}

// Exposure counts the connections that a node owns, mappings left out. It is of a
// moment of the last second (Config.AgeEvery), and of the one after that while
// ageing is on its way.
type Exposure struct {
	Owned  int
	NoCopy int // durability none: nobody else is given the state
	Async  int // the newest state is not acknowledged by who keeps the copy, or there is nobody
	Sync   int // the same with durability sync: until then packets wait for it
	Behind int // of Async and Sync: that an older state is acknowledged

	// Held counts the others, and those Behind, by who has the copy: the node that
	// hands the connection over when this one is gone (FR11).
	Held [wire.MaxNodes]int
}

// Lost returns how many connections end if the node dies now.
func (e *Exposure) Lost() int { return e.NoCopy + e.Async + e.Sync - e.Behind }

const (
	numEras = 126 // 1..126
	unsent  = 127 // in place of an era: the message was not queued
	eraMask = 0x7f
	earlier = 0x80 // an earlier state has been acknowledged

	// A pass of ageing must see every mark before its number is used again, so a
	// mark may live for two passes.
	erasPerPass = 50
	erasOpen    = 100 // that are not acknowledged; after that the last one goes on

	lifeShift = 6 // of Backup: node in the lower bits
)

// ledger is what has been sent to a member.
type ledger struct {
	incarnation wire.Incarnation
	instance    uint32
	life        uint8 // 0..3: of the member and of the channel to it
	oldest, era uint8 // first one that is not acknowledged, and the present one
	last        uint64
	ends        [numEras + 1]uint64 // messages sent when an era ended
}

// exposed is the bookkeeping of Exposure.
type exposed struct {
	to     [wire.MaxNodes]*ledger // nil: no member
	former [wire.MaxNodes]*ledger // of who was one: lives go on counting
	eras   int                    // that ended in this pass of ageing
	pass   Exposure               // under way
	done   Exposure
	doneAt int64
}

// Exposure returns the newest counts and when they were complete, 0 = never.
func (c *Core) Exposure() (e *Exposure, at int64) { return &c.exposed.done, c.exposed.doneAt }

// members makes the ledgers those of a view's other members. What a former life of
// one was told is void.
func (x *exposed) members(v *wire.View, self wire.NodeID) {
	for id := range x.to {
		if l := x.to[id]; l != nil {
			x.former[id], x.to[id] = l, nil
		}
	}
	for i := range v.Members {
		m := &v.Members[i]
		if m.ID == self {
			continue
		}
		l := x.former[m.ID]
		x.former[m.ID] = nil
		if l == nil {
			l = &ledger{incarnation: m.Incarnation}
			l.restart()
		}
		if l.incarnation != m.Incarnation {
			l.incarnation = m.Incarnation
			l.restart()
		}
		x.to[m.ID] = l
	}
	for id, l := range x.former {
		if l != nil {
			l.restart() // it has left: it may forget everything
			x.former[id] = l
		}
	}
}

func (l *ledger) restart() {
	l.life = (l.life + 1) & 3
	l.oldest, l.era, l.last = 1, 1, 0
}

func nextEra(e uint8) uint8 { return e%numEras + 1 }

// open returns how many eras are not acknowledged, the present one not counted.
func (l *ledger) open() int { return (int(l.era) - int(l.oldest) + numEras) % numEras }

// arrived reports whether everything sent in an era is acknowledged.
func (l *ledger) arrived(era uint8) bool {
	return (int(era)-int(l.oldest)+numEras)%numEras > l.open()
}

// progress ends an era if there is anything in it, and notes what has arrived.
func (l *ledger) progress(p Progress, mayEnd bool) (ended bool) {
	if p.Instance != l.instance {
		l.instance = p.Instance
		l.restart()
	}
	if p.Sent != l.last && mayEnd && l.open() < erasOpen {
		l.ends[l.era], l.last = p.Sent, p.Sent
		l.era = nextEra(l.era)
		ended = true
	}
	for l.oldest != l.era && p.Acked >= l.ends[l.oldest] {
		l.oldest = nextEra(l.oldest)
	}
	return ended
}

// tickExposed asks the channels.
func (c *Core) tickExposed() {
	if c.cfg.Progress == nil {
		return
	}
	x, ended := &c.exposed, false
	for id, l := range x.to {
		if l != nil && l.progress(c.cfg.Progress(wire.NodeID(id)), x.eras < erasPerPass) {
			ended = true
		}
	}
	if ended {
		x.eras++
	}
}

// told notes that the state of a flow was sent to who keeps its copy, or was not
// queued: the link is backed up, or nobody has granted the flow yet. Then a claim that
// repeats the first does not replace that at a director which has put off its answer.
func (c *Core) told(f *flowtable.FlowSlot, holder wire.NodeID, queued bool) {
	l := c.exposed.to[holder]
	if l == nil {
		f.SetBackup(0, 0)
		return
	}
	copied := l.era
	if !queued || f.Flags&flowtable.FlowProvisional != 0 && f.Copied&eraMask == unsent {
		copied = unsent
	}
	mark := uint8(holder) | l.life<<lifeShift
	if f.Backup == mark {
		if was := f.Copied & eraMask; f.Copied&earlier != 0 || was == 0 || was != unsent && l.arrived(was) {
			copied |= earlier
		}
	}
	f.SetBackup(mark, copied)
}

// heldBy notes that a node has the state of a flow, because it said so.
func (c *Core) heldBy(f *flowtable.FlowSlot, holder wire.NodeID) {
	if l := c.exposed.to[holder]; l != nil {
		f.SetBackup(uint8(holder)|l.life<<lifeShift, 0)
	}
}

// count adds a flow to the pass under way. It brings the flow's mark up to date.
func (c *Core) count(f *flowtable.FlowSlot) {
	x, holder := &c.exposed, wire.NodeID(f.Backup&(1<<lifeShift-1))
	acknowledged, before := false, false
	switch l := x.to[holder]; {
	case f.Backup == 0:
	case l == nil || l.life != f.Backup>>lifeShift:
		f.SetBackup(0, 0)
	default:
		if era := f.Copied & eraMask; era != 0 && era != unsent && l.arrived(era) {
			f.SetBackup(f.Backup, 0)
		}
		acknowledged, before = f.Copied == 0, f.Copied&earlier != 0
	}
	if isMapping(f) {
		return
	}
	e := &x.pass
	e.Owned++
	switch {
	case f.Replication&wire.ConnNoCopy != 0:
		e.NoCopy++
		return
	case acknowledged && f.Flags&flowtable.FlowProvisional == 0:
		e.Held[holder]++
		return
	case f.Replication&wire.ConnSync != 0:
		e.Sync++
	default:
		e.Async++
	}
	if before {
		e.Behind++
		e.Held[holder]++
	}
}

// passed ends a pass of ageing.
func (x *exposed) passed(now int64) {
	x.done, x.doneAt = x.pass, now
	x.pass, x.eras = Exposure{}, 0
}
