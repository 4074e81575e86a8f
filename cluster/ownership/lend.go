package ownership

import (
	"time"

	"cohort/ccl/wire"
	"cohort/flowtable"
	"cohort/packet"
)

// Delegation, on the owner's side (DESIGN 5). An established connection's owner lets
// the nodes where its packets enter forward them by themselves:
//
//	 owner O                                forwarder F
//	   | XDP marks where packets enter         |
//	   |-- delegate: offer ------------------->| has room?
//	   |<-------------- report: ask (stamp s) -|
//	   |-- delegate: grant (stamp s, lease L) >| forwards until s + L of its own clock
//	   |<------------- lease: ask (stamp) -----| twice a second, for all that O has lent to it
//	   |-- lease: renew (stamp) -------------->|
//	   |<------------- report: use (counters) -| every ten seconds while packets come
//	   |<------------- report: end (counters) -| revoked, or the lease is over
//	   |-- delegate: over -------------------->| forgets it
//
// Who begins is the owner and not the forwarder, because of return packets that are
// steered by arithmetic (FR6): the node that steers them has no entry that could
// count them.
//
// The lease begins when F asks, and O counts it from when it answers, which is
// later, and an eighth longer, for clocks that differ; so it is with every renewal
// (renewal.go). So O knows, whatever the link does, when nobody forwards by a
// delegation any more: at its end, or when F says so. Until then O does not let go of
// the connection and its translation (NT4). If it has to give it up at once (surrender,
// drain), the translation's tomb keeps the key for the settle time, which is longer than
// a lease (Config.Lease).
//
// Counters in reports are those since the grant, and O adds what is new to it. So a
// lost report costs nothing, and one that comes twice adds nothing. F keeps the last
// ones until O has said that it has them.
//
// What O knows of a delegation in use is as old as the last report, ten seconds or a
// quarter of the idle time, whichever is less (reportTicks). Nothing is decided by
// it: a time-out that seems to be due, and a reset, call for the last word of every
// delegate first (ageFlow, heldForReports). Should that never come, the idle time counts
// from when the delegate may have forwarded last (unheard).

// lent is a delegation that this node has granted.
type lent struct {
	packets, bytes uint64 // reported, and part of the flow's counters
	until          uint32 // tick: nobody forwards by it from then on, but see untilOf
	due            uint32 // tick: word of it has come before, or it is called back
	number         uint32 // of its revocation
	view           uint32 // tag of the view that it is bound to
	asked          uint32 // tick of the newest revocation
	slot           uint32 // of the flow
	next           uint32 // of the same flow, or of the free ones; 0 = none
	node           wire.NodeID
	life           uint8 // tag of the node's incarnation
	dir            uint8
	revoked        bool
	id             uint16
}

// lending is all that is lent, a list for every flow that has any. There are no
// pointers in it for the collector to follow.
type lending struct {
	list  []lent // from 1 on
	first map[uint32]uint32
	free  uint32
	n     int
	id    uint16
	blind bool   // a former process has lent what this one knows nothing of
	until uint32 // ... until then

	process uint32 // see Core.process
	to      [wire.MaxNodes]borrower
}

// init looks for what a former process has lent (a hitless restart).
func (l *lending) init(t *flowtable.Table) {
	l.list, l.first = make([]lent, 1), map[uint32]uint32{}
	t.ScanFlows(0, t.Slots(), func(_ uint32, f *flowtable.FlowSlot) bool {
		l.blind = l.blind || f.Flags&flowtable.FlowDelegated != 0
		return true
	})
}

func (l *lending) add(e lent) uint32 {
	i := l.free
	if i != 0 {
		l.free = l.list[i].next
	} else {
		l.list = append(l.list, lent{})
		i = uint32(len(l.list) - 1)
	}
	e.next = l.first[e.slot]
	l.list[i], l.first[e.slot] = e, i
	l.n++
	return i
}

// drop takes one out of the list of its flow.
func (l *lending) drop(i uint32) {
	e := &l.list[i]
	if l.first[e.slot] == i {
		if e.next == 0 {
			delete(l.first, e.slot)
		} else {
			l.first[e.slot] = e.next
		}
	} else {
		for j := l.first[e.slot]; j != 0; j = l.list[j].next {
			if l.list[j].next == i {
				l.list[j].next = e.next
				break
			}
		}
	}
	*e = lent{next: l.free}
	l.free = i
	l.n--
}

// find returns the delegation of a flow that a node knows by a number; 0 = none.
func (l *lending) find(slot uint32, dir int, node wire.NodeID, id uint16) uint32 {
	for i := l.first[slot]; i != 0; i = l.list[i].next {
		if e := &l.list[i]; e.node == node && int(e.dir) == dir && e.id == id {
			return i
		}
	}
	return 0
}

