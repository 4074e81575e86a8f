package ownership

import (
	"cohort/ccl/wire"
	"cohort/flowtable"
)

// The same ports may begin another connection at a node that knows nothing of the
// one before. Its owner keeps the closed entry for a while, and the director, which
// is not told of the end of every short connection, sends the claimant there. What
// the SYN that has left began would then end with the old entry. So who gives way
// hands on what it has begun, as a draining owner does, and the owner of what is over
// goes on with it.

// overtook reports whether this node began the flow with its SYN, nobody has granted
// it, and both ends may be talking through it already. With a translation answers wait
// for the grant, and those to one that is given up are of use to nobody. With numbers of
// its own they wait, too; then they go to the winner, which has to know the numbers.
func (c *Core) overtook(f *flowtable.FlowSlot) bool {
	return f.Flags&flowtable.FlowProvisional != 0 && f.State != uint8(flowtable.TCPNone) && f.SeenFlags(0)&SYN != 0 &&
		f.Key[1] == f.Key[0].Reverse()
}

// handOn gives what a provisional owner has begun to the owner whose connection with
// these ports may be over. If it lives, it was the same SYN (FR14), and nothing comes
// of this. A message that is lost costs the new connection's initiator a retransmission
// of its SYN, or a connection that was over within a round trip and then silent.
func (c *Core) handOn(to wire.NodeID, conn *wire.Conn) {
	c.msg.update = wire.Update{Conn: *conn}
	c.msg.update.Conn.Flags |= wire.ConnYours
	c.tell(to, &c.msg.update)
}

// reuse lets a flow that is over go on as the connection that has begun with its
// ports elsewhere, and reports whether it did.
func (c *Core) reuse(slot uint32, f *flowtable.FlowSlot, conn *wire.Conn) bool {
	fresh := flowtable.TCPState(f.State) == flowtable.TCPClosed // what was seen since the reset is of the new one
	c.note(slot, f)
	state := flowtable.TCPState(conn.State)
	if flowtable.TCPState(f.State) < flowtable.TCPTimeWait || state == flowtable.TCPNone || state >= flowtable.TCPTimeWait ||
		f.Key[1] != f.Key[0].Reverse() {
		return false
	}
	if !fresh || f.SeqDelta != conn.SeqDelta { // what came meanwhile was shifted by the old numbers
		f.Forget()
	}
	c.setState(slot, f, state)
	if f.SeqDelta != conn.SeqDelta {
		c.renumber(slot, conn.SeqDelta)
	}
	if c.unproven(f) {
		c.table.UpdateFlow(slot, func(f *flowtable.FlowSlot) { f.Flags |= flowtable.FlowPunt })
	}
	return true
}
