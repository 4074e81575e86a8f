package flowtable

import (
	"unsafe"

	"cohort/packet"
)

// LayoutVersion changes whenever a struct below does. Pinned maps of another
// version are rebuilt, never reinterpreted.
const LayoutVersion = 7

// BucketEntries is the width of an index bucket: one cache line.
const BucketEntries = 8

// Flow flags (FlowSlot.Flags).
const (
	FlowLive        = 0x01 // the slot holds a flow
	FlowPunt        = 0x02 // every packet goes to Go
	FlowProvisional = 0x04 // the claim has not been answered
	FlowDelegated   = 0x08 // owner: others may forward parts of it; forwarder: its delegation says how
	FlowReply       = 0x10 // delegation: of the responder's direction
)

// TickShift turns nanoseconds of CLOCK_MONOTONIC into ticks: one tick is
// 2^20 ns, about 1.05 ms. A tick counter wraps after 52 days; compare with
// signed differences only.
const TickShift = 20

// Bucket is one cache line of the index: entries are tag<<32 | ref, 0 empty.
type Bucket [BucketEntries]uint64

// FlowSlot is the owner's entry of one connection: one flow, two directions,
// one shared state. 128 bytes, two cache lines: the first is written by Go
// under Seq, the second by XDP. See bpf/layout.h.
type FlowSlot struct {
	Key         [2]packet.FlowKey // as received: from the initiator, from the responder
	Seq         uint32            // odd while Go rewrites the first line
	Gen         uint32            // ownership generation granted by the director
	NextHop     [2]uint16         // of direction d; 0 = ask Go
	Iface       [2]uint8          // logical interface where direction d enters
	State       uint8             // TCPState
	Flags       uint8
	Rule        uint16
	Timeout     uint16 // idle timeout, seconds
	Created     uint32 // ticks
	SeqDelta    uint32 // TCP: added to the initiator's sequence numbers, 0 = none (FR5): see Shift
	Backup      uint8  // who was sent the newest state: see SetBackup
	Replication uint8
	Stub        uint8 // node that was given the second key of a translated connection, 0 = none
	Copied      uint8 // how much of the state that node has: see SetBackup

	LastSeen [2]uint32 // ticks
	Packets  [2]uint64 // the top byte: FlowSlot.Via
	Bytes    [2]uint64 // IP total length
	SeqEnd   [2]uint32 // TCP: one past the highest sequence number sent, as the initiator knows it
	Ack      [2]uint32 // TCP: last acknowledgement sent, as the initiator knows it
	Window   [2]uint16 // TCP: last window sent, unscaled
	Seen     [2]uint8  // TCP flags seen, ORed
	WScale   [2]uint8  // TCP window shift, 0xff unknown; Go writes it once
}

// ForwardSlot is what a forwarder caches: who owns this direction. 48 bytes.
type ForwardSlot struct {
	Key         packet.FlowKey
	Seq         uint32
	Gen         uint32
	Owner       uint8 // node id
	Incarnation uint8 // low byte of the owner's incarnation tag
	Iface       uint8
	Flags       uint8
	Delegation  uint32 // with FlowDelegated: slot of its delegation
	LastSeen    uint32 // ticks
	Packets     uint32 // modulo 2^32: it is the owner who counts
	Bytes       uint64
}

// Endpoints is a tuple without what translation leaves alone: protocol and zone.
type Endpoints struct {
	Src, Dst         packet.Addr
	SrcPort, DstPort uint16
}

// EndpointsOf returns those of k.
func EndpointsOf(k packet.FlowKey) Endpoints { return Endpoints{k.Src, k.Dst, k.SrcPort, k.DstPort} }

// DelegationSlot is what the owner has told a forwarder to do with a direction by
// itself. 128 bytes, two cache lines: the first is written by Go under Seq, the second
// by XDP. The index leads here while it is in force. See bpf/layout.h.
type DelegationSlot struct {
	Key      packet.FlowKey // as received
	To       Endpoints      // what packets leave with
	SeqDelta uint32         // as in FlowSlot
	Seq      uint32         // odd while Go rewrites the first half
	NextHop  uint16
	Iface    uint8  // logical interface where the direction enters
	Flags    uint8  // FlowLive, FlowReply
	Lease    uint32 // ticks: in force before that
	View     uint32 // tag of the view that it is bound to
	Forward  uint32 // the forward slot of this direction
	_        [3]uint32

	Packets  uint64
	Bytes    uint64 // IP total length
	LastSeen uint32 // ticks
	SeqEnd   uint32 // TCP, as in FlowSlot
	Ack      uint32
	Window   uint16
	ID       uint16 // tells it from others of the same direction and node
	_        [4]uint64
}

// The sizes are promises (SPEC, DESIGN 3): owner 128 B, forwarder <= 48 B,
// backup <= 32 B.
const (
	_ = uint(128-unsafe.Sizeof(FlowSlot{})) + uint(unsafe.Sizeof(FlowSlot{})-128)
	_ = uint(48-unsafe.Sizeof(ForwardSlot{})) + uint(unsafe.Sizeof(ForwardSlot{})-48)
	_ = uint(128-unsafe.Sizeof(DelegationSlot{})) + uint(unsafe.Sizeof(DelegationSlot{})-128)
	_ = uint(64-unsafe.Sizeof(Bucket{})) + uint(unsafe.Sizeof(Bucket{})-64)
	_ = uint(16-unsafe.Sizeof(packet.FlowKey{})) + uint(unsafe.Sizeof(packet.FlowKey{})-16)
)
