package ownership

import (
	"math/bits"

	"cohort/ccl/wire"
	"cohort/cluster/order"
	"cohort/flowtable"
	"cohort/packet"
)

// nodeSet is a set of node ids.
type nodeSet uint64

func (s nodeSet) has(id wire.NodeID) bool { return s>>id&1 != 0 }
func (s *nodeSet) add(id wire.NodeID)     { *s |= 1 << id }
func (s *nodeSet) del(id wire.NodeID)     { *s &^= 1 << id }
func (s nodeSet) len() int                { return bits.OnesCount64(uint64(s)) }

// resync brings the copies to where a new view wants them. A round has three
// steps: wait until every member has applied the view, so that nobody
// misplaces what we send; register what moved; say Synced. As a director it
// also waits for everybody else's Synced before it believes that a connection
// it does not know does not exist.
type resync struct {
	step   syncStep
	full   bool // this round confirms every connection
	again  bool // a full round is wanted after this one
	cursor uint32
	budget int    // entries that this tick may still look at
	gate   int64  // start registering at the latest
	fullAt int64  // when the newest full round began
	viewAt uint32 // tick of the view's application
	backAt uint32 // tick of the last view with somebody in it who had been beyond a cut
	back   bool   // there was one, a short while ago
	// confirmAt begins the next round that nothing has asked for. What a cut
	// link and views that crossed each other left in the wrong place ends with
	// it: copies nobody confirms are forgotten, missing ones are made.
	confirmAt int64

	applied [64]uint32   // newest view tag that a member said it applied
	ended   [64]uint32   // newest view tag that a member finished registering for
	begun   [64]uint32   // tick after the member's SyncFullBegin, 0 = none
	sweep   [64]uint32   // copies of this owner confirmed before are void, 0 = none
	swept   [64]lastFull // the round that sweep is of
	base    *order.Order // order for which everything we own is registered
	baseOf  *wire.View
	before  *order.Order // the base before that, of another view

	waiting  nodeSet      // members whose Synced we miss as a director
	joined   nodeSet      // of these, members that the last complete view did not have
	deadline int64        // stop waiting
	whole    *order.Order // order in which we heard everybody
	wholeOf  *wire.View
	missing  nodeSet // members that had not ended their round at the deadline
	clean    bool    // everybody has registered: what is out of place may go
	cleanAt  uint32  // tick since when
}

// lastFull is a full round of a member that has come to its end.
type lastFull struct {
	order *order.Order // of the view that it was for
	life  uint8        // tag of the member's incarnation
}

type syncStep uint8

const (
	syncIdle syncStep = iota
	syncGate
	syncFlows
	syncCopies
	syncStubs
)

// wantFull asks for a full round: something may not have been delivered.
func (s *resync) wantFull() { s.again = true }

// ApplyView makes v the membership; self is this node's id in it. Forward
// entries of nodes that left die by their incarnation, open questions are put
// to the new directors, and owned connections are registered where the new
// order wants them (FR12).
func (c *Core) ApplyView(now int64, v *wire.View, self wire.NodeID) {
	c.now = now
	last := c.view
	c.view, c.self = v, self
	c.order = order.New(c.cfg.OrderKey, v)
	c.exposed.members(v, self)
	s := &c.sync
	if s.step != syncIdle || s.base == nil || v.Epoch != last.Epoch+1 || v.Term != last.Term {
		// Flows may be registered for a view in between; or there was one that
		// this node never saw, in which the others took it for dead. A new term
		// may come after such a view on the other side of a partition, even
		// when the epochs follow each other.
		s.full = true
	}
	s.step, s.cursor, s.viewAt = syncGate, 0, c.tick()
	s.gate = now + int64(c.cfg.SettleTime)/4
	s.waiting, s.joined, s.missing, s.clean = 0, 0, 0, false
	s.deadline = now + int64(c.cfg.SettleTime)
	tag := v.Tag()
	for i := range v.Members {
		m := &v.Members[i]
		if m.ID == self {
			continue
		}
		if s.ended[m.ID] != tag {
			s.waiting.add(m.ID)
			if !sameLife(s.wholeOf, m) {
				s.joined.add(m.ID)
			}
		}
	}
	c.reunite(last, v)
	c.meet(v)
	c.broadcast(wire.SyncApplied)
	c.settleIfHeard()
	c.reaskAll()
	c.tickSync()
}

// reunite notes that a view has a member that the last one had not, in a life that is
// known here: it, or this node, was beyond a cut.
func (c *Core) reunite(last, v *wire.View) {
	for i := range v.Members {
		m := &v.Members[i]
		if m.ID != c.self && c.lives[m.ID] == m.Incarnation && !sameLife(last, m) {
			c.sync.back, c.sync.backAt = true, c.tick()
			return
		}
	}
}

