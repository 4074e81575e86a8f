package ownership

import (
	"time"

	"cohort/ccl/wire"
	"cohort/flowtable"
	"cohort/packet"
)

// ageing walks the tables, one round per AgeEvery. Each tick owes a part of every
// table, which is paid by slices.
type ageing struct {
	flows, forwards, copies, stubs walk
	round                          uint32 // passes over all flows

	// A pass over copies of living owners, of which none went, with nothing else in it and
	// nothing decided by anybody meanwhile, leaves nothing for the next one to find. That
	// takes eight rounds then.
	calm, stirred bool // of the pass before, of the one under way
	ticks         uint32
}

// calmRounds is how many rounds a pass over copies takes while nothing changes.
const calmRounds = 8

// stir has every copy looked at in one round again.
func (a *ageing) stir() { a.calm, a.stirred = false, true }

// walk is where ageing is in one table.
type walk struct {
	cursor uint32
	owed   int // entries
}

// pay lets scan look at a slice of what is owed. The end of a round ends that too: who
// is late owes no second one.
func (w *walk) pay(slice int, scan func(from uint32, n int) (next uint32)) (ended bool) {
	n := min(w.owed, slice)
	if n == 0 {
		return false
	}
	w.owed -= n
	if w.cursor = scan(w.cursor, n); w.cursor == 0 {
		w.owed = 0
	}
	return w.cursor == 0
}

// reclaim is after how long an unanswered claim is repeated.
const reclaimAfter = 250 * time.Millisecond

// Tick advances time: it expires questions, ages a slice of every table and
// carries a re-registration on. Call it every TickEvery, and Work after it.
func (c *Core) Tick(now int64) {
	c.now = now
	c.table.Reclaim(c.tick())
	if c.view == nil {
		return
	}
	c.tickExposed()
	c.tickSync()
	c.tickDrain()
	c.tickPending()
	c.tickParked()
	c.recentSync()
	a := &c.ageing
	a.flows.owed += c.share(c.table.Slots())
	a.forwards.owed += c.share(c.table.ForwardSlots())
	if !c.handedOver() {
		a.stir() // what belongs elsewhere may not go yet
	}
	if a.ticks++; !a.calm || a.ticks%calmRounds == 0 {
		a.copies.owed += c.share(c.dir.Slots())
	}
	if c.cfg.NAT != nil {
		a.stubs.owed += c.share(c.cfg.Stubs.Slots())
	}
	c.ageFlows()
	c.ageForwards()
	c.tickEndings()
	c.tickLeases()
	c.ageCopies()
	c.ageStubs()
}

// Work goes on with what the last Tick has left to do, a slice of everything, and
// reports whether something is left. Call it between packets until nothing is: ageing
// and re-registration of large tables come to a standstill without it.
func (c *Core) Work(now int64) (more bool) {
	c.now = now
	if c.view == nil {
		return false
	}
	c.stepSync()
	c.ageFlows()
	c.ageForwards()
	c.ageCopies()
	c.ageStubs()
	a := &c.ageing
	return c.sync.walking() && c.sync.budget > 0 || a.flows.owed+a.forwards.owed+a.copies.owed+a.stubs.owed > 0
}

// Times in ticks compare within 26 days (flowtable.Since), and a view, a connection
// or a cut can last longer. So what is kept for longer than horizon is moved up to
// where it still compares, and still is older than whatever it is compared with.
var horizon = [2]uint32{flowtable.Ticks(25 * 86400), flowtable.Ticks(24 * 86400)}

// recent returns t, or the oldest time that is told from others if t is older. To
// be called for every t that is kept, more often than once a day.
func recent(now, t uint32) uint32 {
	if flowtable.Since(now, t) > int32(horizon[0]) {
		return now - horizon[1]
	}
	return t
}

// recentSync is recent for what is kept of views and rounds.
func (c *Core) recentSync() {
	now, s := c.tick(), &c.sync
	s.viewAt, s.cleanAt, s.backAt = recent(now, s.viewAt), recent(now, s.cleanAt), recent(now, s.backAt)
	for i, t := range s.begun {
		if t != 0 {
			s.begun[i] = max(recent(now, t), 1)
		}
	}
	for i, t := range s.sweep { // done long ago
		if t != 0 && flowtable.Since(now, t) > int32(flowtable.Ticks(3600)) {
			s.sweep[i] = 0
		}
	}
}

// recentFlow is recent for a flow: it may be old, and one side of it silent.
func (c *Core) recentFlow(slot uint32, f *flowtable.FlowSlot, now uint32) {
	if t := recent(now, f.Created); t != f.Created {
		c.table.UpdateFlow(slot, func(f *flowtable.FlowSlot) { f.Created = t })
	}
	for d := range f.LastSeen {
		if at := f.SeenAt(d); recent(now, at) != at {
			f.SetSeenAt(d, recent(now, at))
		}
	}
}

