package ownership

import (
	"testing"

	"cohort/ccl/wire"
	"cohort/flowtable"
	"cohort/packet"
)

// public is the address of testNAT's only pool: 62 units of 1024 ports, unit u
// held by node u % 4 + 1, and a static mapping of it in testNAT.static.
var public = packet.Addr{198, 51, 100, 1}

// testNAT translates what goes from the inside to 192.0.2.0/24, and by mappings
// what goes to 193.0.0.0/8.
type testNAT struct {
	self  wire.NodeID
	core  func() *Core
	alive func(wire.NodeID) bool
	next  uint16
	uses  map[packet.FlowKey]int
	fixed packet.Addr // what goes out leaves with this address, and its own port
	short bool        // pretends that no node has a port
	wait  bool        // pretends that a unit is on its way
	open  bool        // mappings let anybody in
	apart bool        // a node is missing
	held  int         // releases with hold-down
	gone  bool        // a reload took the address away
	most  int         // connections from outside through a mapping
	full  int         // packets refused for want of a port
	joins bool        // prefers ports whose second keys go where the copy goes
}

func (n *testNAT) Destination(_ uint8, k packet.FlowKey) (packet.FlowKey, bool) {
	return k, k.Dst != public
}

func (n *testNAT) Source(_ int64, in, _ uint8, k, to packet.FlowKey, near wire.NodeID, taken func(packet.FlowKey) bool) (packet.FlowKey, bool, Reason) {
	if in != 1 || to.Dst[0] != 192 {
		return k.Reverse(), false, ReasonNone
	}
	if n.fixed != (packet.Addr{}) {
		reply := to.Reverse()
		reply.Dst = n.fixed
		return reply, false, ReasonNone
	}
	if n.wait {
		return packet.FlowKey{}, false, ReasonWait
	}
	if n.short || n.gone {
		return packet.FlowKey{}, false, ReasonNATPorts
	}
	reply := to.Reverse()
	reply.Dst = public
	for range 64 << 10 {
		n.next++
		reply.DstPort = n.next
		if u, ok := n.Unit(reply); ok && n.Holds(u) && !taken(reply) {
			if _, keeper, _ := n.Order(u); n.joins && near != 0 && keeper != near {
				continue
			}
			return reply, true, ReasonNone
		}
	}
	return packet.FlowKey{}, false, ReasonNATPorts
}

func (n *testNAT) Refused() { n.full++ }

func (n *testNAT) Apart() bool { return n.apart }

func (n *testNAT) Use(k packet.FlowKey) { n.uses[k]++ }
func (n *testNAT) Release(_ int64, k packet.FlowKey, hold bool) {
	if hold {
		n.held++
	}
	if n.uses[k]--; n.uses[k] == 0 {
		delete(n.uses, k)
	}
	if n.uses[k] < 0 {
		panic("released more often than used")
	}
}

func (n *testNAT) Unit(k packet.FlowKey) (int, bool) {
	return int(k.DstPort)>>10 - 1, k.Dst == public && k.DstPort >= 1024 && !n.gone
}

func (n *testNAT) Former(k packet.FlowKey) bool {
	return n.gone && (k.Dst == public || k.Src == public)
}
func (n *testNAT) Stands(packet.FlowKey) bool { return !n.gone }

func (n *testNAT) Translates(in, out uint8, _ packet.FlowKey) bool { return in == 1 && out == 2 }

func (n *testNAT) Mapping(in, _ uint8, k, to packet.FlowKey) (packet.FlowKey, uint8, bool) {
	flags := uint8(0)
	if n.open {
		flags = wire.ConnOpen
	}
	return packet.FlowKey{Src: k.Src, SrcPort: k.SrcPort, Proto: k.Proto}, flags, in == 1 && to.Dst[0] == 193
}

func (n *testNAT) Map(now int64, in, out uint8, k, to packet.FlowKey, near wire.NodeID, taken func(packet.FlowKey) bool) (packet.FlowKey, Reason) {
	to.Dst, to.DstPort = packet.Addr{192}, 0
	reply, _, r := n.Source(now, in, out, k, to, near, func(k packet.FlowKey) bool { m, _ := n.Mapped(k); return taken(m) })
	reply, _ = n.Mapped(reply)
	return reply, r
}

