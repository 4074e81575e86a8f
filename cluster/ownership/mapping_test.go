package ownership

import (
	"testing"

	"cohort/ccl/wire"
	"cohort/flowtable"
	"cohort/packet"
)

// eim is a connection of one inside endpoint to remote n, by a rule that makes
// endpoint-independent mappings.
func eim(n byte) packet.FlowKey {
	return packet.FlowKey{Src: packet.Addr{10, 0, 0, 1}, Dst: packet.Addr{193, 0, 0, n}, SrcPort: 4000, DstPort: 3478, Proto: packet.ProtoUDP}
}

// Every connection of an endpoint leaves from the same mapped address and port,
// whichever nodes meet them, and at the same instant too (RFC 4787, REQ-1).
func TestNT9_OneEndpointHasOneMapping(t *testing.T) {
	c := natCluster(t, 1, 2, 3, 4)
	for n := byte(1); n <= 4; n++ {
		p := udp(eim(n))
		p.Handle = Handle(n)
		if v := c.nodes[wire.NodeID(n)].core.Packet(c.now, &p); v.Op == OpSend {
			c.from(v.Node, wire.NodeID(n), p, 1)
		}
	}
	c.run(50 * ms)
	for n := byte(1); n <= 4; n++ { // what lost the race was sent to the owner
		if v := c.nodes[wire.NodeID(n)].released[Handle(n)]; v.Op == OpSend {
			c.from(v.Node, wire.NodeID(n), udp(eim(n)), 1)
		}
	}
	c.run(50 * ms)
	var mapped packet.FlowKey
	for n := byte(1); n <= 4; n++ {
		r := c.reply(eim(n))
		if n > 1 && (r.Dst != mapped.Dst || r.DstPort != mapped.DstPort) {
			t.Fatalf("connection %d leaves from %v:%d, the first one from %v:%d", n, r.Dst, r.DstPort, mapped.Dst, mapped.DstPort)
		}
		mapped = r
	}
	for n := byte(5); n <= 40; n++ {
		at, v := c.at(wire.NodeID(n%4+1), udp(eim(n)))
		wantForward(t, v)
		if r := c.reply(eim(n)); r.DstPort != mapped.DstPort {
			t.Fatalf("connection %d, made at node %d, leaves from port %d, want %d", n, at, r.DstPort, mapped.DstPort)
		}
	}
}

// A node without a port for a mapping finds the one that the endpoint has, at
// whichever node: for another connection of it no further port is needed.
func TestNT9_WithoutAPortAMappingIsFound(t *testing.T) {
	c := natCluster(t, 1, 2, 3, 4)
	_, v := c.at(1, udp(eim(1)))
	wantForward(t, v)
	c.run(20 * ms)
	mapped := c.reply(eim(1))
	for id := wire.NodeID(2); id <= 4; id++ {
		c.nodes[id].fake.short = true
		k := eim(byte(id))
		p := udp(k)
		_, v := c.at(id, p)
		wantForward(t, v)
		if r := c.reply(k); r.DstPort != mapped.DstPort {
			t.Fatalf("node %d: leaves from port %d, want %d", id, r.DstPort, mapped.DstPort)
		}
	}
	other := eim(1)
	other.SrcPort++
	_, v = c.at(2, udp(other))
	wantDrop(t, v, ReasonNATPorts)
}

// The owner of a mapping makes connections through it although another node holds the
// unit, or has just thawed it. Until that has heard of one, the mapping keeps the tuple.
func TestNT4_AMappingKeepsTheTuplesOfItsConnections(t *testing.T) {
	c := natCluster(t, 1, 2, 3, 4)
	k := eim(1)
	c.at(1, udp(k))
	c.run(20 * ms)
	reply := c.reply(k)
	owner := c.oneOwner(k)
	at := c.nodes[c.nodes[owner].core.backup(reply, owner)]
	mapping, _ := at.fake.Mapped(reply)
	for _, known := range []packet.FlowKey{reply, mapping} {
		if _, bound := at.core.stub(known); !bound || !at.core.taken(known) {
			t.Fatalf("%v: stub %v, taken %v: nothing is tested", known, bound, at.core.taken(known))
		}
	}
	at.core.clearStub(reply) // as if its Bind were on its way
	if !at.core.taken(reply) {
		t.Errorf("%v can be chosen where its mapping is known", reply)
	}
	at.core.clearStub(mapping)
	if at.core.taken(reply) {
		t.Errorf("%v is taken, and nobody has it", reply)
	}
}

