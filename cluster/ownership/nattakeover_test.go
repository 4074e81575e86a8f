package ownership

import (
	"testing"

	"cohort/ccl/wire"
	"cohort/flowtable"
	"cohort/packet"
)

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
	c.wantOwner(k, 2)
	if got := c.reply(k); got != k1 {
		t.Fatalf("translates to %v, want %v as before", got, k1)
	}
}