func (n *testNAT) Mapped(k packet.FlowKey) (packet.FlowKey, bool) {
	return packet.FlowKey{Dst: k.Dst, DstPort: k.DstPort, Proto: k.Proto}, k.Dst == public && !n.gone
}

func (n *testNAT) MaxInbound(packet.FlowKey) int { return n.most }

func (n *testNAT) holder(u int) wire.NodeID { return wire.NodeID(u%4 + 1) }
func (n *testNAT) Holds(u int) bool         { return n.holder(u) == n.self }

func (n *testNAT) Order(u int) (a, b, c wire.NodeID) {
	b, c = n.core().order.Two(packet.FlowKey{Dst: public, DstPort: uint16(u), SrcPort: 1})
	if h := n.holder(u); n.alive(h) {
		return h, b, c
	}
	return b, c, 0
}

// A node that has no port for a new connection still carries those that exist: a
// packet of another node's UDP flow is not refused as if it began one. What does
// begin one is refused by name, every packet of it.
func TestNT3_WithoutAPortExistingConnectionsGoOn(t *testing.T) {
	for _, proto := range []uint8{packet.ProtoUDP, packet.ProtoTCP} {
		c := natCluster(t, 1, 2, 3, 4)
		k := inside(1, proto)
		open, data := udp(k), udp(k)
		if proto == packet.ProtoTCP {
			open, data = tcp(k, SYN), tcp(k, ACK)
		}
		_, v := c.at(1, open)
		wantForward(t, v)
		c.run(20 * ms)
		for id := wire.NodeID(2); id <= 4; id++ {
			c.nodes[id].fake.short = true
			at, v := c.at(id, data)
			if wantForward(t, v); at != 1 {
				t.Fatalf("node %d forwards what node 1 owns", at)
			}
		}
		first, again := udp(inside(2, proto)), udp(inside(2, proto))
		if proto == packet.ProtoTCP {
			first, again = tcp(first.Key, SYN), tcp(first.Key, SYN)
		}
		again.Handle = 1000
		for range 4 {
			p := again
			if v := c.nodes[2].core.Packet(c.now, &p); v.Op != OpHold {
				c.nodes[2].Release(p.Handle, v)
			}
			again.Handle++
			c.run(30 * ms)
		}
		_, v = c.at(2, first)
		wantDrop(t, v, ReasonNATPorts)
		for h := Handle(1000); h < 1004; h++ {
			wantDrop(t, c.nodes[2].released[h], ReasonNATPorts)
		}
		if got := c.nodes[2].fake.full; got != 5 {
			t.Errorf("%d packets counted as refused, want 5", got)
		}
	}
}

// With a static translation the node that keeps a connection's second key would
// take a repeated SYN for another connection that wants the same tuple.
func TestFR14_ARepeatedSYNIsNoConflictWithItself(t *testing.T) {
	c := natCluster(t, 1, 2, 3, 4)
	k := packet.FlowKey{Src: packet.Addr{10, 0, 0, 1}, Dst: packet.Addr{192, 0, 2, 1}, SrcPort: 2000, DstPort: 80, Proto: packet.ProtoTCP}
	for _, n := range c.nodes {
		n.fake.fixed = packet.Addr{198, 51, 100, 80}
	}
	_, v := c.at(1, tcp(k, SYN))
	wantForward(t, v)
	c.run(20 * ms)
	reply := c.reply(k)
	for id := wire.NodeID(2); id <= 4; id++ {
		if _, stub := c.nodes[id].core.stub(reply); !stub {
			continue
		}
		at, v := c.at(id, tcp(k, SYN))
		if wantForward(t, v); at != 1 {
			t.Fatalf("node %d forwards what node 1 owns", at)
		}
		other := k
		other.Src = packet.Addr{10, 0, 0, 2}
		_, v = c.at(id, tcp(other, SYN))
		wantDrop(t, v, ReasonNATConflict)
		return
	}
	t.Fatal("no node keeps the second key")
}