// A connection that has outlived its mapping goes on although there is no port for
// another one.
func TestFR11_AConnectionWhoseMappingIsLostIsTakenOver(t *testing.T) {
	c := natCluster(t, 1, 2, 3, 4)
	k := eim(1)
	c.at(1, udp(k))
	c.run(20 * ms)
	was := c.reply(k)
	c.kill(1)
	c.apply(1, 2, 2, 3, 4)
	c.run(50 * ms)
	for id := wire.NodeID(2); id <= 4; id++ {
		c.nodes[id].copies.Delete(packet.FlowKey{Src: k.Src, SrcPort: k.SrcPort, Proto: k.Proto})
		c.nodes[id].fake.short = true
	}
	_, v := c.at(2, udp(k))
	wantForward(t, v)
	if r := c.reply(k); r != was {
		t.Fatalf("it leaves as %v now, as %v before", r, was)
	}
}

// A side of a partition that knew a mapping, but not a connection through it, took
// the responder's next packet for a stranger's first one. After the heal one of the
// two is left, whoever registers first: the one that the inside began.
func TestFR1_AConnectionAndItsMirrorImageBecomeOne(t *testing.T) {
	for seed := range byte(12) {
		c := natCluster(t, 1, 2, 3, 4)
		k := eim(seed + 1)
		k.SrcPort += uint16(seed)
		c.at(1, udp(k))
		c.run(20 * ms)
		reply := c.reply(k)
		mirror := wire.Conn{Key: reply, Reply: k, Gen: 1, In: 2, Out: 1, Timeout: 120}
		who := wire.NodeID(seed%3 + 2)
		ref := c.nodes[who].table.Lookup(reply)
		if ref != 0 {
			c.nodes[who].table.RemoveForward(ref.Slot())
		}
		if _, r := c.nodes[who].core.install(&mirror, 0); r != ReasonNone {
			t.Fatal(r)
		}
		c.nodes[1].core.sync.wantFull()
		c.nodes[who].core.sync.wantFull()
		c.run(2000 * ms)
		c.oneOwner(k)
		if got := c.flow(1, k).Key[0]; got != k {
			t.Fatalf("%v is left, want what the inside began", got)
		}
	}
}

// Two sides of a partition gave an endpoint two mappings. After the heal one side
// won the connection and the other the mapping, to whose port the responder still
// sends: a stranger's first packet to the mapping's owner, which made a connection
// the other way round, with another translation. Whoever hears of both first, and
// whichever of them has registered, what the inside began goes on.
func TestFR1_AnAnswerToALostTranslationMakesNoSecondOwner(t *testing.T) {
	for seed := range byte(24) {
		c := natCluster(t, 1, 2, 3, 4)
		k := eim(seed + 1)
		k.SrcPort += uint16(seed)
		c.at(1, udp(k))
		c.run(20 * ms)
		late := c.reply(k)
		late.DstPort += 40
		image := wire.Conn{Key: late, Reply: k, Gen: 1, In: 2, Out: 1, Timeout: 120}
		who := wire.NodeID(seed%3 + 2)
		c.nodes[who].core.forgetForwards(&[2]packet.FlowKey{k, late})
		if _, r := c.nodes[who].core.install(&image, 0); r != ReasonNone {
			t.Fatal(r)
		}
		first, second := who, wire.NodeID(1)
		if seed%2 == 0 {
			first, second = second, first
		}
		for _, id := range []wire.NodeID{first, second} {
			c.nodes[id].core.sync.wantFull()
			c.run(1000 * ms)
		}
		if c.oneOwner(k) != 1 || c.flow(1, k).Key[0] != k {
			t.Fatalf("seed %d: node %d owns %v, want what the inside began, at node 1", seed, c.oneOwner(k), c.flow(c.oneOwner(k), k).Key)
		}
	}
}