// reuniting reports whether the sides of a cut still put together what each of them
// knows. Until they have, silence here says nothing: the packets of a connection may
// have met the other side, and the owner there gives way to this one, or its
// forwarders are not told yet who owns it.
func (c *Core) reuniting() bool {
	s := &c.sync
	s.back = s.back && flowtable.Since(c.tick(), s.backAt) <= int32(flowtable.TickOf(int64(c.cfg.SettleTime)))
	return s.back
}

// meet notes the incarnations of a view. Entries carry only the tag of one: a
// node whose new life has the tag of its former one, one time in 256, would be
// taken for the owner of what died with that.
func (c *Core) meet(v *wire.View) {
	for i := range v.Members {
		m := &v.Members[i]
		old := c.lives[m.ID]
		c.lives[m.ID] = m.Incarnation
		if old != 0 && old != m.Incarnation && old.Tag() == m.Incarnation.Tag() {
			c.bury(m.ID)
		}
	}
}

// bury makes orphans of a former life's connections and drops the forward
// entries to it.
func (c *Core) bury(id wire.NodeID) {
	all := int(^uint(0) >> 1)
	c.dir.Scan(0, all, func(e flowtable.Entry) bool {
		if wire.NodeID(e.Owner()) == id {
			if !isOrphan(e) {
				e.SetConfirmed(c.tick())
			}
			e.SetOwner(uint8(nobody), 0)
			e.SetFlags(e.Flags() | wire.ConnOrphan)
		}
		return true
	})
	c.table.ScanForwards(0, all, func(slot uint32, f *flowtable.ForwardSlot) bool {
		if wire.NodeID(f.Owner) == id {
			c.removeForward(slot)
		}
		return true
	})
}

// Fence takes the node out: nothing is forwarded, held packets are dropped.
// Owned flows stay until Reset or until a later view shows who owns them now.
func (c *Core) Fence(now int64) {
	c.now = now
	c.view = nil
	for w := c.pending.list.First(); w != nil; w = c.pending.list.First() {
		c.pending.take(w)
		for i := range w.held {
			c.out.Release(w.held[i].Handle, drop(ReasonFenced))
		}
		w.unheard = w.away
		c.done(w)
	}
	for s := c.parked.list.First(); s != nil; s = c.parked.list.First() {
		c.parked.take(s)
		c.parked.free = append(c.parked.free, s)
	}
	c.sync = resync{}
}

// Reset is Fence for a node that others may have replaced: everything it knew
// about connections is void.
func (c *Core) Reset(now int64) {
	c.Fence(now)
	all := int(^uint(0) >> 1)
	c.table.ScanFlows(0, all, func(slot uint32, _ *flowtable.FlowSlot) bool {
		c.remove(slot, true)
		return true
	})
	c.table.ScanForwards(0, all, func(slot uint32, _ *flowtable.ForwardSlot) bool {
		c.table.RemoveForward(slot) // with its delegation, of which nobody is told
		return true
	})
	c.forgetEndings()
	c.resetStubs()
	c.dir.Scan(0, all, func(flowtable.Entry) bool { return false })
}

// PeerReset says that messages to and from a member were lost for good: its
// channel started over. Everything is confirmed again, by a round that begins
// after the loss, and open questions are repeated.
func (c *Core) PeerReset() {
	s := &c.sync
	if s.step == syncFlows || s.step == syncCopies || s.step == syncStubs {
		s.step, s.full, s.cursor = syncGate, true, 0
	} else {
		s.wantFull()
	}
	for w := c.pending.list.First(); w != nil; w = w.at.Next() {
		w.retryAt = max(c.now, 1)
	}
}

func sameLife(v *wire.View, m *wire.Member) bool {
	o := v.Member(m.ID)
	return o != nil && o.Incarnation == m.Incarnation
}

func (c *Core) broadcast(p wire.SyncPhase) {
	for i := range c.view.Members {
		if id := c.view.Members[i].ID; id != c.self {
			c.tellSynced(id, p)
		}
	}
}

func (c *Core) tellSynced(to wire.NodeID, p wire.SyncPhase) {
	c.msg.synced = wire.Synced{View: c.view.Tag(), Phase: p}
	if c.emit(to, &c.msg.synced) != nil {
		c.sync.wantFull()
	}
}

