package ownership

import (
	"cohort/ccl/wire"
	"cohort/flowtable"
	"cohort/packet"
)

// The lease of all that one node has lent to another (DESIGN 5). A forwarder F asks
// an owner O twice a second, and the answer is good for every delegation between the
// two, whatever their number:
//
//	 forwarder F                                        owner O
//	   |-- lease: ask (stamp s, settled) ---------------->| until s' + L + L/8 of its own clock
//	   |<------ lease: renew (stamp s, revoked, settled) -| counts all that it has not revoked
//	   | has carried out all these revocations?
//	   | then the leases go on until s + L
//
// A renewal names no delegation, so it must not prolong one that O has revoked, and
// of which F has not heard: the link delivers in order, but a channel that starts over
// loses what was on its way. So O numbers its revocations for each node, from 1 on, and
// a renewal says how many there were. F renews nothing before it has carried out every
// one of them. If one is lost, O repeats it with its number, and F says with each ask up to
// which it has them all; what has ended since, by F's word or by the clock, O counts as
// settled, so that F need not wait for it.
//
// Why this is exact. Let F prolong a delegation by an answer that O made at time a. O
// has granted it: F takes only those of the process that answers, which the grant names
// (a former process of O knew of others). O had not revoked it by then, or F would have
// carried that out. So O had it on its list at a, and counts until a + L + L/8, or it
// was granted after a, and O counts from then; F stops at s + L, and s was before a. An
// answer that comes late, twice or out of order is worth the same: its stamp is old.
// The clocks may differ by an eighth.
//
// F writes leases while its ageing walks over the delegations, and of those alone by
// which packets go: the others end by themselves.

// borrower is a node to which this one has lent something: what is said about all of it.
type borrower struct {
	calls   []call // revocations that are not settled, oldest first; one for each number
	revoked uint32 // number of the newest
	said    uint32 // ... in the last renewal
	until   uint32 // tick: what is not revoked may be in force until then ...
	renewed bool   // ... if anything was renewed
}

// call is a revocation, for as long as it may not have arrived.
type call struct {
	key   packet.FlowKey
	until uint32 // tick: nobody forwards by the delegation from then on
	id    uint16
	done  bool // its receiver has said so
}

// settled is the number up to which all revocations are settled.
func (b *borrower) settled() uint32 { return b.revoked - uint32(len(b.calls)) }

// call returns the revocation with a number; nil if it is settled.
func (b *borrower) call(number uint32) *call {
	i := int32(number - b.settled() - 1)
	if i < 0 || int(i) >= len(b.calls) {
		return nil
	}
	return &b.calls[i]
}

// settle forgets what has ended, in order.
func (b *borrower) settle(now uint32) {
	n := 0
	for n < len(b.calls) && (b.calls[n].done || flowtable.Since(now, b.calls[n].until) >= 0) {
		n++
	}
	if b.calls = b.calls[n:]; len(b.calls) == 0 {
		b.calls = nil
	}
	b.renewed = b.renewed && flowtable.Since(now, b.until) < 0
}

// number gives the revocation of e its number, and notes until when e is in force:
// no renewal from now on is one of e.
func (l *lending) number(e *lent, key packet.FlowKey) {
	b := &l.to[e.node]
	e.until = l.untilOf(e)
	e.revoked = true
	b.revoked++
	e.number = b.revoked
	b.calls = append(b.calls, call{key: key, until: e.until, id: e.id})
}

// untilOf is the tick from which on nobody forwards by e.
func (l *lending) untilOf(e *lent) uint32 {
	if b := &l.to[e.node]; !e.revoked && b.renewed && flowtable.Since(b.until, e.until) > 0 {
		return b.until
	}
	return e.until
}

func (l *lending) over(e *lent, now uint32) bool { return flowtable.Since(now, l.untilOf(e)) >= 0 }

// process is the tag of this process among all that have had this table: the tick of
// its first delegation. None is 0.
func (c *Core) process() uint32 {
	l := &c.lending
	if l.process == 0 {
		l.process = max(c.tick(), 1)
		l.id = uint16(l.process)
	}
	return l.process
}

// lender is an owner from whom this node has delegations.
type lender struct {
	process  uint32              // of the owner, that all else is about; 0 = not known yet
	settled  uint32              // all revocations up to this one have been carried out
	newest   uint32              // number of the newest one of which this node knows
	early    map[uint32]struct{} // those after settled that have been carried out
	until    uint32              // tick: what that process has granted may be renewed until then ...
	held     uint32              // tick of the last look at a delegation that is in use
	asked    uint32              // tick of the newest ask
	answered uint32              // stamp of the newest answer
	life     uint8               // tag of the owner's incarnation
	renewed  bool                // ... if an answer has come
	holds    bool
	waits    bool // for an answer, or one that can be used
	asks     bool // it has asked: asked and answered count
}

// maxEarly is how many revocations are known by number while one before them is missing.
// Who forgets one renews nothing until its owner calls it settled.
const maxEarly = 1 << 16

// lenderOf returns what is known of a process of an owner. Of two the one that spoke
// last counts.
func (c *Core) lenderOf(owner wire.NodeID, process uint32) *lender {
	l := &c.lenders[owner]
	if life := c.incarnation(owner); l.process != process || l.life != life {
		l.process, l.life, l.renewed = process, life, false
		l.settled, l.newest, l.early = 0, 0, nil
	}
	return l
}

