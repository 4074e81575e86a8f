package ownership

import (
	"testing"

	"cohort/ccl/wire"
	"cohort/packet"
)

// A question that waited for owners to re-register is answered soon after the
// last one has, not when the wait would have ended.
func TestFR15_ParkedQueryIsAnsweredWhenEverybodyHasRegistered(t *testing.T) {
	c := newCluster(t, 1, 2, 3)
	k := c.keyDirectedBy(packet.ProtoTCP, 1)
	c.boot(2).dead = true
	c.apply(1, 2, 1, 2, 3)
	p := tcp(k, ACK)
	p.Handle = 1
	c.nodes[3].core.Packet(c.now, &p)
	c.run(400 * ms)
	if _, ok := c.nodes[3].released[1]; ok {
		t.Fatal("the director invented an answer before node 2 had registered")
	}
	c.nodes[2].dead = false
	c.run(560 * ms) // it heard nobody apply the view: it registers 750 ms after
	v, ok := c.nodes[3].released[1]
	if !ok {
		t.Fatal("no answer 200 ms after everybody had registered")
	}
	wantDrop(t, v, ReasonNoConnection)
}

// The channel to the director started over: what was asked is asked again.
func TestFR15_QuestionLostWithTheChannelIsRepeated(t *testing.T) {
	c := newCluster(t, 1, 2)
	k := c.keyDirectedBy(packet.ProtoUDP, 2)
	p := udp(k)
	p.Handle = 1
	c.nodes[1].core.Packet(c.now, &p)
	c.queue = nil
	c.nodes[1].core.PeerReset()
	c.run(30 * ms)
	wantForward(t, c.nodes[1].released[1])
}

// A loser is told of a winner that joined in a view it has not applied yet: it
// asks again instead of staying an owner.
func TestFR14_RedirectToANodeOfALaterViewIsAskedAgain(t *testing.T) {
	c := newCluster(t, 1, 2, 3)
	k := c.begin(packet.ProtoUDP, 1, 2, 20*ms)
	conn := c.nodes[1].core.connOf(c.flow(1, k))
	if _, r := c.nodes[3].core.install(&conn, 0); r != ReasonNone {
		t.Fatal(r)
	}
	c.nodes[2].core.store(3, &conn)
	c.nodes[1].core.Message(c.now, 2, &wire.Redirect{Key: k, Owner: 9, Gen: 1})
	c.run(4500 * ms)
	c.wantOwner(k, 3)
}