// share is how many of n slots one tick has to visit.
func (c *Core) share(n int) int {
	return n*int(c.cfg.TickEvery)/int(c.cfg.AgeEvery) + 1
}

func (c *Core) ageFlows() {
	if c.ageing.flows.pay(c.cfg.Slice, c.scanFlows) {
		c.ageing.round++
		c.exposed.passed(c.now)
	}
}

func (c *Core) scanFlows(from uint32, n int) (next uint32) {
	c.expectEnds(from, n)
	return c.table.ScanFlows(from, n, c.ageFlowFn)
}

func (c *Core) ageFlow(slot uint32, f *flowtable.FlowSlot) bool {
	now := c.tick()
	c.recentFlow(slot, f, now)
	c.note(slot, f)
	c.lend(slot, f)
	switch {
	case f.Expired(now) && c.lentInForce(slot, f):
		c.revoke(slot) // they may have seen more than they have reported
	case f.Expired(now) && flowtable.TCPState(f.State) < flowtable.TCPTimeWait && c.reuniting():
		// What comes next, to whatever node, is led here.
	case f.Expired(now):
		c.closeFlow(slot)
		return true
	case f.Flags&flowtable.FlowProvisional != 0 && flowtable.Since(now, f.Created) > int32(flowtable.TickOf(int64(reclaimAfter))):
		c.claimAgain(slot, f)
		if f.Flags&flowtable.FlowLive == 0 {
			return true // another owns it
		}
	}
	c.count(f)
	if c.renews(slot) {
		c.renewMapping(f)
	}
	return true
}

// claimAgain repeats the claim of a flow whose owner this node is only as far
// as it knows. A node that has become the director of such a flow meanwhile
// decides by what the owners have registered.
func (c *Core) claimAgain(slot uint32, f *flowtable.FlowSlot) {
	conn := c.connOf(f)
	k, _ := conn.Key.Canonical()
	if c.director(k) != c.self {
		c.claim(slot, &conn, false)
		return
	}
	if !c.complete(k) {
		return
	}
	if e, known := c.copyOf(k); known {
		owner, live := wire.NodeID(e.Owner()), c.ownerLives(e)
		if live && owner != c.self && e.Gen() >= conn.Gen {
			c.surrender(c.table.Lookup(conn.Key), owner, e.Gen())
			return
		}
		if !live && e.Flags()&wire.ConnNoCopy == 0 && !begunAnew(&conn, e) {
			// Its owner has died: go on with that, and with its translation.
			adopted := c.connOfCopy(e)
			adopted.Gen = max(conn.Gen, e.Gen()+1)
			c.onGrant(c.self, adopted, true)
			return
		}
		conn.Gen = max(conn.Gen, e.Gen()+1)
	}
	c.onGrant(c.self, conn, false)
}

// note applies the FINs and resets that the fast path forwarded and flagged,
// and the first answer of a UDP responder.
func (c *Core) note(slot uint32, f *flowtable.FlowSlot) {
	state := flowtable.TCPState(f.State)
	switch {
	case isMapping(f), c.unproven(f):
	case state != flowtable.TCPNone:
		seen := [2]uint8{f.SeenFlags(0), f.SeenFlags(1)}
		if next := flowtable.Observe(state, seen); next != state {
			c.setState(slot, f, next)
		} else if state == flowtable.TCPClosed && (seen[0]|seen[1])&RST != 0 {
			f.Forget() // reset again
		}
	case f.Key[0].Proto == packet.ProtoUDP && f.Timeout < c.cfg.Timeouts.UDPStream:
		if packets, _ := f.Counters(1); packets != 0 {
			c.bothWays(slot)
		}
	}
}

func (c *Core) ageForwards() {
	c.ageing.forwards.pay(c.cfg.Slice, c.scanForwards)
}

func (c *Core) scanForwards(from uint32, n int) (next uint32) {
	return c.table.ScanForwards(from, n, c.ageForwardFn)
}

func (c *Core) ageForward(slot uint32, f *flowtable.ForwardSlot) bool {
	seen := f.SeenAt()
	if d, _ := c.table.Delegation(slot); d != nil {
		if at := d.SeenAt(); flowtable.Since(at, seen) > 0 {
			seen = at
		}
		c.ageDelegation(slot, f, d)
	}
	idle := int32(flowtable.TickOf(int64(c.cfg.ForwardIdle)))
	if flowtable.Since(c.tick(), seen) > idle || !c.alive(wire.NodeID(f.Owner), f.Incarnation) {
		c.removeForward(slot)
	}
	return true
}

