package ownership

import (
	"testing"

	"cohort/ccl/wire"
	"cohort/cluster/order"
	"cohort/flowtable"
	"cohort/packet"
	"cohort/policy"
)

// The short way of a Granted is that of the Grant that it stands for: whatever happens,
// the same messages are sent, the same packets pass, and flows and keys are the same.
func TestFR14_NothingTellsWhichWayAGrantedTook(t *testing.T) {
	short := 0
	for seed := range uint64(24) {
		one, _ := playTwice(t, seed, func(c *Core) {
			asIs := c.asIsFn
			c.asIsFn = func(from wire.NodeID, a *claimed, conn *wire.Conn) bool {
				ok := asIs(from, a, conn)
				if ok {
					short++
				}
				return ok
			}
		})
		two, _ := playTwice(t, seed, func(c *Core) {
			c.asIsFn = func(wire.NodeID, *claimed, *wire.Conn) bool { return false }
		})
		wantSame(t, seed, one, two)
	}
	if short < 40 {
		t.Errorf("%d took the short way", short)
	}
}

// A new connection whose director grants it at once costs one claim and its number.
func TestFR14_CL8_AClaimIsAnsweredByItsNumber(t *testing.T) {
	c, sent := joiningCluster(t, policy.Async, 1, 2)
	for i := range 20 {
		k := inside(1, packet.ProtoTCP)
		k.SrcPort += uint16(i)
		p := tcp(k, SYN)
		if at, v := c.at(1, p); v.Op != OpForward || at != 1 {
			t.Fatalf("%+v at %d", v, at)
		}
	}
	c.run(20 * ms)
	if sent[wire.TypeGranted] == 0 || sent[wire.TypeGranted] != sent[wire.TypeClaim] || sent[wire.TypeGrant] != 0 {
		t.Errorf("sent %v, want a number for each claim", sent)
	}
	n := c.nodes[1].core
	for _, a := range n.serials.asked {
		if a.serial != 0 {
			t.Errorf("claim %d is unanswered", a.serial)
		}
	}
}

// A number is an answer once, and only from who was asked.
func TestFR14_ANumberCountsOnceAndFromWhoWasAsked(t *testing.T) {
	c := newCluster(t, 1, 2, 3)
	k := c.keyDirectedBy(packet.ProtoTCP, 3)
	conn := c.provisional(1, k)
	n := c.nodes[1].core
	n.claim(c.slotAt(1, k), &conn, false)
	serial := n.serials.last
	for _, m := range []struct {
		from   wire.NodeID
		serial uint32
	}{{2, serial}, {3, serial + 1}, {3, 0}, {3, serial + uint32(len(n.serials.asked))}} {
		n.Message(c.now, m.from, &wire.Granted{Serial: m.serial})
		if !c.isProvisional(1, k) {
			t.Fatalf("number %d of node %d is taken for the answer of node 3 to claim %d", m.serial, m.from, serial)
		}
	}
	n.Message(c.now, 3, &wire.Granted{Serial: serial})
	if c.isProvisional(1, k) {
		t.Fatal("its own number is no answer")
	}
	// Another connection in the same slot, later: the number says nothing of it.
	n.remove(c.slotAt(1, k), false)
	c.run(1000 * ms)
	again := c.provisional(1, k)
	n.Message(c.now, 3, &wire.Granted{Serial: serial})
	if !c.isProvisional(1, again.Key) {
		t.Error("a number was an answer twice")
	}
}

// The claimant has become somebody else's forwarder, or the flow has gone, when the
// number comes: who granted it is told, as after a Grant.
func TestFR15_ANumberThatIsTooLateLeavesNoCopy(t *testing.T) {
	c := newCluster(t, 1, 2, 3)
	k := c.keyDirectedBy(packet.ProtoTCP, 3)
	conn := c.provisional(1, k)
	n := c.nodes[1].core
	n.claim(c.slotAt(1, k), &conn, false)
	c.run(150_000) // the claim is there, the number on its way
	c.wantCopy(k, 3, 1, 1)
	n.remove(c.slotAt(1, k), false)
	c.run(50 * ms)
	c.wantCopy(k, 0, 0, 0)
	c.wantNoOwner(k)
}

// A view has made another node the director meanwhile: it must hear of the connection,
// which who answers has from the view before.
func TestFR12_ANumberFromWhoIsNoDirectorAnyMore(t *testing.T) {
	c := newCluster(t, 1, 2, 3)
	c.boot(4)
	k := c.keyDirectedBy(packet.ProtoTCP, 3)
	for after := order.New(orderKey, c.viewOf(2, 2, 1, 2, 3, 4)); c.order().Director(k) != 3 || after.Director(k) != 4; {
		k.SrcPort++
	}
	conn := c.provisional(1, k)
	n := c.nodes[1].core
	n.claim(c.slotAt(1, k), &conn, false)
	serial := n.serials.last
	c.queue = c.queue[:0] // the claim has come before the view, the number comes after
	c.applyAt(c.viewOf(2, 2, 1, 2, 3, 4), 1)
	registered := 0
	n.cfg.Trace = func(_, to wire.NodeID, m wire.Message) {
		if m, ok := m.(*wire.Claim); ok && to == 4 && m.Reregister {
			registered++
		}
	}
	n.Message(c.now, 3, &wire.Granted{Serial: serial})
	if registered != 1 {
		t.Errorf("the new director was told %d times", registered)
	}
}

// More claims than are remembered: the oldest are claimed again, none is lost, and the
// memory is bounded.
func TestFR14_NumbersAreForgottenAndClaimedAgain(t *testing.T) {
	var s serials
	conn := wire.Conn{Gen: 1}
	for i := range uint32(3 * claimsKept) {
		conn.Gen = i
		if got := s.note(2, i, &conn); got != i+1 {
			t.Fatalf("number %d, want %d", got, i+1)
		}
	}
	if len(s.asked) != claimsKept {
		t.Fatalf("%d are remembered", len(s.asked))
	}
	for serial := uint32(1); serial <= 3*claimsKept; serial++ {
		a := s.of(2, serial)
		if (a != nil) != (serial > 2*claimsKept) || a != nil && a.conn.Gen != serial-1 {
			t.Fatalf("claim %d: %+v", serial, a)
		}
	}
	s = serials{last: wire.MaxSerial}
	if first := s.note(2, 0, &conn); first != 1 {
		t.Errorf("number %d comes after the largest, want 1: 0 says none", first)
	}
}

// isProvisional reports whether a node's claim of k has not been answered.
func (c *cluster) isProvisional(id wire.NodeID, k packet.FlowKey) bool {
	return c.flow(id, k).Flags&flowtable.FlowProvisional != 0
}
