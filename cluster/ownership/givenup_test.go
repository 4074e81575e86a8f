package ownership

import (
	"slices"
	"testing"

	"cohort/ccl/wire"
	"cohort/flowtable"
	"cohort/packet"
)

// A claim that a cut has held up reaches the director in a newer view, and waits there for
// all owners to register. Its claimant has given way to another node meanwhile, which has
// claimed it since: that one is granted it, or both have given way and nobody is left. But
// if it has repeated the claim in this view, by its round or because a packet waits for the
// answer, it was the first.
func TestFR11_FR14_AClaimThatItsClaimantHasGivenUpIsNotGranted(t *testing.T) {
	for name, test := range map[string]struct {
		proto  uint8
		repeat bool
	}{
		"given up": {packet.ProtoTCP, false},
		"repeated": {packet.ProtoTCP, true},
		"asked":    {packet.ProtoUDP, true},
	} {
		t.Run(name, func(t *testing.T) {
			c := newCluster(t, 1, 2, 3)
			c.boot(4)
			v := c.viewOf(1, 2, 1, 2, 3, 4)
			c.view = v
			k := c.keyDirectedBy(test.proto, 4)
			first, state := tcp(k, SYN), flowtable.TCPSynSent
			if test.proto == packet.ProtoUDP {
				first, state = udp(k), flowtable.TCPNone
			}
			c.applyAt(v, 4)
			c.nodes[4].core.Message(c.now, 1, &wire.Claim{Conn: wire.Conn{Key: k, Gen: 1, In: 1, Out: 2, State: uint8(state), Timeout: 30}})
			if test.repeat && k.Proto == packet.ProtoTCP {
				c.provisional(1, k)
			}
			c.applyAt(v, 1, 3)
			c.run(5 * ms)
			for _, id := range []wire.NodeID{3, 1} {
				if id == 1 && (!test.repeat || k.Proto == packet.ProtoTCP) {
					continue
				}
				p := first
				p.Handle = Handle(id)
				want := OpForward
				if k.Proto == packet.ProtoUDP {
					want = OpHold
				}
				if v := c.nodes[id].core.Packet(c.now, &p); v.Op != want {
					t.Fatalf("node %d: %+v, want %v", id, v, want)
				}
			}
			c.run(900 * ms) // node 2 is late: the others have begun without it
			s := &c.nodes[4].core.sync
			if s.ended[1] != v.Tag() || s.ended[3] != v.Tag() || s.waiting.len() != 1 {
				t.Fatalf("node 4 waits for %b, want node 2 alone", s.waiting)
			}
			if parked := len(c.nodes[4].core.parked.byKey); parked != 1 {
				t.Fatalf("%d connections are asked for, want one that waits", parked)
			}
			c.applyAt(v, 2)
			sentAway := map[uint64]wire.NodeID{}
			for range 2000 {
				c.queue = slices.DeleteFunc(c.queue, func(q delivery) bool {
					switch m := q.m.(type) {
					case *wire.Redirect:
						if q.from == 4 && m.Owner == wire.OwnerRetry {
							sentAway[q.seq] = q.to
						}
					case *wire.Synced:
						return q.from == 2 && q.to == 1 // who does not know all yet takes nothing over
					}
					return false
				})
				c.run(ms / 20)
			}
			owner, old := wire.NodeID(3), 1
			if test.repeat {
				owner, old = 1, 0
			}
			if len(sentAway) != old {
				t.Errorf("nodes %v are told to ask again, want %d of them", sentAway, old)
			}
			c.wantOwner(k, owner)
			c.wantCopy(k, 4, owner, 1)
		})
	}
}

// A claim that crosses the join of another node is from the view before, and its claimant
// says it again in its round, although the director stays the same: it is granted as soon
// as the last owner has registered.
func TestFR14_AClaimThatCrossesAViewIsSaidAgain(t *testing.T) {
	c := newCluster(t, 1, 2, 3, 4)
	c.run(4000 * ms)
	c.boot(5)
	v := c.viewOf(1, 2, 1, 2, 3, 4, 5)
	old := c.view
	var k packet.FlowKey
	for i := byte(1); k.Proto == 0; i++ {
		x := inside(i, packet.ProtoTCP)
		canonical, _ := x.Canonical()
		if c.view = v; c.order().Director(canonical) == 4 && c.nodes[1].core.director(canonical) == 4 {
			k = x
		}
		c.view = old
	}
	c.view = v
	c.applyAt(v, 2, 3, 4)
	_, verdict := c.at(1, tcp(k, SYN))
	wantForward(t, verdict)
	c.run(3 * ms)
	if len(c.nodes[4].core.parked.byKey) != 1 {
		t.Fatal("the claim does not wait at its director: nothing is tested")
	}
	c.applyAt(v, 1)
	c.run(20 * ms)
	if c.flow(1, k).Flags&flowtable.FlowProvisional == 0 {
		t.Fatal("granted before node 5 has registered")
	}
	c.applyAt(v, 5)
	c.run(30 * ms)
	if c.flow(1, k).Flags&flowtable.FlowProvisional != 0 {
		t.Error("not granted, though everybody has registered")
	}
}