// carried notes that a revocation has been carried out.
func (l *lender) carried(number uint32) {
	if int32(number-l.newest) > 0 {
		l.newest = number
	}
	switch d := int32(number - l.settled); {
	case d <= 0:
	case d == 1:
		l.settled = number
		l.advance()
	case len(l.early) < maxEarly:
		if l.early == nil {
			l.early = map[uint32]struct{}{}
		}
		l.early[number] = struct{}{}
	}
}

// settle notes that of all revocations up to this one nothing is in force.
func (l *lender) settle(number uint32) {
	if int32(number-l.newest) > 0 {
		l.newest = number
	}
	if int32(number-l.settled) <= 0 {
		return
	}
	l.settled = number
	for n := range l.early {
		if int32(n-number) <= 0 {
			delete(l.early, n)
		}
	}
	l.advance()
}

func (l *lender) advance() {
	for len(l.early) > 0 {
		if _, known := l.early[l.settled+1]; !known {
			return
		}
		l.settled++
		delete(l.early, l.settled)
	}
	l.early = nil
}

// hold notes that a delegation of an owner is in use.
func (l *lender) hold(now uint32) { l.held, l.holds = now, true }

// tickLeases asks for renewals, and forgets times before they are too old to compare.
func (c *Core) tickLeases() {
	now := c.tick()
	every, lease := int32(flowtable.TickOf(int64(c.cfg.AgeEvery))), flowtable.TickOf(int64(c.cfg.Lease))
	for id := range c.lenders {
		c.lending.to[id].settle(now)
		l := &c.lenders[id]
		if l.holds && flowtable.Since(now, l.held) > int32(lease) {
			l.holds, l.asks, l.waits, l.renewed = false, false, false, false
		}
		if !l.holds || c.view.Member(wire.NodeID(id)) == nil {
			continue
		}
		// Ageing writes an answer with its next pass, and with the one after that the next
		// answer must be there, although an ask, or an answer, was lost.
		if since := flowtable.Since(now, l.asked); l.asks && since < every/2 && (!l.waits || since < every/4) {
			continue
		}
		l.asked, l.waits = now, true
		if !l.asks {
			l.asks, l.answered = true, now-1
		}
		c.msg.lease = wire.Lease{Op: wire.LeaseAsk, View: c.view.Tag(), Stamp: now, Process: l.process, Settled: l.settled}
		c.tell(wire.NodeID(id), &c.msg.lease)
	}
}

// onLease is word about all that is delegated between this node and another.
func (c *Core) onLease(from wire.NodeID, m *wire.Lease) {
	if from == c.self || m.View != c.view.Tag() {
		return
	}
	if m.Op == wire.LeaseAsk {
		c.renewAll(from, m)
	} else {
		c.onRenewal(from, m)
	}
}

// repeatCalls is how many revocations that may have been lost are repeated at once. For
// what is still on the owner's list ageing does that too.
const repeatCalls = 256

// renewAll is the owner's answer: all that it has lent to a node and not revoked goes on.
func (c *Core) renewAll(to wire.NodeID, m *wire.Lease) {
	now, process, b := c.tick(), c.process(), &c.lending.to[to]
	lease, counted := c.leaseTicks()
	b.settle(now)
	if m.Process == process {
		c.repeat(to, b, m.Settled)
	}
	b.until, b.renewed, b.said = now+counted, true, b.revoked // before it is sent, and whether it is or not
	c.msg.lease = wire.Lease{
		Op: wire.LeaseRenew, View: c.view.Tag(), Stamp: m.Stamp, Process: process,
		Settled: b.settled(), Revoked: b.revoked, Lease: lease,
	}
	c.tell(to, &c.msg.lease)
}

// repeat sends again what the asker has not carried out, although it was sent before the
// last renewal: it did not arrive.
func (c *Core) repeat(to wire.NodeID, b *borrower, settled uint32) {
	from := settled - b.settled()
	if int32(from) < 0 {
		from = 0
	}
	for i, n := int(from), 0; i < len(b.calls) && n < repeatCalls; i++ {
		x, number := &b.calls[i], b.settled()+1+uint32(i)
		if int32(number-b.said) > 0 {
			return // it may be on its way
		}
		if x.done {
			continue
		}
		n++
		c.msg.delegate = wire.Delegate{Op: wire.DelegateRevoke, Key: x.key, ID: x.id, Process: c.process(), Revoked: number}
		c.tell(to, &c.msg.delegate)
	}
}

// onRenewal lets ageing prolong what an owner has granted.
func (c *Core) onRenewal(from wire.NodeID, m *wire.Lease) {
	if l := &c.lenders[from]; !l.asks || flowtable.Since(m.Stamp, l.answered) <= 0 || flowtable.Since(l.asked, m.Stamp) < 0 {
		return // not asked for, or not any more
	}
	l := c.lenderOf(from, m.Process)
	l.answered = m.Stamp
	l.settle(m.Settled)
	if int32(m.Revoked-l.settled) > 0 {
		c.stats.Unrenewed++
		return
	}
	l.until, l.renewed, l.waits = m.Stamp+m.Lease, true, false
}
