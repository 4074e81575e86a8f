package ownership

import (
	"testing"

	"cohort/ccl/wire"
	"cohort/flowtable"
	"cohort/packet"
)

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
