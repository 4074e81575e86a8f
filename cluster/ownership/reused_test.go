package ownership

import (
	"testing"

	"cohort/ccl/wire"
	"cohort/flowtable"
	"cohort/packet"
)

// resetAt opens a TCP connection at a node and resets it: the owner keeps the closed
// entry for a while, and the director may not know that it is over.
func (c *cluster) resetAt(id wire.NodeID, k packet.FlowKey) {
	c.t.Helper()
	rst := tcp(k, RST)
	rst.Seq = 3000
	for _, p := range []Packet{tcp(k, SYN), tcp(k.Reverse(), SYN|ACK), tcp(k, ACK)} {
		_, v := c.at(id, p)
		wantForward(c.t, v)
	}
	c.run(1100 * ms)
	n := c.nodes[id]
	n.table.Flow(n.table.Lookup(k).Slot()).Sent(1, ACK, 100, rst.Seq, 1000)
	_, v := c.at(id, rst)
	wantForward(c.t, v)
	if f := c.flow(id, k); f.State != uint8(flowtable.TCPClosed) {
		c.t.Fatalf("state %v after a reset", flowtable.TCPState(f.State))
	}
}

// The same ports begin another connection at a node that knows nothing of the first:
// it sends the SYN, claims, and may have seen all of a short conversation before it
// hears that another node owns the tuple. That node's entry is of the connection that
// is over; it must not end the new one with it.
func TestFR14_TheLoserTellsTheOwnerOfAnOldConnectionThatANewOneHasBegun(t *testing.T) {
	for director := wire.NodeID(1); director <= 3; director++ {
		if director == 2 {
			continue // who directs it asks itself first
		}
		for _, seen := range []int{1, 2, 3} { // packets before the answer
			for _, gone := range []bool{false, true} {
				c := newCluster(t, 1, 2, 3)
				k := c.keyDirectedBy(packet.ProtoTCP, director)
				c.resetAt(1, k)
				for i, p := range []Packet{tcp(k, SYN), tcp(k.Reverse(), SYN|ACK), tcp(k, ACK)} {
					if i == seen && gone {
						n := c.nodes[1] // just now its time is over
						n.core.closeFlow(n.table.Lookup(k).Slot())
					}
					if i == seen {
						c.run(20 * ms)
					}
					v := c.nodes[2].core.Packet(c.now, &p)
					if v.Op == OpSend {
						_, v = c.at(v.Node, p)
					}
					wantForward(t, v)
				}
				c.run(60_000 * ms)
				owner := c.oneOwner(k)
				if f := c.flow(owner, k); f.State != uint8(flowtable.TCPEstablished) {
					t.Errorf("director %d, %d packets before the answer, ended %v: %v at node %d", director, seen, gone, flowtable.TCPState(f.State), owner)
				}
				c.wantCopy(k, c.order().Backup(k, owner), owner, c.flow(owner, k).Gen)
			}
		}
	}
}

// But a SYN that is repeated through another node is of the connection that lives.
func TestFR14_TheLosersWordChangesNoConnectionThatLives(t *testing.T) {
	c := newCluster(t, 1, 2, 3)
	k := c.keyDirectedBy(packet.ProtoTCP, 3)
	for _, p := range []Packet{tcp(k, SYN), tcp(k.Reverse(), SYN|ACK), tcp(k, ACK)} {
		_, v := c.at(1, p)
		wantForward(t, v)
	}
	c.run(20 * ms)
	p := tcp(k, SYN)
	wantForward(t, c.nodes[2].core.Packet(c.now, &p))
	c.run(20 * ms)
	c.wantOwner(k, 1)
	if f := c.flow(1, k); f.State != uint8(flowtable.TCPEstablished) {
		t.Errorf("state %v", flowtable.TCPState(f.State))
	}
}

// What the owner has seen of the new connection before it hears of it counts; what it
// has seen of the old one does not.
func TestFR14_OnlyWhatWasSeenOfTheNewConnectionCounts(t *testing.T) {
	begun := func(c *cluster, k packet.FlowKey) *wire.Update {
		return &wire.Update{Conn: wire.Conn{Key: k, Gen: 1, In: 1, Out: 2, State: uint8(flowtable.TCPSynReceived), Timeout: 30, Flags: wire.ConnYours}}
	}
	c := newCluster(t, 1, 2, 3)
	k := c.keyDirectedBy(packet.ProtoTCP, 3)
	c.resetAt(1, k)
	c.from(1, 2, tcp(k, ACK), 0) // the rest of a handshake whose beginning went elsewhere
	c.nodes[1].core.Message(c.now, 2, begun(c, k))
	c.run(1500 * ms)
	if f := c.flow(1, k); f.State != uint8(flowtable.TCPEstablished) {
		t.Errorf("after a reset: %v", flowtable.TCPState(f.State))
	}

	k = c.keyDirectedBy(packet.ProtoTCP, 2)
	for _, p := range []Packet{tcp(k, SYN), tcp(k.Reverse(), SYN|ACK), tcp(k, ACK), tcp(k, FIN|ACK), tcp(k.Reverse(), FIN|ACK), tcp(k, ACK)} {
		_, v := c.at(1, p)
		wantForward(t, v)
	}
	if f := c.flow(1, k); f.State != uint8(flowtable.TCPTimeWait) {
		t.Fatalf("%v after both ends' FINs", flowtable.TCPState(f.State))
	}
	c.nodes[1].core.Message(c.now, 3, begun(c, k))
	c.run(1500 * ms)
	if f := c.flow(1, k); f.State != uint8(flowtable.TCPSynReceived) {
		t.Errorf("after FINs: %v", flowtable.TCPState(f.State))
	}
}