// has reports whether a direction of a flow is lent to a node.
func (l *lending) has(slot uint32, dir int, node wire.NodeID) bool {
	for i := l.first[slot]; i != 0; i = l.list[i].next {
		if e := &l.list[i]; e.node == node && int(e.dir) == dir {
			return true
		}
	}
	return false
}

// leaseTicks is the lease, and how long the owner counts it.
func (c *Core) leaseTicks() (lease, counted uint32) {
	lease = flowtable.TickOf(int64(c.cfg.Lease))
	return lease, lease + lease/8
}

// lendable reports whether parts of a connection may be lent: it is in the middle of
// its life, nobody has to look at its packets, and it would not time out before a
// lease does.
func (c *Core) lendable(f *flowtable.FlowSlot) bool {
	if c.cfg.OwnerOnly || f.Flags&(flowtable.FlowProvisional|flowtable.FlowPunt) != 0 || !c.remains(c.self) {
		return false
	}
	if lease, _ := c.leaseTicks(); flowtable.Ticks(uint32(f.Timeout)) < 2*lease {
		return false
	}
	switch f.Key[0].Proto {
	case packet.ProtoTCP:
		return flowtable.TCPState(f.State) == flowtable.TCPEstablished
	case packet.ProtoUDP:
		return !isMapping(f) && f.Timeout == c.cfg.Timeouts.UDPStream
	}
	return false
}

// lend is the pass of ageing over what is lent of a flow: it calls back what must
// not go on, forgets who is gone, and offers the flow to who has forwarded it.
func (c *Core) lend(slot uint32, f *flowtable.FlowSlot) {
	if f.Flags&flowtable.FlowDelegated != 0 {
		c.ageLent(slot, f)
	}
	for d := range f.Key {
		via := wire.NodeID(f.Via(d))
		if via == 0 || via == c.self || c.view.Member(via) == nil || !c.remains(via) || !c.lendable(f) || c.lending.has(slot, d, via) {
			continue
		}
		c.msg.delegate = wire.Delegate{Op: wire.DelegateOffer, Key: f.Key[d], Gen: f.Gen}
		c.tell(via, &c.msg.delegate)
	}
}

func (c *Core) ageLent(slot uint32, f *flowtable.FlowSlot) {
	now, tag, lendable := c.tick(), c.view.Tag(), c.lendable(f)
	for i := c.lending.first[slot]; i != 0; {
		e := &c.lending.list[i]
		next, over := e.next, c.lending.over(e, now)
		if over {
			c.unheard(e, f)
		}
		switch {
		case over && !c.alive(e.node, e.life):
			c.lending.drop(i) // what it has forwarded since its last report died with it
		case e.revoked && flowtable.Since(now, e.asked) < int32(flowtable.TickOf(int64(c.cfg.AgeEvery))):
		case over || flowtable.Since(now, e.due) >= 0 || e.revoked || !lendable || e.view != tag:
			c.callBack(e, f) // also what may never have begun: the grant was lost
		}
		i = next
	}
	c.markLent(slot, f)
}

// unheard is about a delegation that is over, of which the last word has not come: it
// may have been of use as long as it was in force, so the connection was not idle.
func (c *Core) unheard(e *lent, f *flowtable.FlowSlot) {
	_, counted := c.leaseTicks()
	if at := c.lending.untilOf(e) - counted; flowtable.Since(at, f.SeenAt(int(e.dir))) > 0 {
		f.SetSeenAt(int(e.dir), at)
	}
}

// callBack asks for the end of a delegation, or for word of it. Until that comes,
// ageing asks again.
func (c *Core) callBack(e *lent, f *flowtable.FlowSlot) {
	if e.asked = c.tick(); !e.revoked {
		c.lending.number(e, f.Key[e.dir])
	}
	c.msg.delegate = wire.Delegate{Op: wire.DelegateRevoke, Key: f.Key[e.dir], ID: e.id, Process: c.process(), Revoked: e.number}
	c.tell(e.node, &c.msg.delegate)
}

// revoke calls back all that is lent of a flow.
func (c *Core) revoke(slot uint32) {
	f := c.table.Flow(slot)
	if f.Flags&flowtable.FlowDelegated == 0 {
		return
	}
	for i := c.lending.first[slot]; i != 0; i = c.lending.list[i].next {
		if e := &c.lending.list[i]; !e.revoked {
			c.callBack(e, f)
		}
	}
}

// recall is revoke for a flow that goes at once: nobody waits for the reports. It
// says whether others may still forward for a while. The revocations are not settled
// before that is over (borrower).
func (c *Core) recall(slot uint32, f *flowtable.FlowSlot) (inForce bool) {
	if f.Flags&flowtable.FlowDelegated == 0 {
		return false
	}
	inForce = c.lentInForce(slot, f)
	for i := c.lending.first[slot]; i != 0; i = c.lending.first[slot] {
		if e := &c.lending.list[i]; c.view != nil && !e.revoked {
			c.callBack(e, f)
		}
		c.lending.drop(i)
	}
	return inForce
}

