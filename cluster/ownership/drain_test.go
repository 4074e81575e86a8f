package ownership

import (
	"fmt"
	"math/rand/v2"
	"testing"

	"cohort/ccl/wire"
	"cohort/flowtable"
	"cohort/packet"
)

// startDrain lets the members see that some of them drain.
func (c *cluster) startDrain(epoch uint32, drains []wire.NodeID, ids ...wire.NodeID) {
	v := c.viewOf(1, epoch, ids...)
	for _, id := range drains {
		v.Draining |= 1 << id
	}
	c.applyAt(v, ids...)
}

// drainKeys are connections of all kinds: plain, translated, and through mappings.
func drainKeys(n int, nat bool) (keys []packet.FlowKey) {
	for i := range n {
		k := packet.FlowKey{Src: packet.Addr{10, 0, 1, byte(i)}, Dst: packet.Addr{192, 0, 2, 1}, SrcPort: uint16(2000 + i), DstPort: 80, Proto: packet.ProtoTCP}
		switch {
		case i%3 == 0:
			k.Proto = packet.ProtoUDP
		case nat && i%3 == 1:
			k.Dst, k.Proto = packet.Addr{193, 0, 0, 1}, packet.ProtoUDP
		}
		keys = append(keys, k)
	}
	return keys
}

func (c *cluster) first(k packet.FlowKey) Packet {
	if k.Proto == packet.ProtoUDP {
		return udp(k)
	}
	return tcp(k, SYN)
}

func (c *cluster) later(k packet.FlowKey) Packet {
	if k.Proto == packet.ProtoUDP {
		return udp(k)
	}
	return tcp(k, ACK)
}

// openAll opens connections at a node; other is where the responder's packets enter.
func (c *cluster) openAll(at, other wire.NodeID, keys []packet.FlowKey) (replies []packet.FlowKey) {
	c.t.Helper()
	for _, k := range keys {
		_, v := c.at(at, c.first(k))
		wantForward(c.t, v)
		c.run(ms)
		reply := c.replyAnywhere(k)
		replies = append(replies, reply)
		answer := c.later(reply)
		if k.Proto == packet.ProtoTCP {
			answer.Flags = SYN | ACK
		}
		_, v = c.at(other, answer)
		wantForward(c.t, v)
		_, v = c.at(at, c.later(k))
		wantForward(c.t, v)
	}
	c.run(20 * ms)
	return replies
}

// replyAnywhere is what the responder sends as it is received.
func (c *cluster) replyAnywhere(k packet.FlowKey) packet.FlowKey {
	c.t.Helper()
	n := c.nodes[c.oneOwner(k)]
	return n.table.Flow(n.table.Lookup(k).Slot()).Key[1]
}

