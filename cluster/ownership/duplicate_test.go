package ownership

import (
	"testing"

	"cohort/ccl/wire"
	"cohort/flowtable"
	"cohort/packet"
)

// provisional makes node id own k as far as it knows, with nobody told yet.
func (c *cluster) provisional(id wire.NodeID, k packet.FlowKey) wire.Conn {
	c.t.Helper()
	conn := wire.Conn{Key: k, Gen: 1, In: 1, Out: 2, State: uint8(flowtable.TCPSynSent), Timeout: 30}
	if _, r := c.nodes[id].core.install(&conn, flowtable.FlowProvisional); r != ReasonNone {
		c.t.Fatal(r)
	}
	return conn
}

// A claim from an older view, held up by a cut link, reaches a provisional
// owner that is no director (any more) while the director prefers the claimant.
// It says nothing: two opposite answers would make both step back.
func TestFR14_OldClaimAtAProvisionalOwnerThatIsNoDirector(t *testing.T) {
	c := newCluster(t, 1, 2, 3)
	k := c.keyDirectedBy(packet.ProtoTCP, 3)
	late := c.provisional(1, k)
	conn := c.provisional(2, k)
	c.nodes[1].core.claim(c.slotAt(1, late.Key), &late, false)
	c.run(2 * ms)
	c.nodes[2].core.claim(c.slotAt(2, conn.Key), &conn, false)
	c.nodes[2].core.Message(c.now, 1, &wire.Claim{Conn: late})
	c.run(20 * ms)
	c.wantOwner(k, 1)
	c.wantCopy(k, 3, 1, 1)
}

// A provisional owner loses against the director's own provisional flow, and
// begins a full round before it hears of that. The round claims again; it does
// not register what nobody granted, for the director would give way to that.
func TestFR14_FullRoundDoesNotRegisterWhatNobodyGranted(t *testing.T) {
	c := newCluster(t, 1, 2)
	k := c.keyDirectedBy(packet.ProtoTCP, 1)
	c.provisional(1, k)
	conn := c.provisional(2, k)
	c.nodes[2].core.claim(c.slotAt(2, conn.Key), &conn, false)
	c.nodes[2].core.PeerReset()
	c.nodes[2].core.Tick(c.now)
	c.run(500 * ms)
	c.wantOwner(k, 1)
	c.wantCopy(k, 2, 1, 1)
}