// onSynced notes how far a member is. It may speak of a view that this node
// has not applied yet.
func (c *Core) onSynced(from wire.NodeID, tag uint32, p wire.SyncPhase) {
	if from >= wire.MaxNodes {
		return
	}
	s := &c.sync
	switch p {
	case wire.SyncApplied:
		s.applied[from] = tag
	case wire.SyncFullBegin:
		// Later than anything confirmed until now, even in this very tick or in
		// an earlier bracket of it. Store moves what follows on as well.
		begun := c.tick()
		if old := s.begun[from]; old != 0 && flowtable.Since(old, begun) > 0 {
			begun = old
		}
		s.begun[from] = begun + 1
	case wire.SyncFullEnd, wire.SyncEnd:
		s.applied[from], s.ended[from] = tag, tag
		if p == wire.SyncFullEnd && s.begun[from] != 0 {
			s.sweep[from], s.swept[from] = s.begun[from], lastFull{}
			c.ageing.stir()
			if c.view != nil && tag == c.view.Tag() {
				s.swept[from] = lastFull{c.order, c.incarnation(from)}
			}
		}
		if c.view != nil && tag == c.view.Tag() {
			s.waiting.del(from)
			if s.missing != 0 {
				s.missing.del(from)
				if s.missing == 0 && !s.clean {
					s.clean, s.cleanAt = true, c.tick()
					c.toldSettled()
				}
			}
			c.settleIfHeard()
		}
	}
}

// settleIfHeard ends the director's wait when every owner has re-registered.
func (c *Core) settleIfHeard() {
	if s := &c.sync; s.waiting == 0 && s.wholeOf != c.view {
		c.settle(true)
	}
}

func (c *Core) settle(clean bool) {
	s := &c.sync
	if !clean {
		s.missing = s.waiting
	}
	s.waiting, s.joined, s.clean, s.cleanAt = 0, 0, clean, c.tick()
	s.whole, s.wholeOf = c.order, c.view
	c.reopenClaims()
	c.hurryParked()
	if clean {
		c.toldSettled()
	}
}

func (c *Core) toldSettled() {
	if c.cfg.Settled != nil {
		c.cfg.Settled()
	}
}

// complete reports whether this director knows every connection that hashes to
// it: everybody has re-registered, or nothing about this key has moved.
func (c *Core) complete(k packet.FlowKey) bool {
	s := &c.sync
	if s.waiting == 0 {
		return true
	}
	if unit, ok := c.unitOf(k); ok {
		// Who holds a unit has been told of everything in it all the time.
		return s.joined == 0 && c.cfg.NAT.Holds(unit)
	}
	// What was in a unit before was registered elsewhere.
	return s.joined == 0 && s.whole != nil && s.whole.Director(k) == c.self && !c.former(k)
}

// tickSync runs the round a step further. It sends a bounded number of
// messages and stops where the link is backed up.
func (c *Core) tickSync() {
	s := &c.sync
	if c.view == nil {
		return
	}
	if s.waiting != 0 && c.now >= s.deadline {
		c.settle(false)
	}
	if s.step == syncIdle && c.now >= s.confirmAt {
		s.again = true
	}
	if s.step == syncIdle && s.again {
		s.step, s.full, s.again, s.cursor = syncGate, true, false, 0
		s.gate = c.now + int64(c.cfg.SettleTime)/4
	}
	if s.step == syncGate {
		if c.now < s.gate && !c.everybodyApplied() {
			return
		}
		if !c.beginRound() {
			return
		}
		s.step, s.cursor = syncFlows, 0
	}
	s.budget = batch
	c.stepSync()
}

// walking reports whether tables are being walked.
func (s *resync) walking() bool { return s.step >= syncFlows }

// slice is how many entries the next step may look at.
func (s *resync) slice(most int) int {
	n := min(s.budget, most)
	s.budget -= n
	return n
}

// blocked ends the tick's part: the link is backed up.
func (s *resync) blocked() (ended bool) {
	s.budget = 0
	return false
}

// stepSync carries the walk of the tables on, for a slice of each.
func (c *Core) stepSync() {
	s := &c.sync
	if !s.walking() || s.budget == 0 {
		return
	}
	if s.step == syncFlows && c.registerFlows() {
		s.step, s.cursor = syncCopies, 0
	}
	if s.step == syncCopies && c.handOver() {
		s.step, s.cursor = syncStubs, 0
	}
	if s.step == syncStubs && c.handOverStubs() {
		if c.cfg.RoundEnds != nil && !c.cfg.RoundEnds() {
			s.blocked() // the stubs again
			return
		}
		c.endRound()
	}
}

func (c *Core) everybodyApplied() bool {
	tag := c.view.Tag()
	for i := range c.view.Members {
		if id := c.view.Members[i].ID; id != c.self && c.sync.applied[id] != tag {
			return false
		}
	}
	return true
}