// ageCopies drops director and backup entries that no longer belong here. An
// entry of a living owner has no timer of its own: the owner's Close ends it.
func (c *Core) ageCopies() {
	if a := &c.ageing; a.copies.pay(c.cfg.Slice, c.scanCopies) {
		a.calm, a.stirred = !a.stirred, false
	}
}

func (c *Core) scanCopies(from uint32, n int) (next uint32) { return c.dir.Scan(from, n, c.ageCopyFn) }

// belongs reports whether a copy or a stub, kept where the order of k says, is
// to stay. One whose owner has
// died becomes an orphan.
func (c *Core) belongs(e flowtable.Entry, k packet.FlowKey) bool {
	now := c.tick()
	if owner := wire.NodeID(e.Owner()); c.ownerLives(e) {
		if c.handedOver() && c.unconfirmed(e) {
			return false
		}
		return !c.handedOver() || c.backup(k, owner) == c.self
	}
	if c.void(e, k) {
		return false
	}
	if !isOrphan(e) {
		e.SetFlags(e.Flags() | wire.ConnOrphan)
		e.SetConfirmed(now) // its time starts now
	}
	if c.handedOver() && c.director(k) != c.self {
		return false
	}
	return uint32(flowtable.Since(now, e.Confirmed())) < flowtable.Ticks(uint32(c.orphanTime(e)))
}

// orphanTime is how long an orphan is kept. A copy says "handshake" of what has been
// established since: its owner died, or was fenced, before it could tell. So that has
// the longer transitory time (four minutes, RFC 5382, REQ-5), within which TCP tries
// again, and not the short one of a handshake that its owner watches.
func (c *Core) orphanTime(e flowtable.Entry) uint16 {
	if e.Key().Unpack().Proto == packet.ProtoTCP && e.Timeout() == c.cfg.Timeouts.TCPSyn {
		return max(e.Timeout(), c.cfg.Timeouts.TCPHalfClosed)
	}
	return e.Timeout()
}

// void reports whether a copy, or a stub, is of a connection that had ended when
// its owner's last full round did: it belonged here then, and the round did not
// confirm it. It is swept a while later (belongs); until then, and should the
// owner die, it is not what anybody goes on from (NT4). Of a copy that belonged
// elsewhere nothing can be said: it may be the last one.
func (c *Core) void(e flowtable.Entry, k packet.FlowKey) bool {
	s, owner := &c.sync, wire.NodeID(e.Owner())
	round := s.swept[owner]
	if round.order == nil || round.life != e.Incarnation() {
		return false
	}
	// An orphan is from a view that its last owner was not in: any round of the
	// present one comes after that, whenever the orphan came here.
	back := isOrphan(e) && round.order == c.order && c.alive(owner, e.Incarnation()) && !c.crossing(e)
	if !back && !c.unconfirmed(e) {
		return false
	}
	if _, inUnit := c.unitOf(k); inUnit { // who comes first there is known of the present view only
		return round.order == c.order && c.backup(k, owner) == c.self
	}
	return round.order.Backup(k, owner) == c.self
}

// unconfirmed reports whether its owner's last full round has passed a copy over.
// The round knows nothing of a grant that crossed it: the owner confirms that when
// it arrives, which may be as late as a packet waits for it.
func (c *Core) unconfirmed(e flowtable.Entry) bool {
	sweep := c.sync.sweep[e.Owner()]
	if sweep == 0 || flowtable.Since(e.Confirmed(), sweep) >= 0 {
		return false
	}
	return !c.crossing(e)
}

// crossing reports whether a grant of what a copy is of may still be on its way.
func (c *Core) crossing(e flowtable.Entry) bool {
	wait := int32(flowtable.TickOf(int64(c.cfg.AnswerTimeout + c.cfg.ParkTime)))
	return e.Flags()&wire.ConnGranted != 0 && flowtable.Since(c.tick(), e.Confirmed()) <= wait
}

// copyOf returns the copy of a connection, of which k is the canonical key.
func (c *Core) copyOf(k packet.FlowKey) (flowtable.Entry, bool) {
	e, known := c.dir.Get(k)
	if known && c.void(e, k) {
		c.forgetCopy(k)
		return flowtable.Entry{}, false
	}
	return e, known
}

// handedOver reports whether copies that belong elsewhere may go. They stay a
// while after everybody has registered: the new holder may be dead already, or
// its copy still on the way, and nobody else has one.
func (c *Core) handedOver() bool {
	s := &c.sync
	return s.clean && s.step == syncIdle &&
		flowtable.Since(c.tick(), s.viewAt) > int32(flowtable.TickOf(int64(c.cfg.SettleTime)))
}