// lentInForce reports whether another node may forward something of a flow by
// itself at this moment.
func (c *Core) lentInForce(slot uint32, f *flowtable.FlowSlot) bool {
	if f.Flags&flowtable.FlowDelegated == 0 {
		return false
	}
	now := c.tick()
	if c.blindTo(now) {
		return true
	}
	for i := c.lending.first[slot]; i != 0; i = c.lending.list[i].next {
		if !c.lending.over(&c.lending.list[i], now) {
			return true
		}
	}
	return false
}

// blindTo reports whether delegations of a former process may still be in force.
func (c *Core) blindTo(now uint32) bool {
	l := &c.lending
	if !l.blind {
		return false
	}
	if l.until == 0 {
		_, counted := c.leaseTicks()
		l.until = max(now+counted, 1)
	}
	l.blind = flowtable.Since(now, l.until) < 0
	return l.blind
}

// markLent makes FlowDelegated say whether anything is lent. XDP hands resets of
// such a connection to Go.
func (c *Core) markLent(slot uint32, f *flowtable.FlowSlot) {
	flag := uint8(0)
	if c.lending.first[slot] != 0 || c.blindTo(c.tick()) && f.Flags&flowtable.FlowDelegated != 0 {
		flag = flowtable.FlowDelegated
	}
	if f.Flags&flowtable.FlowDelegated != flag {
		c.table.UpdateFlow(slot, func(f *flowtable.FlowSlot) { f.Flags = f.Flags&^flowtable.FlowDelegated | flag })
	}
}

// onReport is word from a node that forwards a direction of a flow, or wants to.
func (c *Core) onReport(from wire.NodeID, m *wire.Report) {
	ref, f := c.owning(m.Key)
	if m.Op == wire.ReportAsk {
		if ref != 0 && f.Gen == m.Gen && m.View == c.view.Tag() {
			c.grantDelegation(from, ref, f, m.Stamp)
		}
		return
	}
	i := uint32(0)
	if ref != 0 {
		i = c.lending.find(ref.Slot(), ref.Dir(), from, m.ID)
	}
	if i == 0 { // it went with its flow, or with a former process
		c.msg.delegate = wire.Delegate{Op: wire.DelegateRevoke, Key: m.Key, ID: m.ID}
		if m.Op == wire.ReportEnd {
			c.msg.delegate.Op = wire.DelegateOver
		}
		c.tell(from, &c.msg.delegate)
		return
	}
	e, slot := &c.lending.list[i], ref.Slot()
	c.addReport(e, f, m)
	if m.Op != wire.ReportEnd {
		c.goesOn(e, f, m)
		return
	}
	if x := c.lending.to[e.node].call(e.number); e.revoked && x != nil {
		x.done = true
	}
	c.lending.drop(i)
	c.markLent(slot, f)
	c.msg.delegate = wire.Delegate{Op: wire.DelegateOver, Key: m.Key, ID: m.ID}
	c.tell(from, &c.msg.delegate)
	k, _ := f.Key[0].Canonical()
	if w := c.pending.get(k); w != nil && w.kind == waitReports {
		c.settleReports(w)
	}
}

// addReport makes the flow know what others have forwarded of it.
func (c *Core) addReport(e *lent, f *flowtable.FlowSlot, m *wire.Report) {
	if m.Packets <= e.packets || m.Bytes < e.bytes {
		return
	}
	f.Add(int(e.dir), m.Packets-e.packets, m.Bytes-e.bytes)
	e.packets, e.bytes = m.Packets, m.Bytes
	at := c.tick() - m.Idle
	newest := flowtable.Since(at, f.SeenAt(int(e.dir))) > 0
	if newest {
		f.SetSeenAt(int(e.dir), at)
	}
	if m.Key.Proto == packet.ProtoTCP {
		f.Learn(int(e.dir), flowtable.TCPSent{SeqEnd: m.SeqEnd, Ack: m.Ack, Window: m.Window}, newest)
	}
}

