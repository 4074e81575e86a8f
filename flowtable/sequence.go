package flowtable

import (
	"sync/atomic"

	"cohort/packet"
)

// Shift returns what is added to the sequence number and to the acknowledgements of
// direction dir's segments before they leave (FR5): packet.ShiftSequence.
func (f *FlowSlot) Shift(dir int) (seq, ack uint32) { return shift(f.SeqDelta, dir != 0) }

// Shift is FlowSlot.Shift for the direction of a delegation.
func (d *DelegationSlot) Shift() (seq, ack uint32) { return shift(d.SeqDelta, d.Flags&FlowReply != 0) }

// SetISN keeps the initiator's initial sequence number where its acknowledgement will
// be: it has acknowledged nothing yet, and the fast path sees no packet of such a flow.
func (f *FlowSlot) SetISN(isn uint32) { atomic.StoreUint32(&f.Ack[0], isn) }

// ISN returns what SetISN kept; only while the initiator's SYN is all that was seen.
func (f *FlowSlot) ISN() uint32 { return atomic.LoadUint32(&f.Ack[0]) }

func shift(delta uint32, reply bool) (seq, ack uint32) {
	if reply {
		return 0, -delta
	}
	return delta, 0
}

// Key returns k with these endpoints: what a packet of k leaves with.
func (e Endpoints) Key(k packet.FlowKey) packet.FlowKey {
	k.Src, k.Dst, k.SrcPort, k.DstPort = e.Src, e.Dst, e.SrcPort, e.DstPort
	return k
}