// Owner and holder of the second key die at once, the copy is left. The second key
// stays in use, where the survivors look for it: else its unit would thaw, and the
// port would be another one's when somebody takes over from the copy.
func TestNT4_ACopyKeepsTheSecondKeyInUse(t *testing.T) {
	for port := byte(1); port < 40; port++ {
		c := natCluster(t, 1, 2, 3, 4)
		k := inside(port, packet.ProtoUDP)
		c.at(1, udp(k))
		c.run(20 * ms)
		reply := c.reply(k)
		stub, copied := c.nodes[1].core.backup(reply, 1), c.nodes[1].core.backup(k, 1)
		if stub == copied {
			continue
		}
		c.kill(1)
		c.kill(stub)
		var left []wire.NodeID
		for id := wire.NodeID(2); id <= 4; id++ {
			if id != stub {
				left = append(left, id)
			}
		}
		c.apply(1, 2, left...)
		c.run(100 * ms)
		first := c.nodes[left[0]].core.director(reply)
		if n := c.nodes[first]; !n.core.bound(reply) || n.fake.uses[reply] != 1 {
			t.Fatalf("node %d, which is asked for %v, does not know it: uses %v", first, reply, n.fake.uses)
		}
		_, v := c.at(left[1], udp(reply))
		if wantForward(t, v); c.reply(k) != reply {
			t.Fatalf("it goes on as %v", c.reply(k))
		}
		return
	}
	t.Fatal("copy and stub are always at one node")
}

// natCluster is newCluster whose nodes translate.
func natCluster(t *testing.T, ids ...wire.NodeID) *cluster {
	c := newBareCluster(t)
	c.nat = true
	for _, id := range ids {
		c.boot(id)
	}
	c.apply(1, 1, ids...)
	c.run(50 * ms)
	return c
}

// reply returns the second key of k at its owner.
func (c *cluster) reply(k packet.FlowKey) packet.FlowKey {
	c.t.Helper()
	r := c.flow(c.oneOwner(k), k).Key[1]
	if r == k.Reverse() {
		c.t.Fatalf("%v is not translated", k)
	}
	return r
}

// wantStub fails unless node at, and no other, has a stub of k1 that names owner.
func (c *cluster) wantStub(k1 packet.FlowKey, at, owner wire.NodeID) {
	c.t.Helper()
	for id, n := range c.nodes {
		if n.dead {
			continue
		}
		e, ok := n.core.stub(k1)
		if ok != (id == at) {
			c.t.Fatalf("node %d has a stub of %v: %v, want it at %d only", id, k1, ok, at)
		}
		if ok && wire.NodeID(e.Owner) != owner {
			c.t.Fatalf("the stub at %d names owner %d, want %d", id, e.Owner, owner)
		}
	}
}

// wantNoUse fails while any living node counts a port as used or keeps
// anything of a connection.
func (c *cluster) wantNoUse() {
	c.t.Helper()
	for id, n := range c.nodes {
		if n.dead {
			continue
		}
		if len(n.fake.uses) != 0 || n.stubs.Len() != 0 || n.copies.Len() != 0 || len(n.core.reserved) != 0 {
			c.t.Fatalf("node %d: uses %v, %d stubs, %d copies, %d reserved", id, n.fake.uses, n.stubs.Len(), n.copies.Len(), len(n.core.reserved))
		}
	}
}

func inside(n byte, proto uint8) packet.FlowKey {
	return packet.FlowKey{Src: packet.Addr{10, 0, 0, n}, Dst: packet.Addr{192, 0, 2, 1}, SrcPort: 3000, DstPort: 80, Proto: proto}
}

// Return packets that meet any node reach the owner by arithmetic: nobody asks
// anybody, and no forward entry appears (FR6).
func TestFR6_ReturnPacketsOfPATAskNobody(t *testing.T) {
	for _, proto := range []uint8{packet.ProtoTCP, packet.ProtoUDP} {
		c := natCluster(t, 1, 2, 3, 4)
		k := inside(1, proto)
		first, back := udp(k), udp(packet.FlowKey{})
		if proto == packet.ProtoTCP {
			first, back = tcp(k, SYN), tcp(packet.FlowKey{}, SYN|ACK)
		}
		owner, v := c.at(2, first)
		wantForward(t, v)
		k1 := c.reply(k)
		c.run(20 * ms)
		asked := uint64(0)
		for _, n := range c.nodes {
			asked += n.core.Stats().Queries
		}
		for id := wire.NodeID(1); id <= 4; id++ {
			p := back
			p.Key, p.In = k1, 2
			at, v := c.at(id, p)
			if at != owner || v.Op != OpForward || v.Dir != 1 {
				t.Fatalf("return packet at node %d: %+v at node %d, want the owner %d", id, v, at, owner)
			}
			if n := c.nodes[id].table.Stats(); id != owner && n.Forwards != 0 {
				t.Fatalf("node %d made a forward entry", id)
			}
		}
		for _, n := range c.nodes {
			asked -= n.core.Stats().Queries
		}
		if asked != 0 {
			t.Fatal("a return packet was asked about")
		}
	}
}

