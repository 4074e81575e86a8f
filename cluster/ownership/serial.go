package ownership

import (
	"time"

	"cohort/ccl/wire"
	"cohort/flowtable"
)

// A director answers most claims with yes, just as they were put, and at once. It says
// so by the claim's number (wire.Granted), which spares both ends what a Grant repeats:
// the connection on the link, and the search for it here.
//
// Nothing depends on it. A Granted stands for the Grant that says the same, and what is
// not as plain as that takes that way. A claim for which there is no room here has no
// number, and its answer is a Grant.

// claimsKept is how many claims are remembered at most, a power of two. More may be
// unanswered: those that wait are bounded by Config.MaxPending, provisional flows are not.
const claimsKept = 1 << 14

// claimKept is how long a claim is remembered that no number answers: what was answered
// by key, or by nobody. Answers that are later than that are no link's.
const claimKept = 10 * time.Second

// serials remembers what was claimed, by number, in pointer-free memory that grows to
// the most that was remembered at a time, 64 bytes each.
type serials struct {
	last  uint32
	asked []claimed // a power of two
}

// claimed is what a Granted needs to know of a claim.
type claimed struct {
	serial uint32 // 0 = answered, or never used
	at     uint32 // tick
	slot   uint32 // of the provisional flow; 0: it waits for the answer
	to     wire.NodeID
	conn   wire.Conn
}

// note remembers a claim and returns its number, 0 if there is no room.
func (s *serials) note(now uint32, to wire.NodeID, slot uint32, conn *wire.Conn) uint32 {
	if s.last++; s.last > wire.MaxSerial {
		s.last = 1
	}
	a := s.at(s.last)
	for a == nil || a.kept(now) {
		if len(s.asked) >= claimsKept {
			return 0
		}
		s.grow()
		a = s.at(s.last)
	}
	*a = claimed{s.last, now, slot, to, *conn}
	return s.last
}

func (a *claimed) kept(now uint32) bool {
	return a.serial != 0 && flowtable.Since(now, a.at) < int32(flowtable.TickOf(int64(claimKept)))
}

// at returns the place of a number, nil while there is none.
func (s *serials) at(serial uint32) *claimed {
	if len(s.asked) == 0 {
		return nil
	}
	return &s.asked[serial&uint32(len(s.asked)-1)]
}

func (s *serials) grow() {
	old := s.asked
	s.asked = make([]claimed, max(2*len(old), 64))
	for i := range old {
		if old[i].serial != 0 {
			*s.at(old[i].serial) = old[i]
		}
	}
}

// of returns the claim with this number that from was asked; nil if that is not known,
// or answered.
func (s *serials) of(from wire.NodeID, serial uint32) *claimed {
	if a := s.at(serial); a != nil && serial != 0 && a.serial == serial && a.to == from {
		return a
	}
	return nil
}

// sendClaim sends the claim of a new connection to another node. slot is that of its
// provisional flow, 0 if it has none.
func (c *Core) sendClaim(director wire.NodeID, slot uint32, conn *wire.Conn) (sent bool) {
	m := &c.msg.claim
	*m = wire.Claim{Conn: *conn}
	if director != c.self {
		m.Conn.Bound = c.bindsAt(director, conn)
		m.Serial = c.serials.note(c.tick(), director, slot, &m.Conn)
	}
	return c.send(director, m)
}

// grantClaim answers a claim that is kept as it was put.
func (c *Core) grantClaim(to wire.NodeID, conn *wire.Conn, asked, serial uint32) {
	if serial == 0 || conn.Gen != asked {
		c.grant(to, *conn, false)
		return
	}
	c.msg.granted = wire.Granted{Serial: serial, Bound: conn.Bound}
	c.send(to, &c.msg.granted)
}

// onGranted is onGrant for a claim that was granted as it was put.
func (c *Core) onGranted(from wire.NodeID, m *wire.Granted) {
	a := c.serials.of(from, m.Serial)
	if a == nil {
		return
	}
	a.serial = 0
	a.conn.Bound, a.conn.SeqDelta = m.Bound, 0 // as in a Grant
	if !c.asIsFn(from, a) {
		c.onGrant(from, a.conn, false)
	}
}

// asIs is the short way of a Granted; false: it must take that of a Grant.
type asIs func(from wire.NodeID, a *claimed) bool

// grantedAsIs is what onGrant comes to when nothing has happened since the claim: the
// same flow, and both keys lead to the granter still. False: it may not be so.
func (c *Core) grantedAsIs(from wire.NodeID, a *claimed) bool {
	conn := &a.conn // until others are claimed
	if a.slot == 0 || conn.Flags&(wire.ConnSync|wire.ConnMapped) != 0 {
		return false
	}
	const provisional = flowtable.FlowLive | flowtable.FlowProvisional
	f := c.table.Flow(a.slot)
	if f.Flags&provisional != provisional || f.Gen != conn.Gen || f.Key[0] != conn.Key || f.Key[1] != conn.ReplyKey() {
		return false
	}
	k, _ := conn.Key.Canonical()
	if c.director(k) != from || conn.Translated() && !(conn.Bound && c.bindsAt(from, conn)) {
		return false
	}
	// No stub of it can be here: its port is of a unit of this node, which has chosen it.
	c.table.UpdateFlow(a.slot, func(f *flowtable.FlowSlot) {
		f.Flags &^= flowtable.FlowProvisional | flowtable.FlowPunt
		if c.unproven(f) {
			f.Flags |= flowtable.FlowPunt
		}
		if conn.Bound {
			f.Stub = uint8(from)
		}
	})
	c.forgetCopy(k) // the copy is never at the owner (FR3)
	c.catchUp(f)
	if w := c.pending.get(k); w != nil {
		c.answered(w)
	}
	if w := c.pending.aliased(k); w != nil {
		c.answered(w)
	}
	return true
}

// ExpectGranted is Expect for a Granted.
func (c *Core) ExpectGranted(serial uint32) {
	if a := c.serials.at(serial); a != nil && a.serial == serial && a.slot != 0 {
		c.table.ExpectSlot(a.slot)
		c.dir.Expect(a.conn.Key)
	}
}