// resent reports whether this round sends a member everything that belongs
// there: every round does so to one that joined. It may have been a member of
// another side, with copies of what we have closed since.
func (c *Core) resent(m *wire.Member) bool {
	return c.sync.full || !sameLife(c.sync.baseOf, m)
}

// beginRound tells everybody; false: the link is backed up, and it has to wait.
func (c *Core) beginRound() bool {
	if c.cfg.Round != nil && !c.cfg.Round() {
		return false
	}
	for i := range c.view.Members {
		if m := &c.view.Members[i]; m.ID != c.self && c.resent(m) {
			c.sync.fullAt = c.now
			c.tellSynced(m.ID, wire.SyncFullBegin)
		}
	}
	return true
}

func (c *Core) endRound() {
	s := &c.sync
	for i := range c.view.Members {
		m := &c.view.Members[i]
		switch {
		case m.ID == c.self:
		case c.resent(m):
			c.tellSynced(m.ID, wire.SyncFullEnd)
		default:
			c.tellSynced(m.ID, wire.SyncEnd)
		}
	}
	s.step, s.full = syncIdle, false
	if s.base != c.order {
		s.before = s.base
	}
	s.base, s.baseOf = c.order, c.view
	s.confirmAt = c.now + int64(c.cfg.ConfirmEvery)
	if !c.everybodyApplied() {
		// Who had not applied the view yet did not take us for a member.
		s.again = true
	}
}

// batch is how many entries one tick may look at, by slices: a million flows are
// walked in half a second (FR12).
const batch = 20480

// registerFlows sends what the new order places elsewhere; true at the end.
func (c *Core) registerFlows() bool {
	s := &c.sync
	blocked := false
	next := c.table.ScanFlows(s.cursor, s.slice(c.cfg.Slice), func(slot uint32, f *flowtable.FlowSlot) bool {
		k, _ := f.Key[0].Canonical()
		if !c.registerStub(slot, f) {
			blocked, s.cursor = true, slot
			return false
		}
		holder := c.backup(k, c.self)
		provisional := f.Flags&flowtable.FlowProvisional != 0 // its director may want to hear the claim again: outdated
		if holder == 0 || !s.full && !provisional && c.stays(k, holder) || c.undecided(k, f) {
			return true
		}
		conn := c.connOf(f)
		sent := c.trySend(k, &conn, holder, !provisional)
		if c.told(f, holder, sent); !sent {
			blocked, s.cursor = true, slot
			return false
		}
		c.stats.Reregister++
		return true
	})
	if blocked {
		return s.blocked()
	}
	s.cursor = next
	return next == 0
}

// stays reports whether the holder of k's copy already has it.
func (c *Core) stays(k packet.FlowKey, holder wire.NodeID) bool {
	s := &c.sync
	m := c.view.Member(holder)
	if _, ok := c.unitOf(k); ok {
		return false // units change hands between views: say it again
	}
	return s.base.Backup(k, c.self) == holder && m != nil && sameLife(s.baseOf, m)
}

// trySend registers without giving up the round when the link is backed up. A
// connection that no director has granted yet is claimed, not registered: a
// director that owns it too would give way to a registration, and may have told
// this node the opposite in answer to the claim before.
func (c *Core) trySend(k packet.FlowKey, conn *wire.Conn, holder wire.NodeID, granted bool) bool {
	if holder == c.director(k) {
		c.msg.claim = wire.Claim{Conn: *conn, Reregister: granted}
		return c.emit(holder, &c.msg.claim) == nil
	}
	if conn.Flags&wire.ConnNoCopy != 0 {
		return true
	}
	c.msg.update = wire.Update{Conn: *conn}
	return c.emit(holder, &c.msg.update) == nil
}

// handOver gives copies of dead owners' connections to their new director;
// true at the end.
func (c *Core) handOver() bool {
	s := &c.sync
	blocked := false
	next := c.dir.Scan(s.cursor, s.slice(c.cfg.Slice), func(e flowtable.Entry) bool {
		k, _ := e.Key().Canonical()
		if blocked || c.ownerLives(e) {
			return true
		}
		if c.void(e, k) {
			if e.Joined() {
				reply, _ := e.Other()
				blocked = !c.handOverStub(e, e.Key().Unpack(), reply)
			}
			return true
		}
		if blocked = !c.bindCopy(e); blocked {
			return true
		}
		if d := c.director(k); d != c.self && d != 0 {
			conn := c.connOfCopy(e)
			conn.Flags |= wire.ConnOrphan
			c.msg.update = wire.Update{Conn: conn, Last: lastOwner(e)}
			blocked = c.emit(d, &c.msg.update) != nil
		}
		return true
	})
	if blocked {
		return s.blocked() // the slice again: the receiver ignores what it has
	}
	s.cursor = next
	return next == 0
}
