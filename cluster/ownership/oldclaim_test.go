package ownership

import (
	"testing"

	"cohort/ccl/wire"
	"cohort/flowtable"
	"cohort/packet"
)

// In a view without the director the owner gives way to another, whose first claim, from
// before all that, still waits in the link to the director. When that hears it, it has
// the former owner's copy: it must not send the claimant there before the former owner
// has registered, or both have given it up.
func TestFR1_AnOldClaimWaitsForTheOwnerOfAnOldCopy(t *testing.T) {
	c := newCluster(t, 1, 2, 3)
	k := c.keyDirectedBy(packet.ProtoTCP, 3)
	for _, p := range []Packet{tcp(k, SYN), tcp(k.Reverse(), SYN|ACK), tcp(k, ACK)} {
		_, v := c.at(2, p)
		wantForward(t, v)
	}
	c.run(1100 * ms)
	c.wantCopy(k, 3, 2, 1)
	c.apply(2, 2, 1, 2)
	c.run(1000 * ms)
	late := c.provisional(1, k)
	n := c.nodes[1]
	n.table.UpdateFlow(n.table.Lookup(k).Slot(), func(f *flowtable.FlowSlot) {
		f.Flags, f.State, f.Timeout = f.Flags&^flowtable.FlowProvisional, uint8(flowtable.TCPEstablished), 3600
	})
	c.nodes[2].core.surrender(c.nodes[2].table.Lookup(k), 1, 1)
	c.apply(4, 3, 1, 2, 3)
	c.nodes[3].core.Message(c.now, 1, &wire.Claim{Conn: late})
	c.run(5000 * ms)
	c.wantOwner(k, 1)
	c.wantCopy(k, 3, 1, c.flow(1, k).Gen)
}
