package ownership

import (
	"time"

	"cohort/ccl/wire"
	"cohort/flowtable"
	"cohort/packet"
)

// Delegation, on the forwarder's side; lend.go says how it goes. A delegation lives
// in the table beside the forward entry of its direction, where the fast path finds
// it. It ends with its lease, with the view, with the forward entry, or when the owner
// says so. Then it is out of the fast path at once, and waits among the endings until
// its counters are final and the owner has said that it has them.

// endings are the delegations that have ended, in the order of a walk that
// comes by every one again and again.
type endings struct {
	// uses are what is noted of each delegation of the table. It is here because its
	// slot has no room, and need not outlive the process.
	uses []use

	list   []ended
	place  map[endedKey]int // in list
	cursor int
}

// use is what the forwarder notes of a delegation in force.
type use struct {
	looked   uint32 // tick of the last look at whether packets come
	packets  uint32 // ... and how many had come by then
	reported uint32 // tick of the last report
	process  uint32 // of the owner, that has granted it; 0: a former process of this node knew
	every    uint16 // ticks between reports
	busy     bool   // packets come: it is to be renewed
}

type endedKey struct {
	key   packet.FlowKey
	owner wire.NodeID
	id    uint16
}

type ended struct {
	endedKey
	life uint8          // tag of the owner's incarnation
	slot uint32         // of the delegation, 0 = it never began
	rest flowtable.Rest // since its end
	sent uint32         // tick of the last report, if any
	told bool
}

func (e *endings) init() { e.place = map[endedKey]int{} }

func (e *endings) add(x ended) bool {
	if _, known := e.place[x.endedKey]; known {
		return false
	}
	e.place[x.endedKey] = len(e.list)
	e.list = append(e.list, x)
	return true
}

// useOf returns what is noted of a delegation. Of those that a former process of this
// node has left nothing is, and their owner is asked at once.
func (e *endings) useOf(slot, now, every uint32) *use {
	for uint32(len(e.uses)) <= slot {
		e.uses = append(e.uses, use{looked: now, reported: now - every, busy: true})
	}
	return &e.uses[slot]
}

func (e *endings) drop(i int) {
	delete(e.place, e.list[i].endedKey)
	last := len(e.list) - 1
	if i != last {
		e.list[i] = e.list[last]
		e.place[e.list[i].endedKey] = i
	}
	e.list = e.list[:last]
}

// endingBatch is how many ended delegations one tick looks at.
const endingBatch = 4096

// tellAgain is after how long an owner that says nothing is told again.
const tellAgain = time.Second

// removeForward takes a forward entry out of the table, with its delegation.
func (c *Core) removeForward(slot uint32) {
	c.endDelegation(slot)
	c.table.RemoveForward(slot)
}

// onDelegate is word from an owner to whom this node forwards.
func (c *Core) onDelegate(from wire.NodeID, m *wire.Delegate) {
	switch m.Op {
	case wire.DelegateOffer:
		c.onOffer(from, m)
	case wire.DelegateGrant:
		c.onDelegation(from, m)
	case wire.DelegateRenew:
		c.onRenewed(from, m)
	case wire.DelegateRevoke:
		if slot, d := c.delegationOf(from, m); d != nil {
			c.endDelegation(slot)
		} else {
			c.neverBegan(from, m) // or it is about to say so, again
		}
		if m.Process != 0 {
			c.lenderOf(from, m.Process).carried(m.Revoked)
		}
	case wire.DelegateOver:
		if i, known := c.ending.place[endedKey{m.Key, from, m.ID}]; known {
			c.forgetEnding(i)
		}
	}
}

// onRenewed renews one delegation by itself, and says who has granted it.
func (c *Core) onRenewed(from wire.NodeID, m *wire.Delegate) {
	slot, d := c.delegationOf(from, m)
	now := c.tick()
	if d == nil || m.Process == 0 || m.View != c.view.Tag() || d.View != m.View || flowtable.Since(now, m.Stamp) < 0 || !d.InForce(now, m.View) {
		return
	}
	_, at := c.table.Delegation(slot)
	u := c.ending.useOf(at, now, c.ageTicks())
	u.process, u.every = m.Process, c.reportsEvery(m)
	c.lenderOf(from, m.Process)
	c.prolong(slot, d, m.Stamp+m.Lease)
}

func (c *Core) prolong(forward uint32, d *flowtable.DelegationSlot, until uint32) {
	if flowtable.Since(until, d.Lease) > 0 {
		c.table.Prolong(forward, until)
	}
}

func (c *Core) ageTicks() uint32 { return flowtable.TickOf(int64(c.cfg.AgeEvery)) }

// reportsEvery is how often an owner wants reports: with every pass of ageing at most.
func (c *Core) reportsEvery(m *wire.Delegate) uint16 {
	return uint16(min(max(m.Every, c.ageTicks()), 1<<16-1))
}

