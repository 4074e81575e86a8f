package dataplane

import (
	"encoding/binary"
	"sync/atomic"
	"unsafe"

	"cohort/ccl/wire"
	"cohort/packet"
)

// Bounds of the arrays that XDP and Go share (bpf/layout.h).
const (
	MaxNodes    = 64
	MaxIfaces   = 32
	MaxNextHops = 4096
	MaxNATAddrs = 1024
	MaxNATUnits = 32768
)

// Flags of the shared structs.
const (
	NextHopValid    = 0x1 // NextHop.Flags: the neighbour is usable
	MemberAlive     = 0x1 // Member.Flags: in the current view
	MemberSelf      = 0x2 // Member.Flags: this node
	ControlSlowOnly = 0x1 // Control.Flags: fast path off, every packet to Go
)

// Control is struct control: one element, written by Go, read by XDP. Fields
// that change while packets flow are written with atomic stores, one field at
// a time; see Dataplane.SetView for the order.
type Control struct {
	Lease        uint64     // CLOCK_MONOTONIC ns; past it nothing is forwarded (HL5)
	HashSeed     [10]uint64 // of the flow table's index; kept for the life of the maps
	Layout       uint32     // flowtable.LayoutVersion
	IndexMask    uint32     // index buckets - 1
	FlowSlots    uint32
	ForwardSlots uint32
	View         uint32 // current view tag; 0 = fenced
	PrevView     uint32 // still accepted on the CCL
	CCLIfindex   uint32
	CCLVTEP      [16]byte // this node's VTEP, as in Member
	CCLMAC       [6]byte  // outer source MAC
	Self         uint8    // node id, 0 = none
	Flags        uint8
	VNI          uint32
}

// Member is struct member: how to reach one cluster node. Index = node id.
type Member struct {
	VTEP        [16]byte // IPv6, or IPv4 mapped into it (netip.Addr.As16)
	MAC         [6]byte  // outer destination MAC
	Flags       uint8
	Incarnation uint8 // low byte of the incarnation tag
	_           [8]byte
}

// Iface is struct iface: one data interface. Index = logical interface id.
type Iface struct {
	Ifindex uint32
	MAC     [6]byte
	MTU     uint16
	_       uint32
}

// NextHop is struct nexthop: a neighbour on a data interface. Go writes it
// under Seq (odd = being written), XDP reads it.
type NextHop struct {
	DMAC    [6]byte
	SMAC    [6]byte
	Ifindex uint32
	MTU     uint16
	Iface   uint8 // logical interface
	Flags   uint8
	Seq     uint32
	// Addr is the neighbour's IPv4 address. XDP does not read it (padding in
	// C): it lets a restarted daemon find its entries again.
	Addr packet.Addr
	_    uint32
}

// Valid reports whether the neighbour is usable. Only for the goroutine that
// writes the entry or tolerates a stale answer.
func (n *NextHop) Valid() bool { return n.Flags&NextHopValid != 0 }

// Load returns a copy of a valid entry, as XDP would read it; false when it is
// not valid or was changed meanwhile.
func (n *NextHop) Load() (NextHop, bool) {
	seq := atomic.LoadUint32(&n.Seq)
	v := *n
	return v, seq&1 == 0 && v.Valid() && atomic.LoadUint32(&n.Seq) == seq
}

// Store replaces the entry under its sequence word, so that XDP sees the old
// one or the new one. One writer at a time.
func (n *NextHop) Store(v NextHop) {
	seq := atomic.LoadUint32(&n.Seq)
	atomic.StoreUint32(&n.Seq, seq|1)
	n.DMAC, n.SMAC, n.Ifindex, n.MTU, n.Iface, n.Flags, n.Addr =
		v.DMAC, v.SMAC, v.Ifindex, v.MTU, v.Iface, v.Flags, v.Addr
	atomic.StoreUint32(&n.Seq, (seq|1)+1)
}

// natAddress is struct nat_address: how the ports of an address are cut into
// units. The kernel replaces such a map value as a whole.
type natAddress struct {
	FirstUnit           uint32
	FirstPort, LastPort uint16
	BlockSize           uint16 // ports a unit; 0: the address is one unit
	_                   uint16
}

// units returns how many units the address has; the last block may be shorter
// than the others.
func (a natAddress) units() int {
	if a.BlockSize == 0 {
		return 1
	}
	return (int(a.LastPort) - int(a.FirstPort) + int(a.BlockSize)) / int(a.BlockSize)
}

// natLine is struct nat_units: one element of the array of directors. Elements
// lie side by side, so that the array is one of units.
type natLine [64]wire.NodeID

// PuntMagic marks metadata written by our XDP programs.
const PuntMagic = 0xc0

// Punt is struct punt: what XDP found out about a packet that it hands to Go.
// It lies in front of the packet (XDP metadata).
type Punt struct {
	Magic    uint8
	Reason   uint8
	Iface    uint8  // logical interface where the packet entered the cluster
	From     uint8  // node that forwarded it, 0 = from the wire
	L3Offset uint16 // IP header, from the start of the packet data
	Hops     uint8
	Entry    uint8 // node id where the packet entered the cluster
	View     uint32
	Gen      uint32 // from the CCL header; of a fragment with bpf.PuntLabelled its ports
	Ref      uint32 // index ref that was found, 0 = none
	H1       uint32
	Tag      uint32
	_        uint32
}

// parsePunt reads the metadata; native byte order, as XDP wrote it.
func parsePunt(b []byte) (Punt, bool) {
	if len(b) < puntSize || b[0] != PuntMagic {
		return Punt{}, false
	}
	n := binary.NativeEndian
	return Punt{
		Magic: b[0], Reason: b[1], Iface: b[2], From: b[3],
		L3Offset: n.Uint16(b[4:]), Hops: b[6], Entry: b[7],
		View: n.Uint32(b[8:]), Gen: n.Uint32(b[12:]), Ref: n.Uint32(b[16:]),
		H1: n.Uint32(b[20:]), Tag: n.Uint32(b[24:]),
	}, true
}

// Sizes that bpf/layout.h promises.
const (
	puntSize = 32

	_ = uint(144-unsafe.Sizeof(Control{})) + uint(unsafe.Sizeof(Control{})-144)
	_ = uint(32-unsafe.Sizeof(Member{})) + uint(unsafe.Sizeof(Member{})-32)
	_ = uint(16-unsafe.Sizeof(Iface{})) + uint(unsafe.Sizeof(Iface{})-16)
	_ = uint(32-unsafe.Sizeof(NextHop{})) + uint(unsafe.Sizeof(NextHop{})-32)
	_ = uint(12-unsafe.Sizeof(natAddress{})) + uint(unsafe.Sizeof(natAddress{})-12)
	_ = uint(64-unsafe.Sizeof(natLine{})) + uint(unsafe.Sizeof(natLine{})-64)
	_ = uint(puntSize-unsafe.Sizeof(Punt{})) + uint(unsafe.Sizeof(Punt{})-puntSize)
)
