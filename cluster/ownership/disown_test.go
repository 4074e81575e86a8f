package ownership

import (
	"testing"

	"cohort/ccl/wire"
	"cohort/packet"
	"cohort/policy"
)

// A claim is granted, both keys of it are stored, and the claimant cannot install it: it
// gives both keys back (FR15).
func TestFR15_AGrantThatCannotBeInstalledLeavesNothing(t *testing.T) {
	for director := wire.NodeID(2); director <= 3; director++ {
		c, sent := joiningCluster(t, policy.Async, 1, 2, 3)
		k := inside(1, packet.ProtoUDP)
		for c.order().Director(k) != director {
			k.SrcPort++
		}
		n := c.nodes[1]
		p := udp(k)
		p.Handle = 77
		if v := n.core.Packet(c.now, &p); v.Op != OpHold {
			t.Fatalf("%+v: the claim is not waited for", v)
		}
		n.noRoute = true
		c.run(150_000) // the claim is there, the grant on its way
		if kept := c.nodes[director].core.dir.JoinedLen(); kept != 1 || sent[wire.TypeGranted] != 1 {
			t.Fatalf("%d joined copies, %v sent: nothing is tested", kept, sent)
		}
		c.run(100 * ms)
		if v := n.released[p.Handle]; v.Op != OpDrop || v.Reason != ReasonNoRoute {
			t.Errorf("the packet is released with %+v", v)
		}
		n.noRoute = false
		c.run(60_000 * ms)
		for id, n := range c.nodes {
			if n.copies.Len()+n.stubs.Len()+len(n.fake.uses) > 0 {
				t.Errorf("director %d: node %d has %d copies, %d stubs and uses %v of what nobody owns", director, id, n.copies.Len(), n.stubs.Len(), n.fake.uses)
			}
		}
	}
}

// A grant of the node that was the director before arrives at the one that is it now and
// knows an owner of the same or a later generation: it goes back, with the second key
// that the granter has stored, and the owner stays.
func TestFR14_FR15_AnOvertakenGrantGoesBackWithBothKeys(t *testing.T) {
	for _, bound := range []bool{true, false} {
		c, _ := joiningCluster(t, policy.Async, 1, 2, 3)
		k := inside(1, packet.ProtoUDP)
		for c.order().Director(k) != 1 {
			k.SrcPort++
		}
		owner, v := c.at(3, udp(k))
		wantForward(t, v)
		c.run(20 * ms)
		gen := c.flow(owner, k).Gen
		late := c.nodes[owner].core.connOf(c.flow(owner, k))
		late.Gen, late.Bound = gen, bound
		late.Reply.DstPort += 1000 // the claimant that gave up had chosen another one
		if !late.Translated() || late.ReplyKey() == c.reply(k) || owner != 3 {
			t.Fatalf("%+v: not another translation of what node %d owns", late, owner)
		}
		var back []wire.Close
		c.nodes[1].core.cfg.Trace = func(from, to wire.NodeID, m wire.Message) {
			if m, is := m.(*wire.Close); is && from == 1 && to == 2 {
				back = append(back, *m)
			}
		}
		c.nodes[1].core.Message(c.now, 2, &wire.Grant{Conn: late})
		want := wire.Close{Key: k, Gen: gen}
		if bound {
			want.Reply = late.ReplyKey()
		}
		if len(back) != 1 || back[0] != want {
			t.Errorf("bound %v: node 2 was told %+v, want %+v", bound, back, want)
		}
		c.run(20 * ms)
		if at := c.oneOwner(k); at != owner {
			t.Errorf("node %d owns it now", at)
		}
		c.joinedAt(k, c.reply(k))
	}
}