// Every connection moves while packets of both directions come in at all nodes, and
// not one of these is dropped; each has one owner in between or two of different
// generations (FR1), its translation (NT4), and its copy (FR3).
func TestEL10_ADrainingNodeGivesEverythingAway(t *testing.T) {
	for _, nodes := range [][]wire.NodeID{{1, 2, 3, 4}, {1, 2, 3}, {1, 2}} {
		for _, nat := range []bool{false, true} {
			t.Run(fmt.Sprintf("%d nodes nat=%v", len(nodes), nat), func(t *testing.T) {
				c := newBareCluster(t)
				c.nat = nat
				for _, id := range nodes {
					c.boot(id)
				}
				c.apply(1, 1, nodes...)
				c.run(50 * ms)
				keys := drainKeys(60, nat)
				replies := c.openAll(2, 1, keys)
				if owned := c.nodes[2].core.Owned(); owned < len(keys) {
					t.Fatalf("node 2 owns %d of %d before", owned, len(keys))
				}
				c.startDrain(2, []wire.NodeID{2}, nodes...)
				for i := 0; i < 1000; i++ {
					j := i * 7 % len(keys)
					for d, k := range []packet.FlowKey{keys[j], replies[j]} {
						at := nodes[(i+d)%len(nodes)]
						if _, v := c.at(at, c.later(k)); v.Op != OpForward {
							t.Fatalf("step %d, connection %d, direction %d at node %d: %v", i, j, d, at, v.Reason)
						}
					}
					gens := map[uint32]wire.NodeID{}
					for _, id := range c.owners(keys[j]) {
						g := c.nodes[id].table.Flow(c.nodes[id].table.Lookup(keys[j]).Slot()).Gen
						if o := gens[g]; o != 0 {
							t.Fatalf("nodes %d and %d own connection %d in generation %d", o, id, j, g)
						}
						gens[g] = id
					}
					c.run(ms)
				}
				c.run(2000 * ms)
				if owned := c.nodes[2].core.Owned(); owned != 0 {
					t.Fatalf("node 2 still owns %d", owned)
				}
				for i, k := range keys {
					owner := c.oneOwner(k)
					if got := c.replyAnywhere(k); got != replies[i] {
						t.Fatalf("connection %d answers to %v now, to %v before", i, got, replies[i])
					}
					f := c.nodes[owner].table.Flow(c.nodes[owner].table.Lookup(k).Slot())
					if k.Proto == packet.ProtoTCP && f.State != uint8(flowtable.TCPEstablished) {
						t.Fatalf("state %v", flowtable.TCPState(f.State))
					}
					holder := c.nodes[owner].core.backup(k, owner)
					if e, ok := c.nodes[holder].copies.Get(k); !ok || wire.NodeID(e.Owner()) != owner || e.Gen() != f.Gen {
						t.Fatalf("connection %d of node %d: copy at node %d: %v %+v", i, owner, holder, ok, e)
					}
					if !nat {
						continue
					}
					holder = c.nodes[owner].core.backup(replies[i], owner)
					if e, ok := c.nodes[holder].core.stub(replies[i]); !ok || wire.NodeID(e.Owner()) != owner || e.Gen() != f.Gen {
						t.Fatalf("connection %d of node %d: stub at node %d: %v %+v", i, owner, holder, ok, e)
					}
				}
				// It leaves, and everything goes on.
				left := append([]wire.NodeID{}, nodes...)
				left = append(left[:1], left[2:]...)
				c.kill(2)
				c.apply(1, 3, left...)
				for i, k := range keys {
					for d, k := range []packet.FlowKey{k, replies[i]} {
						if _, v := c.at(left[i%len(left)], c.later(k)); v.Op != OpForward {
							t.Fatalf("connection %d, direction %d after it left: %v", i, d, v.Reason)
						}
					}
					c.oneOwner(k)
				}
				var adopted uint64
				for _, id := range left {
					adopted += c.nodes[id].core.Stats().Adopted
				}
				if adopted != 0 {
					t.Fatalf("%d connections had to be taken over from the dead", adopted)
				}
			})
		}
	}
}

// What begins at a draining node is another's from the start.
func TestEL10_ADrainingNodeBeginsNothing(t *testing.T) {
	for _, nat := range []bool{false, true} {
		c := newBareCluster(t)
		c.nat = nat
		for id := wire.NodeID(1); id <= 4; id++ {
			c.boot(id)
		}
		c.apply(1, 1, 1, 2, 3, 4)
		c.run(50 * ms)
		c.startDrain(2, []wire.NodeID{2}, 1, 2, 3, 4)
		c.run(50 * ms)
		for i, k := range drainKeys(60, nat) {
			owner, v := c.at(2, c.first(k))
			wantForward(t, v)
			if owner == 2 || c.oneOwner(k) != owner {
				t.Fatalf("nat %v, connection %d began at node %d", nat, i, owner)
			}
			c.run(ms)
			answer := c.later(c.replyAnywhere(k))
			if k.Proto == packet.ProtoTCP {
				answer.Flags = SYN | ACK
			}
			for _, p := range []Packet{answer, c.later(k)} {
				_, v = c.at(2, p)
				wantForward(t, v)
			}
		}
	}
}

