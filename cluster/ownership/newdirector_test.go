package ownership

import (
	"testing"

	"cohort/ccl/wire"
	"cohort/flowtable"
	"cohort/packet"
)

// The director dies before it has answered a claim, and the claimant is the
// next director: it need not ask anybody any more.
func TestFR14_ClaimantThatBecomesTheDirectorIsTheOwner(t *testing.T) {
	c := newCluster(t, 1, 2, 3)
	k := c.keyDirectedBy(packet.ProtoTCP, 3)
	for c.order().Backup(k, 3) != 1 || c.order().Director(k) != 3 {
		k.SrcPort++
	}
	c.nodes[3].dead = true
	_, v := c.at(1, tcp(k, SYN))
	wantForward(t, v)
	c.apply(1, 2, 1, 2)
	c.run(4500 * ms)
	if f := c.flow(1, k); f.Flags&flowtable.FlowProvisional != 0 {
		t.Fatal("the flow is provisional for ever")
	}
	c.wantCopy(k, 2, 1, 1)
}

// The same, but another owner has registered with the new director: it wins
// over what is provisional.
func TestFR14_RegisteredOwnerWinsOverAProvisionalDirector(t *testing.T) {
	c := newCluster(t, 1, 2, 3)
	k := c.keyDirectedBy(packet.ProtoTCP, 3)
	for c.order().Backup(k, 3) != 1 || c.order().Director(k) != 3 {
		k.SrcPort++
	}
	c.at(2, tcp(k, SYN)) // granted
	c.run(20 * ms)
	c.nodes[3].dead = true
	syn := tcp(k, SYN)
	c.nodes[1].core.Packet(c.now, &syn)
	c.apply(1, 2, 1, 2)
	c.run(4500 * ms)
	c.wantOwner(k, 2)
	c.wantCopy(k, 1, 2, 1)
}

// The owner dies in the same view in which its key gets a new director: the
// former one hands the copy over.
func TestFR11_CopyOfADeadOwnerFollowsTheDirector(t *testing.T) {
	c := newCluster(t, 1, 2, 3, 4)
	k := c.keyDirectedBy(packet.ProtoTCP, 4)
	c.kill(4)
	c.apply(1, 2, 1, 2, 3)
	c.run(50 * ms)
	owner := c.order().Director(k)%3 + 1 // not the director
	c.at(owner, tcp(k, SYN))
	c.at(owner, tcp(k.Reverse(), SYN|ACK))
	c.at(owner, tcp(k, ACK))
	c.run(20 * ms)
	c.kill(owner)
	c.boot(4)
	left := []wire.NodeID{}
	for id := wire.NodeID(1); id <= 4; id++ {
		if id != owner {
			left = append(left, id)
		}
	}
	c.apply(1, 3, left...)
	_, v := c.at(left[0], tcp(k, ACK))
	wantForward(t, v)
	if f := c.flow(c.oneOwner(k), k); f.Gen != 2 || f.State != uint8(flowtable.TCPEstablished) {
		t.Fatalf("adopted in state %v, generation %d, want established and 2", flowtable.TCPState(f.State), f.Gen)
	}
}

// A grant of the former director arrives when its receiver has become the
// director and knows another owner. The later generation wins.
func TestFR14_LateGrantAtTheNewDirector(t *testing.T) {
	for _, gen := range []uint32{1, 2, 3} {
		c := newCluster(t, 1, 2, 3)
		k := c.begin(packet.ProtoUDP, 2, 1, 20*ms)
		n := c.nodes[2]
		n.table.UpdateFlow(n.table.Lookup(k).Slot(), func(f *flowtable.FlowSlot) { f.Gen = 2 })
		n.core.replicate(c.flow(2, k))
		c.run(20 * ms)
		conn := n.core.connOf(c.flow(2, k))
		conn.Gen = gen
		c.nodes[1].core.Message(c.now, 3, &wire.Grant{Conn: conn, Adopted: true})
		c.run(20 * ms)
		want := wire.NodeID(2)
		if gen > 2 {
			want = 1
		}
		if owner := c.oneOwner(k); owner != want {
			t.Fatalf("grant of generation %d: owner %d, want %d", gen, owner, want)
		}
		c.wantCopy(k, c.order().Backup(k, want), want, max(gen, 2))
	}
}

// The new director dies right after it was given a dead owner's copy: the giver
// still has it.
func TestFR11_HandedOverCopySurvivesTheNewDirector(t *testing.T) {
	c := newCluster(t, 1, 2, 3, 4)
	k := c.keyDirectedBy(packet.ProtoTCP, 4)
	c.kill(4)
	c.apply(1, 2, 1, 2, 3)
	c.run(50 * ms)
	holder := c.order().Director(k)
	owner := holder%3 + 1
	c.at(owner, tcp(k, SYN))
	c.run(20 * ms)
	c.kill(owner)
	c.boot(4)
	third := 6 - holder - owner
	c.apply(1, 3, holder, third, 4)
	c.run(1200 * ms)
	c.kill(4)
	c.apply(1, 4, min(holder, third), max(holder, third))
	_, v := c.at(third, tcp(k.Reverse(), SYN|ACK))
	wantForward(t, v)
}

// A node that was given a copy away and becomes the director again does not hand
// it to the first who asks: it was adopted meanwhile, and the owner registers.
func TestFR1_LeftoverCopyWaitsForTheOwnersToRegister(t *testing.T) {
	c := newCluster(t, 1, 2, 3)
	k := c.keyDirectedBy(packet.ProtoUDP, 3)
	for c.order().Backup(k, 3) != 1 || c.order().Director(k) != 3 {
		k.SrcPort++
	}
	c.at(2, udp(k))
	c.run(20 * ms)
	n := c.nodes[2]
	old := n.core.connOf(c.flow(2, k))
	n.table.UpdateFlow(n.table.Lookup(k).Slot(), func(f *flowtable.FlowSlot) { f.Gen = 2 })
	c.nodes[1].core.store(nobody, &old)
	c.kill(3)
	v := c.viewOf(1, 2, 1, 2)
	c.applyAt(v, 1)
	p := udp(k)
	p.Handle = 1
	c.nodes[1].core.Packet(c.now, &p)
	c.run(5 * ms)
	c.applyAt(v, 2)
	c.run(100 * ms)
	c.wantOwner(k, 2)
	if got := c.nodes[1].released[1]; got.Op != OpSend || got.Node != 2 {
		t.Fatalf("verdict %+v, want the packet sent to the owner", got)
	}
	c.wantCopy(k, 1, 2, 2)
}