// The owner dies, and the first packet after that comes from the outside, by
// the mapped address: whoever the unit leads to finds the connection through
// its stub. It goes on with the same translation (FR11, NT5).
func TestFR11_NT5_TakeoverFromTheOutsideKeepsTheMapping(t *testing.T) {
	for _, proto := range []uint8{packet.ProtoTCP, packet.ProtoUDP} {
		for id := wire.NodeID(1); id <= 3; id++ {
			c := natCluster(t, 1, 2, 3, 4)
			k := inside(1, proto)
			p := udp(k)
			if proto == packet.ProtoTCP {
				p = tcp(k, SYN)
			}
			c.at(4, p)
			c.run(20 * ms)
			k1 := c.reply(k)
			c.kill(4)
			c.apply(1, 2, 1, 2, 3)
			p = udp(k1)
			if proto == packet.ProtoTCP {
				p = tcp(k1, SYN|ACK)
			}
			p.In = 2
			_, v := c.at(id, p)
			wantForward(t, v)
			owner := c.oneOwner(k)
			if got := c.reply(k); got != k1 {
				t.Fatalf("the new owner translates to %v, want %v", got, k1)
			}
			c.run(4500 * ms)
			if holder := c.nodes[owner].core.backup(k1, owner); true {
				c.wantStub(k1, holder, owner)
			}
			p = udp(k)
			if proto == packet.ProtoTCP {
				p = tcp(k, ACK)
			}
			for id := wire.NodeID(1); id <= 3; id++ {
				if at, v := c.at(id, p); at != owner || v.Op != OpForward {
					t.Fatalf("request at node %d: %+v at node %d, want the owner %d", id, v, at, owner)
				}
			}
		}
	}
}

// The same with the first packet from the inside; then return packets reach
// the new owner although the unit leads elsewhere.
func TestFR11_NT5_TakeoverFromTheInsideMovesTheStub(t *testing.T) {
	c := natCluster(t, 1, 2, 3, 4)
	k := inside(1, packet.ProtoTCP)
	c.at(4, tcp(k, SYN))
	c.run(20 * ms)
	k1 := c.reply(k)
	c.kill(4)
	c.apply(1, 2, 1, 2, 3)
	for want := wire.NodeID(1); want <= 3; want++ {
		_, v := c.at(want, tcp(k, SYN))
		wantForward(t, v)
	}
	c.run(20 * ms)
	owner := c.oneOwner(k)
	if got := c.reply(k); got != k1 {
		t.Fatalf("translates to %v, want %v as before", got, k1)
	}
	for id := wire.NodeID(1); id <= 3; id++ {
		p := tcp(k1, SYN|ACK)
		p.In = 2
		if at, v := c.at(id, p); at != owner || v.Op != OpForward {
			t.Fatalf("return packet at node %d: %+v at node %d, want the owner %d", id, v, at, owner)
		}
	}
}

// What ends leaves nothing behind: no stub, no port in use, no reservation
// (FR15), whether it timed out, was refused or was taken over first.
func TestFR15_NothingIsLeftOfATranslation(t *testing.T) {
	c := natCluster(t, 1, 2, 3, 4)
	for n := byte(1); n <= 40; n++ {
		c.at(wire.NodeID(n%4+1), udp(inside(n, packet.ProtoUDP)))
		c.at(wire.NodeID(n%3+1), udp(inside(n, packet.ProtoUDP)))
		c.at(wire.NodeID(n%4+1), tcp(inside(n, packet.ProtoTCP), SYN))
		c.at(wire.NodeID(n%3+1), tcp(inside(n, packet.ProtoTCP), SYN)) // at the same time: duplicates (FR14)
	}
	c.run(20 * ms)
	c.kill(2)
	c.apply(1, 2, 1, 3, 4)
	for n := byte(1); n <= 40; n += 2 {
		c.at(1, udp(inside(n, packet.ProtoUDP)))
	}
	c.run(300_000 * ms)
	c.wantNoUse()
}