// Each message of a handover may be the last of a node that dies: the connection
// goes on all the same.
func TestEL10_FR11_DeathInTheMiddleOfADrain(t *testing.T) {
	for _, dies := range []wire.NodeID{1, 2, 3, 4} {
		for steps := range 120 {
			c := newCluster(t, 1, 2, 3, 4)
			c.rng = rand.New(rand.NewPCG(uint64(steps), 1))
			c.delay = func() int64 { return c.rng.Int64N(2 * ms) }
			k := c.keyDirectedBy(packet.ProtoTCP, 3)
			c.openAll(2, 1, []packet.FlowKey{k})
			c.startDrain(2, []wire.NodeID{2}, 1, 2, 3, 4)
			for c.nodes[2].core.drain.walks < 2 {
				c.run(ms / 20)
			}
			c.run(int64(steps%40) * ms / 10)
			c.kill(dies)
			var left []wire.NodeID
			for id := wire.NodeID(1); id <= 4; id++ {
				if id != dies {
					left = append(left, id)
				}
			}
			v := c.viewOf(1, 3, left...)
			if dies != 2 {
				v.Draining = 1 << 2
			}
			c.applyAt(v, left...)
			c.run(2000 * ms)
			_, verdict := c.at(left[0], tcp(k, ACK))
			wantForward(t, verdict)
			c.run(500 * ms)
			if owner := c.oneOwner(k); owner == 2 {
				t.Fatalf("node %d died after %d steps: node 2 keeps it", dies, steps)
			}
		}
	}
}

// Who has no room for a connection does not take it: the draining node goes on.
func TestEL10_AnHeirWithoutRoomTakesNothing(t *testing.T) {
	c := newCluster(t, 1, 2)
	keys := drainKeys(20, false)
	c.openAll(2, 1, keys)
	c.nodes[1].noRoute = true
	c.startDrain(2, []wire.NodeID{2}, 1, 2)
	c.run(2000 * ms)
	for _, k := range keys {
		if owner := c.oneOwner(k); owner != 2 {
			t.Fatalf("node %d took what it cannot route", owner)
		}
		_, v := c.at(2, c.later(k))
		wantForward(t, v)
	}
	c.nodes[1].noRoute = false
	c.run(2000 * ms)
	if owned := c.nodes[2].core.Owned(); owned != 0 {
		t.Fatalf("node 2 still owns %d when there is a way again", owned)
	}
}

// What the old owner has seen last counts: a FIN that it forwarded while the
// connection moved ends it at the new owner too.
func TestEL10_FR15_AFinDuringTheMoveIsNotForgotten(t *testing.T) {
	c := newCluster(t, 1, 2, 3, 4)
	k := c.keyDirectedBy(packet.ProtoTCP, 3)
	c.openAll(2, 1, []packet.FlowKey{k})
	c.startDrain(2, []wire.NodeID{2}, 1, 2, 3, 4)
	for len(c.owners(k)) < 2 {
		c.run(ms / 20)
	}
	if _, v := c.at(2, tcp(k, FIN|ACK)); v.Op != OpForward {
		t.Fatal(v.Reason)
	}
	c.run(ms)
	f := c.nodes[3].table.Flow(c.nodes[3].table.Lookup(k).Slot())
	if c.oneOwner(k) != 3 || f.State <= uint8(flowtable.TCPEstablished) {
		t.Fatalf("owners %v, state %v", c.owners(k), flowtable.TCPState(f.State))
	}
	for _, k := range []packet.FlowKey{k, k.Reverse()} { // FR4
		if at, v := c.at(2, tcp(k, ACK)); v.Op != OpForward || at != 3 {
			t.Fatal(at, v)
		}
	}
	if q := c.nodes[2].core.Stats().Queries; q != 0 {
		t.Fatalf("the old owner had to ask %d times who the new one is", q)
	}
}