// delegationOf returns the delegation that an owner speaks of, nil if there is none.
func (c *Core) delegationOf(from wire.NodeID, m *wire.Delegate) (forward uint32, d *flowtable.DelegationSlot) {
	ref := c.table.Lookup(m.Key)
	if ref == 0 || !ref.IsForward() {
		return 0, nil
	}
	f := c.table.Forward(ref.Slot())
	if d, _ = c.table.Delegation(ref.Slot()); d == nil || d.ID != m.ID || wire.NodeID(f.Owner) != from {
		return 0, nil
	}
	return ref.Slot(), d
}

// onOffer asks for a delegation if this node could do with it.
func (c *Core) onOffer(from wire.NodeID, m *wire.Delegate) {
	if c.cfg.OwnerOnly || from == c.self {
		return
	}
	if ref := c.table.Lookup(m.Key); ref != 0 && (!ref.IsForward() || c.table.Forward(ref.Slot()).Flags&flowtable.FlowDelegated != 0) {
		return
	}
	if c.table.Stats().FreeDelegations == 0 {
		c.stats.TakenFull++
		return
	}
	c.msg.report = wire.Report{Op: wire.ReportAsk, Key: m.Key, Stamp: c.tick(), Gen: m.Gen, View: c.view.Tag()}
	c.tell(from, &c.msg.report)
}

// onDelegation begins a delegation, or says that it never did.
func (c *Core) onDelegation(from wire.NodeID, m *wire.Delegate) {
	if !c.beginDelegation(from, m) {
		c.neverBegan(from, m)
	}
}

func (c *Core) beginDelegation(from wire.NodeID, m *wire.Delegate) bool {
	now, l := c.tick(), c.lenderOf(from, m.Process)
	_, ends := c.ending.place[endedKey{m.Key, from, m.ID}]
	if ends || int32(l.newest-m.Revoked) > 0 {
		return false // it is older than a revocation that has come: perhaps its own
	}
	if c.cfg.OwnerOnly || m.View != c.view.Tag() || flowtable.Since(m.Stamp+m.Lease, now) <= 0 || flowtable.Since(now, m.Stamp) < 0 {
		return false
	}
	nh, _, ok := c.cfg.Router.Route(m.To.Dst)
	if !ok {
		c.stats.TakenFull++
		return false
	}
	slot, ok := c.forwardFor(from, m)
	if !ok {
		return false
	}
	flags := uint8(0)
	if m.Reply {
		flags = flowtable.FlowReply
	}
	err := c.table.Delegate(slot, flowtable.DelegationSlot{
		Flags: flags, SeqDelta: m.SeqDelta,
		To: flowtable.EndpointsOf(m.To), NextHop: nh, Iface: m.In, Lease: m.Stamp + m.Lease, View: m.View, LastSeen: now, ID: m.ID,
	})
	if err != nil {
		c.stats.TakenFull++
		return false
	}
	c.stats.Taken++
	l.hold(now)
	_, at := c.table.Delegation(slot)
	// The first report comes with the first pass that finds packets: so the owner knows
	// that it has begun.
	u, every := c.ending.useOf(at, now, 0), c.reportsEvery(m)
	*u = use{looked: now, reported: now + c.ageTicks() - uint32(every), process: m.Process, every: every, busy: true}
	return true
}

// forwardFor returns the forward entry that a delegation needs: the present one, if
// it says the same, or a new one. Packets that are steered by arithmetic have none.
func (c *Core) forwardFor(owner wire.NodeID, m *wire.Delegate) (slot uint32, ok bool) {
	if ref := c.table.Lookup(m.Key); ref != 0 {
		if !ref.IsForward() {
			return 0, false
		}
		f := c.table.Forward(ref.Slot())
		if wire.NodeID(f.Owner) == owner && f.Incarnation == c.incarnation(owner) && f.Gen == m.Gen {
			return ref.Slot(), f.Flags&flowtable.FlowDelegated == 0
		}
		if f.Gen > m.Gen && c.alive(wire.NodeID(f.Owner), f.Incarnation) {
			return 0, false
		}
	}
	c.installForward(m.Key, m.In, owner, m.Gen)
	ref := c.table.Lookup(m.Key)
	if ref == 0 {
		c.stats.TakenFull++
	}
	return ref.Slot(), ref != 0 && ref.IsForward()
}

// neverBegan tells an owner that nothing is, or will be, forwarded by a delegation
// that this node does not have.
func (c *Core) neverBegan(owner wire.NodeID, m *wire.Delegate) {
	c.ending.add(ended{endedKey: endedKey{m.Key, owner, m.ID}, life: c.incarnation(owner), rest: c.table.Rest(c.tick())})
}

