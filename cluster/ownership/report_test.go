package ownership

import (
	"testing"

	"cohort/ccl/wire"
	"cohort/flowtable"
	"cohort/packet"
)

// Whatever is lost on the link, and however often: in the end the owner has counted
// every packet, once.
func TestDESIGN5_LostReportsLoseNothing(t *testing.T) {
	for seed := range 20 {
		c := natCluster(t, 1, 2, 3)
		k := inside(1, packet.ProtoTCP)
		reply, sent := c.talk(k, 2, 3)
		drop := 0
		c.lose = func(from, to wire.NodeID) bool { drop++; return drop*7%10 < seed%9 }
		for range 120 {
			c.pass(2, tcp(reply, ACK), &sent)
			c.pass(3, tcp(k, ACK), &sent)
			c.run(50 * ms)
		}
		c.lose = nil
		c.wantSettled(12*second, k, sent)
	}
}

// A connection that lives by its delegates alone lives; when they fall silent it
// ends, and they have ended before.
func TestFR15_DELEGATED_IdleTimeCountsWhatDelegatesSee(t *testing.T) {
	c := newCluster(t, 1, 2, 3)
	k := inside(1, packet.ProtoUDP)
	reply, sent := c.talk(k, 2, 3)
	timeout := int64(c.nodes[1].core.cfg.Timeouts.UDPStream) * second
	for end := c.now + 2*timeout; c.now < end; c.run(200 * ms) {
		c.stays(2, udp(reply), &sent) // it is renewed
	}
	c.wantAlmostCounted(k, sent, 60) // five a second, ten seconds and two passes
	quiet := c.now
	c.run(timeout - second)
	if len(c.owners(k)) != 1 {
		t.Fatalf("over %d s after its last packet", (c.now-quiet)/second)
	}
	c.wantNoneLent()
	c.run(4 * second)
	c.wantNoOwner(k)
	for id, n := range c.nodes {
		if s := n.table.Stats(); s.Flows+s.Forwards+s.Delegations+n.copies.Len() != 0 {
			t.Errorf("node %d keeps %+v", id, s)
		}
	}
}

// The last packet before the time-out may be one that its delegate has not reported:
// the owner asks before it ends the connection.
func TestFR15_DELEGATED_NobodyTimesOutWhileADelegateForwards(t *testing.T) {
	c := newCluster(t, 1, 2)
	k := inside(1, packet.ProtoUDP)
	reply, sent := c.talk(k, 2)
	timeout := int64(c.nodes[1].core.cfg.Timeouts.UDPStream) * second
	f := c.flow(1, k)
	for d := range 2 { // as if nothing had been reported for that long
		f.SetSeenAt(d, flowtable.TickOf(c.now-timeout))
	}
	c.pass(2, udp(reply), &sent)
	c.cut(2, 1, func() { c.run(1500 * ms) })
	if len(c.owners(k)) != 1 {
		t.Fatal("ended while a delegation was in force")
	}
	c.run(second)
	if len(c.owners(k)) != 1 || c.flow(1, k).Expired(flowtable.TickOf(c.now)) {
		t.Fatal("the report did not keep it")
	}
}

// A delegate whose daemon is restarted goes on under the same number; nothing is
// counted twice.
func TestDESIGN5_ADelegateMayRestart(t *testing.T) {
	c := natCluster(t, 1, 2)
	k := inside(1, packet.ProtoTCP)
	reply, sent := c.talk(k, 2)
	c.rebirth(2)
	for range 40 {
		c.stays(2, tcp(reply, ACK), &sent)
		c.run(100 * ms)
	}
	c.wantSettled(8*second, k, sent)
}