// grantDelegation answers an ask. Who has one of this direction already will say
// that it has ended before it gets another.
func (c *Core) grantDelegation(to wire.NodeID, ref flowtable.Ref, f *flowtable.FlowSlot, stamp uint32) {
	l, slot, d := &c.lending, ref.Slot(), ref.Dir()
	if !c.lendable(f) || !c.remains(to) || to == c.self || l.has(slot, d, to) {
		return
	}
	if l.n >= c.cfg.MaxLent {
		c.stats.LentFull++
		return
	}
	lease, counted := c.leaseTicks()
	process, until := c.process(), c.tick()+counted
	l.id++
	e := lent{node: to, life: c.incarnation(to), slot: slot, dir: uint8(d), id: l.id, view: c.view.Tag(), until: until, due: until}
	c.msg.delegate = wire.Delegate{
		Op: wire.DelegateGrant, Key: f.Key[d], ID: e.id, Gen: f.Gen, View: e.view, Stamp: stamp, Lease: lease,
		In: f.Iface[d], To: f.Key[1-d].Reverse(), SeqDelta: f.SeqDelta, Reply: d == 1 && f.SeqDelta != 0,
		Every: c.reportTicks(f), Process: process, Revoked: l.to[to].revoked,
	}
	i := l.add(e)
	c.markLent(slot, f)
	if !c.tell(to, &c.msg.delegate) {
		l.drop(i)
		c.markLent(slot, f)
		return
	}
	c.stats.Lent++
}

// reportEvery is how old what an owner knows of a delegation in use may be. A report a
// second for each of a million would be more than their packets need.
const reportEvery = 10 * time.Second

// reportTicks is how often a delegate has to say what it has forwarded: more than once
// in the time that the connection may be idle.
func (c *Core) reportTicks(f *flowtable.FlowSlot) uint32 {
	return min(flowtable.TickOf(int64(reportEvery)), flowtable.Ticks(uint32(f.Timeout))/4)
}

// goesOn is about a delegation that is of use. It is renewed with all others of its node
// (renewAll); but a forwarder that was restarted does not know what it may so prolong.
func (c *Core) goesOn(e *lent, f *flowtable.FlowSlot, m *wire.Report) {
	if e.revoked || !c.lendable(f) || e.view != c.view.Tag() {
		c.callBack(e, f)
		return
	}
	now, every := c.tick(), c.reportTicks(f)
	lease, counted := c.leaseTicks()
	e.due = now + every + every/8 + 2*counted // the next report may be late, and clocks differ
	e.until = c.lending.untilOf(e)            // before it is too old to compare with: a connection may be lent for months
	if m.Op != wire.ReportRenew {
		return
	}
	if until := now + counted; flowtable.Since(until, e.until) > 0 {
		e.until = until
	}
	c.msg.delegate = wire.Delegate{
		Op: wire.DelegateRenew, Key: m.Key, ID: e.id, View: e.view, Stamp: m.Stamp, Lease: lease, Every: every, Process: c.process(),
	}
	c.tell(e.node, &c.msg.delegate)
}

// reportWait is how long a reset waits for reports. Delegates answer in a round trip.
const reportWait = 200 * time.Millisecond

// heldForReports lets two kinds of packets of a connection wait until nobody but
// this node forwards it: a reset, which is judged by what both sides have sent last
// (RFC 5961), and a SYN that begins another connection with the same ports, which
// may get another translation. A reset that has waited long enough is judged by what
// is known; a SYN is not let through before the leases are over.
func (c *Core) heldForReports(p *Packet, slot uint32, f *flowtable.FlowSlot) (v Verdict, held bool) {
	anew := p.Flags&(SYN|ACK|RST|FIN) == SYN && flowtable.TCPState(f.State) >= flowtable.TCPTimeWait
	if !anew && p.Flags&RST == 0 || !c.lentInForce(slot, f) {
		return v, false
	}
	if p.reported {
		if anew {
			return drop(ReasonOwnerTimeout), true
		}
		return v, false
	}
	c.revoke(slot)
	k, _ := f.Key[0].Canonical()
	w := c.pending.get(k)
	if w != nil && w.kind != waitReports {
		return drop(ReasonHoldLimit), true
	}
	p.reported = true
	if w != nil {
		return c.hold(w, p), true
	}
	if len(c.pending.byKey) >= c.cfg.MaxPending || !c.mayHold(p, waitReports) {
		return drop(ReasonHoldLimit), true
	}
	w = c.pending.add(k, waitReports)
	w.conn.Key, w.askedAt = f.Key[0], c.now
	w.deadline = c.now + int64(reportWait)
	if anew {
		w.deadline = c.now + int64(c.cfg.AnswerTimeout)
	}
	c.pending.keep(w, p)
	return Verdict{Op: OpHold}, true
}

// settleReports lets go of what waits for the end of delegations, if they have ended.
func (c *Core) settleReports(w *wait) {
	w.retryAt = 0
	if ref, f := c.owning(w.conn.Key); ref == 0 || !c.lentInForce(ref.Slot(), f) {
		c.answered(w)
	}
}

// tell sends what is said again when it does not arrive; so a link that is backed up
// is no reason to register everything anew.
func (c *Core) tell(to wire.NodeID, m wire.Message) bool {
	return c.view.Member(to) != nil && c.emit(to, m) == nil
}
