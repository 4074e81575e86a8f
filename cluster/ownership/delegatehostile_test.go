package ownership

import (
	"math/rand/v2"
	"testing"

	"cohort/ccl/wire"
	"cohort/flowtable"
	"cohort/packet"
)

// anyDelegation is a message about delegations that a member may send, sensible or not.
func anyDelegation(rng *rand.Rand, c *cluster, keys []packet.FlowKey) wire.Message {
	key, id, tick := keys[rng.IntN(len(keys))], uint16(rng.IntN(8)), flowtable.TickOf(c.now)
	view := c.view.Tag()
	if rng.IntN(8) == 0 {
		view++
	}
	stamp := tick + uint32(rng.IntN(200)) - 150
	process := []uint32{0, 1, c.nodes[1].core.lending.process, c.nodes[2].core.lending.process}[rng.IntN(4)]
	if rng.IntN(3) == 0 {
		return &wire.Lease{
			Op: wire.LeaseOp(rng.IntN(2)), View: view, Stamp: stamp, Process: process,
			Settled: rng.Uint32() >> rng.IntN(32), Revoked: rng.Uint32() >> rng.IntN(32), Lease: uint32(rng.IntN(3000)),
		}
	}
	if rng.IntN(2) == 0 {
		return &wire.Delegate{
			Op: wire.DelegateOp(rng.IntN(5)), Key: key, ID: id, Gen: uint32(rng.IntN(3)), View: view, Stamp: stamp,
			Lease: uint32(rng.IntN(3000)), Every: rng.Uint32() >> rng.IntN(32), Process: process, Revoked: rng.Uint32() >> rng.IntN(32), In: uint8(rng.IntN(3)), To: keys[rng.IntN(len(keys))],
		}
	}
	return &wire.Report{
		Op: wire.ReportOp(rng.IntN(4)), Key: key, ID: id, Stamp: stamp, Gen: uint32(rng.IntN(3)), View: view,
		Packets: rng.Uint64N(1000), Bytes: rng.Uint64N(60_000), Idle: rng.Uint32N(5000), SeqEnd: rng.Uint32(), Ack: rng.Uint32(), Window: uint16(rng.Uint32()),
	}
}

// Messages about delegations come at any time, from any member and about anything, as
// after a restart in the middle: counters of the owner never fall, what is lent is in
// its lists, and all of it ends. A connection goes on.
func TestFR15_DELEGATED_AnyMessageIsSurvived(t *testing.T) {
	for seed := range uint64(60) {
		rng := rand.New(rand.NewPCG(seed, 11))
		c := natCluster(t, 1, 2, 3)
		k := inside(1, packet.ProtoTCP)
		reply, _ := c.talk(k, 2, 3)
		stranger := inside(7, packet.ProtoUDP)
		keys := []packet.FlowKey{k, reply, k.Reverse(), stranger, stranger.Reverse()}
		var before [2]uint64
		for range 150 {
			from, to := wire.NodeID(1+rng.IntN(3)), wire.NodeID(1+rng.IntN(3))
			if from == to {
				continue
			}
			c.nodes[to].core.Message(c.now, from, anyDelegation(rng, c, keys))
			c.run(int64(rng.IntN(30)) * ms)
			if rng.IntN(3) == 0 {
				c.nodes[2].core.Packet(c.now, new(tcp(k, ACK))) // whatever becomes of it
			}
			f := c.flow(1, k)
			for d := range before {
				packets, _ := f.Counters(d)
				if packets < before[d] {
					t.Fatalf("seed %d: the owner counts %d packets after %d", seed, packets, before[d])
				}
				before[d] = packets
			}
			for id, n := range c.nodes {
				if n.core.LentNow() < 0 || n.core.LentNow() > 16 {
					t.Fatalf("seed %d: node %d has lent %d", seed, id, n.core.LentNow())
				}
			}
		}
		c.run(12 * second)
		c.wantNoneLent()
		if c.oneOwner(k) != 1 {
			t.Fatalf("seed %d: owned by %d", seed, c.oneOwner(k))
		}
		_, v := c.at(3, tcp(reply, ACK))
		wantForward(t, v)
	}
}