// Two nodes get the first packet of one UDP flow at once: each reserves a
// port, one owner remains, and the other port is free again.
func TestFR7_TheLoserGivesItsPortBack(t *testing.T) {
	c := natCluster(t, 1, 2, 3)
	k := inside(1, packet.ProtoUDP)
	for id := wire.NodeID(1); id <= 3; id++ {
		p := udp(k)
		p.Handle = 1
		if v := c.nodes[id].core.Packet(c.now, &p); v.Op != OpHold && id != c.order().Director(k) {
			t.Fatalf("node %d: %+v", id, v)
		}
	}
	c.run(50 * ms)
	owner := c.oneOwner(k)
	for id, n := range c.nodes {
		want := 0
		if id == owner || id == n.core.backup(c.reply(k), owner) {
			want = 1
		}
		if len(n.fake.uses) != want || len(n.core.reserved) != 0 {
			t.Fatalf("node %d uses %v and reserves %v; owner %d", id, n.fake.uses, n.core.reserved, owner)
		}
	}
}

// A packet waits while there is no port, and leaves when there is one.
func TestNT3_AFirstPacketWaitsForAPort(t *testing.T) {
	c := natCluster(t, 1, 2, 3)
	k := inside(1, packet.ProtoTCP)
	n := c.nodes[1]
	n.fake.wait = true
	p := tcp(k, SYN)
	p.Handle = 9
	if v := n.core.Packet(c.now, &p); v.Op != OpHold {
		t.Fatalf("%+v, want it to wait", v)
	}
	q := tcp(inside(3, packet.ProtoTCP), SYN)
	q.Handle = 8
	n.core.Packet(c.now, &q)
	c.run(15 * ms)
	n.core.PortsChanged(c.now) // what came is for neither: they wait on
	n.fake.wait = false
	n.core.PortsChanged(c.now)
	c.run(5 * ms)
	wantForward(t, n.released[9])
	if n.fake.full != 0 {
		t.Errorf("%d packets counted as refused, but it only waited", n.fake.full)
	}

	n.fake.wait = true
	p = tcp(inside(2, packet.ProtoTCP), SYN)
	p.Handle = 10
	n.core.Packet(c.now, &p)
	c.run(1500 * ms)
	wantDrop(t, n.released[10], ReasonNATPorts)
	if n.fake.full != 1 {
		t.Errorf("%d packets counted as refused, want 1", n.fake.full)
	}
}

// A flood of connections that find no port waits, and leaves room for claims:
// what is not translated by the exhausted pool still begins.
func TestNT3_AnExhaustedPoolStarvesNobody(t *testing.T) {
	for _, wait := range []bool{true, false} {
		exhaust(t, wait)
	}
}

func exhaust(t *testing.T, wait bool) {
	c := natCluster(t, 1, 2, 3)
	n := c.nodes[1]
	n.core.cfg.MaxHeld = 2048 // as node.go sets
	n.fake.wait, n.fake.short = wait, !wait
	enough := 512 // wait for the word that they are part of no connection
	if wait {
		enough = 1024
	}
	for i := range 4096 {
		k := inside(byte(i), packet.ProtoUDP)
		k.SrcPort = uint16(i)
		p := udp(k)
		n.handle++
		p.Handle = n.handle
		n.core.Packet(c.now, &p)
	}
	if n.core.pending.held < enough {
		t.Fatalf("%d packets wait: no flood", n.core.pending.held)
	}
	k := inside(1, packet.ProtoUDP)
	k.Dst = packet.Addr{10, 8, 0, 1}
	_, v := c.at(1, udp(k))
	wantForward(t, v)
}

// Nothing maps the address: a stranger's packets are dropped by name, at the
// node that they are steered to.
func TestNT_UnknownTupleOfAPoolAddressIsDroppedByName(t *testing.T) {
	c := natCluster(t, 1, 2, 3)
	k := packet.FlowKey{Src: packet.Addr{192, 0, 2, 9}, Dst: public, SrcPort: 99, DstPort: 5000, Proto: packet.ProtoTCP}
	p := tcp(k, SYN)
	p.In = 2
	_, v := c.at(1, p)
	wantDrop(t, v, ReasonNATNoXlate)
	p = udp(k)
	p.Key.Proto, p.In = packet.ProtoUDP, 2
	_, v = c.at(1, p)
	wantDrop(t, v, ReasonNATNoXlate)
}