// Each side of a partition had a mapping of an endpoint, and a stranger spoke to
// both. The host sees one remote endpoint: after the heal one of the two connections
// goes on, whoever owns them and wherever their common key leads (FR1).
func TestFR1_OneStrangerHasOneConnection(t *testing.T) {
	for seed := range byte(24) {
		c := natCluster(t, 1, 2, 3, 4)
		k := eim(seed + 1)
		k.SrcPort += uint16(seed)
		owners := []wire.NodeID{wire.NodeID(seed%4 + 1), wire.NodeID(seed/4%3+seed%4+1)%4 + 1}
		for i, id := range owners {
			in := k.Reverse()
			in.Dst, in.DstPort = public, 1100+uint16(i)*700
			conn := wire.Conn{Key: in, Reply: k, Gen: 1, In: 2, Out: 1, Timeout: 120}
			if _, r := c.nodes[id].core.install(&conn, 0); r != ReasonNone {
				t.Fatal(r)
			}
			c.nodes[id].core.sync.wantFull()
		}
		c.run(1000 * ms)
		owner := c.oneOwner(k)
		_, v := c.at(3, udp(k))
		wantForward(t, v)
		if c.oneOwner(k) != owner {
			t.Fatalf("owner %d, then %d", owner, c.oneOwner(k))
		}
	}
}

// A connection is just being claimed when its image is bound, at its own owner. Its
// director, which owns the image, decides, so that not both give way (FR14).
func TestFR14_AClaimAndABindThatCrossLeaveOneOwner(t *testing.T) {
	c := natCluster(t, 1, 2, 3)
	k := eim(1)
	k.Proto = packet.ProtoTCP
	director := c.order().Director(k)
	claimant := c.order().Backup(k, director)
	in := k.Reverse()
	in.Dst, in.DstPort = public, 1100
	image := wire.Conn{Key: in, Reply: k, Gen: 1, In: 2, Out: 1, State: uint8(flowtable.TCPSynSent), Timeout: 30}
	if _, r := c.nodes[director].core.install(&image, 0); r != ReasonNone {
		t.Fatal(r)
	}
	in.DstPort = 1900
	conn := wire.Conn{Key: k, Reply: in, Gen: 1, In: 1, Out: 2, State: uint8(flowtable.TCPSynSent), Timeout: 30}
	if _, r := c.nodes[claimant].core.install(&conn, flowtable.FlowProvisional); r != ReasonNone {
		t.Fatal(r)
	}
	c.nodes[director].core.bind(&image)
	c.nodes[claimant].core.claim(c.slotAt(claimant, conn.Key), &conn, false)
	c.run(1000 * ms)
	c.wantOwner(k, director)
}

// The owner of a mapping that knows who owns the connection of the inside makes no
// other one of a packet from its responder. By the connection's own translation it
// goes there; by one that was given up it goes nowhere (FR1).
func TestFR1_AMappingsOwnerMakesNoConnectionThatAnotherNodeOwns(t *testing.T) {
	for _, lost := range []bool{false, true} {
		c := natCluster(t, 1, 2, 3, 4)
		for _, n := range c.nodes {
			n.fake.open = true
		}
		c.at(1, udp(eim(1)))
		c.run(20 * ms)
		k := eim(9)
		answer := c.reply(eim(1))
		answer.Src = k.Dst
		conn := wire.Conn{Key: k, Reply: answer, Gen: 1, In: 1, Out: 2, Timeout: 120}
		if lost {
			conn.Reply.DstPort += 40
		}
		if _, r := c.nodes[2].core.install(&conn, 0); r != ReasonNone {
			t.Fatal(r)
		}
		c.nodes[2].core.sync.wantFull()
		c.run(1000 * ms)
		c.nodes[1].core.installForward(k, 1, 2, 1)
		for _, met := range []wire.NodeID{1, 2} {
			at, v := c.at(met, udp(answer))
			if lost {
				wantDrop(t, v, ReasonDuplicate)
			} else if wantForward(t, v); at != 2 {
				t.Fatalf("the answer left at node %d", at)
			}
		}
		if c.oneOwner(k) != 2 {
			t.Fatalf("node %d owns it", c.oneOwner(k))
		}
	}
}