// ageDelegation prolongs a delegation that is in use and reports on it, and ends one
// that is over.
func (c *Core) ageDelegation(forward uint32, f *flowtable.ForwardSlot, d *flowtable.DelegationSlot) {
	now, owner := c.tick(), wire.NodeID(f.Owner)
	if c.cfg.OwnerOnly || !d.InForce(now, c.view.Tag()) || !c.alive(owner, f.Incarnation) {
		c.endDelegation(forward)
		return
	}
	every := c.ageTicks()
	u := c.ending.useOf(f.Delegation, now, every)
	packets, _ := d.Counters()
	if flowtable.Since(now, u.looked) >= int32(every) { // a pass over a small table takes less
		u.busy = uint64(uint32(packets)-u.packets) >= c.cfg.LentAbove
		u.looked, u.packets = now, uint32(packets)
	}
	l := &c.lenders[owner]
	if u.busy { // else it ends by itself: to forward costs less
		l.hold(now)
		if l.renewed && u.process == l.process {
			c.prolong(forward, d, l.until)
		}
	}
	c.reportUse(f, d, u, owner)
}

// reportUse tells the owner of a delegation in use what it has forwarded, now and then.
// Who does not know who has granted it, or hears that its owner is not that process any
// more, asks as often as before whether it goes on.
func (c *Core) reportUse(f *flowtable.ForwardSlot, d *flowtable.DelegationSlot, u *use, owner wire.NodeID) {
	now, op, every := c.tick(), wire.ReportUse, uint32(u.every)
	if u.process == 0 || u.process != c.lenders[owner].process {
		op, every = wire.ReportRenew, c.ageTicks()
	}
	packets, _ := d.Counters()
	switch {
	case packets == 0 || flowtable.Since(now, u.reported) < int32(every):
		return
	case op == wire.ReportUse && flowtable.Since(d.SeenAt(), u.reported) < 0:
		return // no packet has come since
	case op == wire.ReportRenew && !u.busy:
		return
	}
	c.msg.report = c.reportOf(op, f.Key, d)
	if op == wire.ReportRenew {
		c.msg.report.Stamp = now
	}
	if c.tell(owner, &c.msg.report) {
		u.reported = now
	}
}

func (c *Core) reportOf(op wire.ReportOp, k packet.FlowKey, d *flowtable.DelegationSlot) wire.Report {
	r := wire.Report{Op: op, Key: k, ID: d.ID}
	r.Packets, r.Bytes = d.Counters()
	r.Idle = uint32(max(flowtable.Since(c.tick(), d.SeenAt()), 0))
	if k.Proto == packet.ProtoTCP {
		s := d.Sent()
		r.SeqEnd, r.Ack, r.Window = s.SeqEnd, s.Ack, s.Window
	}
	return r
}

// endDelegation takes the delegation of a forward entry out of force.
func (c *Core) endDelegation(forward uint32) {
	d, slot := c.table.Delegation(forward)
	if d == nil {
		return
	}
	f := c.table.Forward(forward)
	e := ended{endedKey: endedKey{f.Key, wire.NodeID(f.Owner), d.ID}, life: f.Incarnation, slot: slot}
	c.table.EndDelegation(forward)
	e.rest = c.table.Rest(c.tick())
	if at := d.SeenAt(); flowtable.Since(at, f.SeenAt()) > 0 {
		f.SetSeenAt(at)
	}
	if !c.ending.add(e) { // its number was used before, long ago
		c.table.FreeDelegation(slot)
	}
}

// tickEndings tells owners about what has ended, until they know.
func (c *Core) tickEndings() {
	e, now := &c.ending, c.tick()
	for range min(len(e.list), endingBatch) {
		if e.cursor >= len(e.list) {
			e.cursor = 0
		}
		x := &e.list[e.cursor]
		switch {
		case !c.alive(x.owner, x.life):
			c.forgetEnding(e.cursor)
			continue
		case x.told && flowtable.Since(now, x.sent) < int32(flowtable.TickOf(int64(tellAgain))):
		case !c.table.Rested(x.rest, now):
		default:
			c.msg.report = wire.Report{Op: wire.ReportEnd, Key: x.key, ID: x.id}
			if x.slot != 0 {
				c.msg.report = c.reportOf(wire.ReportEnd, x.key, c.table.DelegationAt(x.slot))
			}
			x.told, x.sent = true, now
			if c.emit(x.owner, &c.msg.report) != nil {
				x.told = false
				return // the link is backed up: the next tick goes on here
			}
		}
		e.cursor++
		if len(e.list) == 0 {
			return
		}
	}
}

// forgetEnding frees what an owner knows, or nobody asks for any more.
func (c *Core) forgetEnding(i int) {
	if slot := c.ending.list[i].slot; slot != 0 {
		c.table.FreeDelegation(slot)
	}
	c.ending.drop(i)
}

func (c *Core) forgetEndings() {
	for len(c.ending.list) > 0 {
		c.forgetEnding(len(c.ending.list) - 1)
	}
	c.ending.cursor = 0
}