// A grant carries another translation than the provisional flow of the
// receiver: it goes on with the one that the other end knows.
func TestFR11_AdoptedTranslationReplacesTheProvisionalOne(t *testing.T) {
	c := natCluster(t, 1, 2, 3)
	k := inside(1, packet.ProtoTCP)
	c.at(1, tcp(k, SYN))
	conn := c.nodes[1].core.connOf(c.flow(1, k))
	old := conn.Reply
	conn.Reply.DstPort ^= 0x8000
	conn.Gen++
	conn.State = uint8(flowtable.TCPEstablished)
	c.nodes[1].core.Message(c.now, c.order().Director(k), &wire.Grant{Conn: conn, Adopted: true})
	if got := c.flow(1, k).Key[1]; got != conn.Reply {
		t.Fatalf("translates to %v, want %v", got, conn.Reply)
	}
	c.run(5000 * ms) // what it left from first is kept for a while
	if c.nodes[1].fake.uses[old] != 0 || c.nodes[1].fake.uses[conn.Reply] != 1 {
		t.Fatalf("uses %v", c.nodes[1].fake.uses)
	}
}

// The initiator repeats its SYN through another node while the director is
// silent. Until the director has decided, neither translation shows answers to
// the initiator or takes what it sends after one: only one of them goes on.
func TestFR14_ProvisionalTranslationsWaitForTheGrant(t *testing.T) {
	c := natCluster(t, 1, 2, 3)
	k := c.keyDirectedBy(packet.ProtoTCP, 3)
	c.refus[3] = true
	for _, id := range []wire.NodeID{1, 2} {
		_, v := c.at(id, tcp(k, SYN))
		wantForward(t, v)
	}
	for id := wire.NodeID(1); id <= 2; id++ {
		n := c.nodes[id]
		back := tcp(c.flow(id, k).Key[1], SYN|ACK)
		back.In, back.Handle = 2, 100
		if v := n.core.Packet(c.now, &back); v.Op != OpHold {
			t.Fatalf("answer at node %d: %+v, want it to wait", id, v)
		}
		on := tcp(k, ACK)
		on.Handle = 101
		if v := n.core.Packet(c.now, &on); v.Op != OpHold {
			t.Fatalf("data at node %d: %+v, want it to wait", id, v)
		}
		if f := c.flow(id, k); f.Flags&flowtable.FlowPunt == 0 {
			t.Fatalf("the fast path of node %d takes its packets", id)
		}
	}
	c.refus[3] = false
	c.run(700 * ms)
	owner := c.oneOwner(k)
	for id := wire.NodeID(1); id <= 2; id++ {
		// Who lost drops the answer to its translation. What the initiator sent
		// follows an answer that came through the winner, and goes there.
		want := map[Handle]Verdict{100: {Op: OpDrop, Reason: ReasonDuplicate}, 101: {Op: OpSend, Node: owner}}
		if id == owner {
			want = map[Handle]Verdict{100: {Op: OpForward}, 101: {Op: OpForward}}
		}
		for h, want := range want {
			if v := c.nodes[id].released[h]; v.Op != want.Op || v.Reason != want.Reason || v.Node != want.Node {
				t.Fatalf("node %d, owner is %d, packet %d: %+v, want %+v", id, owner, h, v, want)
			}
		}
	}
	if f := c.flow(owner, k); f.Flags&(flowtable.FlowPunt|flowtable.FlowProvisional) != 0 {
		t.Fatalf("flags %x after the grant", f.Flags)
	}
}

// A provisional owner becomes the director and has the copy of the connection's
// dead owner: it goes on with that translation, not with its own.
func TestFR11_ADirectorPrefersTheDeadOwnersTranslation(t *testing.T) {
	c := natCluster(t, 1, 2, 3)
	k := c.keyDirectedBy(packet.ProtoTCP, 3)
	for c.order().Backup(k, 3) != 2 || c.order().Director(k) != 3 {
		k.SrcPort++
	}
	c.at(3, tcp(k, SYN))
	c.run(20 * ms)
	k1 := c.reply(k)
	c.refus[3] = true // node 2 does not hear from the director any more
	c.at(2, tcp(k, SYN))
	c.refus[3] = false
	c.kill(3)
	c.apply(1, 2, 1, 2)
	c.run(1000 * ms)
	if owner := c.oneOwner(k); owner != 2 {
		t.Fatalf("owner %d, want 2", owner)
	}
	if got := c.reply(k); got != k1 {
		t.Fatalf("translates to %v, want %v as before", got, k1)
	}
}