// stranger sends to a mapped endpoint from an address that the host behind it
// has never spoken to.
func stranger(mapped packet.FlowKey, n byte) Packet {
	p := udp(packet.FlowKey{Src: packet.Addr{193, 9, 9, n}, SrcPort: 5, Dst: mapped.Dst, DstPort: mapped.DstPort, Proto: packet.ProtoUDP})
	p.In = 2
	return p
}

// With endpoint-independent filtering a stranger reaches the host, from any
// node; without it he is dropped by name (RFC 4787, section 5).
func TestNT9_Filtering(t *testing.T) {
	for _, open := range []bool{false, true} {
		c := natCluster(t, 1, 2, 3, 4)
		for _, n := range c.nodes {
			n.fake.open = open
		}
		c.at(3, udp(eim(1)))
		c.run(20 * ms)
		mapped := c.reply(eim(1))
		for id := wire.NodeID(1); id <= 4; id++ {
			p := stranger(mapped, byte(id))
			_, v := c.at(id, p)
			if !open {
				wantDrop(t, v, ReasonNATFiltered)
				continue
			}
			wantForward(t, v)
			f := c.flow(c.oneOwner(p.Key), p.Key)
			if f.Key[1].Src != eim(1).Src || f.Key[1].SrcPort != 4000 {
				t.Fatalf("the stranger reaches %v, want the host", f.Key[1])
			}
			answer := udp(f.Key[1])
			if at, v := c.at(id%4+1, answer); v.Op != OpForward || v.Dir != 1 {
				t.Fatalf("the host's answer: %+v at node %d", v, at)
			}
		}
	}
}

// The mapping's owner dies: new connections of the endpoint, and strangers,
// still meet the same mapping (FR11).
func TestFR11_NT9_AMappingSurvivesItsOwner(t *testing.T) {
	for _, outside := range []bool{false, true} {
		c := natCluster(t, 1, 2, 3, 4)
		for _, n := range c.nodes {
			n.fake.open = true
		}
		c.at(4, udp(eim(1)))
		c.run(20 * ms)
		mapped := c.reply(eim(1))
		owner := c.oneOwner(eim(1))
		c.kill(owner)
		var rest []wire.NodeID
		for id := wire.NodeID(1); id <= 4; id++ {
			if id != owner {
				rest = append(rest, id)
			}
		}
		c.apply(1, 2, rest...)
		if outside {
			_, v := c.at(rest[0], stranger(mapped, 1))
			wantForward(t, v)
		}
		_, v := c.at(rest[1], udp(eim(2)))
		wantForward(t, v)
		if r := c.reply(eim(2)); r.DstPort != mapped.DstPort {
			t.Fatalf("leaves from port %d after the death, want %d", r.DstPort, mapped.DstPort)
		}
		for n, id := range rest { // the mapping's new owner among them
			p := stranger(mapped, byte(10+n))
			_, v := c.at(id, p)
			wantForward(t, v)
			p = stranger(mapped, byte(20+n))
			_, v = c.at(id, p)
			wantForward(t, v)
		}
	}
}

// A mapping lives as long as a connection of it, and mappingIdle longer; then
// nothing is left (FR15).
func TestFR15_AMappingEnds(t *testing.T) {
	c := natCluster(t, 1, 2, 3)
	c.at(2, udp(eim(1)))
	c.run(20 * ms)
	port := c.reply(eim(1)).DstPort
	for range 90 { // the fast path carries its connection: nothing else refreshes it
		c.run(10_000 * ms)
		f := c.flow(c.oneOwner(eim(1)), eim(1))
		f.Account(0, c.nodes[1].core.tick(), 100)
	}
	c.run(20 * ms)
	c.at(3, udp(eim(2)))
	if got := c.reply(eim(2)).DstPort; got != port {
		t.Fatalf("port %d although the mapping was in use all the time, want %d", got, port)
	}
	c.run(1_000_000 * ms)
	c.wantNoUse()
	for id, n := range c.nodes {
		if s := n.table.Stats(); s.Flows != 0 || s.Forwards != 0 {
			t.Fatalf("node %d keeps %d flows, %d forward entries", id, s.Flows, s.Forwards)
		}
	}
}
