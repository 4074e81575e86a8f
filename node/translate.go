package node

import "cohort/flowtable"

// translate gives the parsed packet of direction d the tuple that it leaves
// with, and the sequence numbers (FR5): what the fast path does with an owner's
// packets. An ICMP error gets the packet that it quotes as its receiver sent it (RFC
// 5508, RFC 5927).
func (n *Node) translate(f *flowtable.FlowSlot, d int) {
	receiver := f.Key[1-d] // as the side that gets this packet sends
	if n.pkt.IsICMPError() {
		seq, ack := f.Shift(1 - d) // of what it quotes, which has left
		n.pkt.ShiftQuotedSequence(-seq, -ack)
	} else {
		n.pkt.ShiftSequence(f.Shift(d))
	}
	if f.Key[d] == receiver.Reverse() {
		return
	}
	if n.pkt.IsICMPError() {
		n.pkt.RewriteError(receiver, n.pkt.ErrorSource(receiver), receiver.Src)
		return
	}
	n.pkt.Rewrite(receiver.Reverse())
}