// Whoever owns a logged translation says so when it begins there and when it
// ends, each once (RFC 6888, REQ-12).
func TestNT6_TranslationsAreLogged(t *testing.T) {
	c := natCluster(t, 1, 2, 3)
	type line struct {
		node  wire.NodeID
		began bool
	}
	var lines []line
	for id, n := range c.nodes {
		n.core.cfg.Xlate = func(_ *flowtable.FlowSlot, began bool) { lines = append(lines, line{id, began}) }
	}
	c.at(1, udp(inside(1, packet.ProtoUDP)))
	c.run(400_000 * ms)
	if len(lines) != 2 || !lines[0].began || lines[1].began || lines[0].node != lines[1].node {
		t.Fatalf("logged %v, want a beginning and an end at one node", lines)
	}
}

// A node without a port for a UDP packet asks all the same whether its connection
// exists elsewhere: one that does needs none (NT5). One that does not is refused
// when no port comes.
func TestNT5_NoPortIsNeededForAConnectionThatExists(t *testing.T) {
	c := natCluster(t, 1, 2, 3, 4)
	k := inside(1, packet.ProtoUDP)
	owner, v := c.at(1, udp(k))
	wantForward(t, v)
	c.run(20 * ms)
	for _, n := range c.nodes {
		n.fake.wait = true
	}
	for id := wire.NodeID(1); id <= 4; id++ {
		if at, v := c.at(id, udp(k)); v.Op != OpForward || at != owner {
			t.Errorf("at node %d: %+v (%v) at node %d, want it forwarded by its owner, node %d", id, v, v.Reason, at, owner)
		}
	}
	// One that nobody has waits on, after the director has said so.
	n := c.nodes[owner%4+1]
	n.handle++
	p := udp(inside(2, packet.ProtoUDP))
	p.Handle = n.handle
	if v := n.core.Packet(c.now, &p); v.Op != OpHold {
		t.Fatalf("%+v, want to wait for a port", v)
	}
	n.core.Message(c.now, owner, &wire.Owner{Key: p.Key})
	if v, over := n.released[p.Handle]; over {
		t.Fatalf("%v, want to wait on for a port", v.Reason)
	}
	n.fake.wait = false
	n.core.PortsChanged(c.now)
	c.run(20 * ms)
	wantForward(t, n.released[p.Handle])
}

// Who owns a connection with a static translation may be the director of its second
// key, too. An answer that another node takes for a first packet goes to it: in a
// hairpin that is how every answer comes back.
func TestFR6_AnAnswerClaimedByAnotherNodeGoesToItsConnection(t *testing.T) {
	c := natCluster(t, 1, 2, 3, 4)
	for _, n := range c.nodes {
		n.fake.fixed = packet.Addr{198, 51, 100, 80}
	}
	played := 0
	for port := uint16(2000); port < 2040; port++ {
		k := packet.FlowKey{Src: packet.Addr{10, 0, 0, 1}, Dst: packet.Addr{192, 0, 2, 1}, SrcPort: port, DstPort: 53, Proto: packet.ProtoUDP}
		owner, v := c.at(1, udp(k))
		wantForward(t, v)
		c.run(20 * ms)
		reply := c.reply(k)
		for id := wire.NodeID(1); id <= 4; id++ {
			if c.order().Director(reply) != owner || id == owner {
				continue
			}
			played++
			claim := wire.Conn{Key: reply, Reply: k, Gen: 1, In: 2, Out: 1, Timeout: 30}
			n := c.nodes[id]
			n.handle++
			p := udp(reply)
			p.In, p.Handle = 2, n.handle
			ck, _ := reply.Canonical()
			if v := n.core.ask(&p, ck, waitClaim, &claim); v.Op != OpHold {
				t.Fatalf("%+v, want it to wait", v)
			}
			c.run(20 * ms)
			if v, over := n.released[p.Handle]; !over || v.Op != OpSend || v.Node != owner {
				t.Fatalf("node %d: %+v (answered: %v), want it sent to the owner, node %d", id, v, over, owner)
			}
		}
	}
	if played == 0 {
		t.Fatal("no owner is the director of the second key")
	}
}
