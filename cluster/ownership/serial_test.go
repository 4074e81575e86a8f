package ownership

import (
	"testing"
	"time"

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
			c.asIsFn = func(from wire.NodeID, a *claimed) bool {
				ok := asIs(from, a)
				if ok {
					short++
				}
				return ok
			}
		})
		two, _ := playTwice(t, seed, func(c *Core) {
			c.asIsFn = func(wire.NodeID, *claimed) bool { return false }
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

// More claims than are remembered have no answer for a while. Those beyond are answered by
// key: all are granted, what waits leaves, and nothing is claimed again and again.
func TestFR14_MoreUnansweredClaimsThanNumbers(t *testing.T) {
	c := newBareCluster(t)
	c.size = 1 << 16
	for id := range wire.NodeID(3) {
		c.boot(id + 1)
	}
	c.apply(1, 1, 1, 2, 3)
	c.run(50 * ms)
	c.delay = func() int64 { return 120 * ms }
	n := c.nodes[1].core
	var keys []packet.FlowKey
	k := packet.FlowKey{Src: packet.Addr{10, 0, 0, 1}, Dst: packet.Addr{192, 0, 2, 1}, SrcPort: 1024, DstPort: 80, Proto: packet.ProtoUDP}
	for c.order().Director(k) != 3 {
		k.SrcPort++
	}
	p := udp(k)
	p.Handle = 77
	if v := n.Packet(c.now, &p); v.Op != OpHold {
		t.Fatalf("%+v", v)
	}
	k.Proto = packet.ProtoTCP
	for len(keys) < claimsKept+1000 {
		if k.SrcPort++; k.SrcPort == 0 {
			k.Src[3]++
		}
		if c.order().Director(k) == 1 {
			continue
		}
		keys = append(keys, k)
		if p := tcp(k, SYN); n.Packet(c.now, &p).Op != OpForward {
			t.Fatalf("%v is not opened", k)
		}
	}
	c.run(1000 * ms)
	if v := c.nodes[1].released[77]; v.Op != OpForward {
		t.Errorf("what waited is released with %+v", v)
	}
	for _, k := range keys {
		if c.isProvisional(1, k) {
			t.Fatalf("%v is provisional still", k)
		}
	}
	if got := len(n.serials.asked); got != claimsKept {
		t.Errorf("%d are remembered: nothing is tested", got)
	}
}

// What is answered by key is remembered for a while and then no more.
func TestFR14_NumbersAreForgotten(t *testing.T) {
	var s serials
	conn := wire.Conn{Gen: 1}
	second := flowtable.TickOf(int64(time.Second))
	for i := range uint32(claimsKept) {
		conn.Gen = i
		if got := s.note(second, 2, i, &conn); got != i+1 {
			t.Fatalf("number %d, want %d", got, i+1)
		}
	}
	for serial := range uint32(claimsKept) {
		if a := s.of(2, serial+1); a == nil || a.conn.Gen != serial {
			t.Fatalf("claim %d: %+v", serial+1, a)
		}
	}
	if got := s.note(9*second, 2, 0, &conn); got != 0 {
		t.Errorf("number %d has no room", got)
	}
	s.of(2, 2).serial = 0 // answered
	if got := s.note(9*second, 2, 0, &conn); got != claimsKept+2 {
		t.Errorf("number %d, want %d, whose place is free", got, claimsKept+2)
	}
	if got := s.note(12*second, 2, 0, &conn); got != claimsKept+3 || len(s.asked) != claimsKept {
		t.Errorf("number %d in %d places, want that of one that is forgotten", got, len(s.asked))
	}
	s = serials{last: wire.MaxSerial}
	if first := s.note(second, 2, 0, &conn); first != 1 {
		t.Errorf("number %d comes after the largest, want 1: 0 says none", first)
	}
}

// A claim that is answered by its number makes no garbage, whether a flow waits for the
// answer or a packet.
func TestGrantedByNumberAllocatesNothing(t *testing.T) {
	n, q, k := alone(t)
	c := n.core
	now := n.c.now
	g := &wire.Granted{}
	held := udp(k)
	wantNoAllocations(t, "claim, granted and close of a UDP connection", func() {
		now += ms
		c.table.Reclaim(flowtable.TickOf(now))
		held.asked = 0
		if v := c.Packet(now, &held); v.Op != OpHold || q.last != wire.TypeClaim {
			t.Fatalf("%+v", v)
		}
		g.Serial = c.serials.last
		c.Message(now, 2, g)
		if v := c.Packet(now, &held); v.Op != OpForward {
			t.Fatalf("%+v", v)
		}
		c.closeFlow(c.table.Lookup(k).Slot())
	})
	if raceEnabled {
		return // functions that are inlined otherwise escape there, those of UpdateFlow too
	}
	opening := tcp(n.c.keyDirectedBy(packet.ProtoTCP, 2), SYN)
	wantNoAllocations(t, "the same of a TCP connection", func() {
		now += ms
		c.table.Reclaim(flowtable.TickOf(now))
		p := opening
		if v := c.Packet(now, &p); v.Op != OpForward {
			t.Fatalf("%+v", v)
		}
		g.Serial = c.serials.last
		c.Message(now, 2, g)
		slot := c.table.Lookup(p.Key).Slot()
		if c.table.Flow(slot).Flags&flowtable.FlowProvisional != 0 {
			t.Fatal("it is provisional still")
		}
		c.closeFlow(slot)
	})
}

// isProvisional reports whether a node's claim of k has not been answered.
func (c *cluster) isProvisional(id wire.NodeID, k packet.FlowKey) bool {
	return c.flow(id, k).Flags&flowtable.FlowProvisional != 0
}
