package sequence

import (
	"encoding/binary"

	"github.com/dchest/siphash"

	"cohort/ccl/wire"
	"cohort/packet"
)

// Widths of the fields, from the lowest bit on.
const (
	tagBits  = 10
	nodeBits = 6
	lowBits  = tagBits + nodeBits

	tagMask = 1<<tagBits - 1
	lowMask = 1<<lowBits - 1
)

// Every node has a number.
const _ = uint(1<<nodeBits - wire.MaxNodes)

// What a hash is for.
const (
	forUpper = 1
	forLower = 2
)

// Space is the sequence numbers of one cluster.
type Space struct{ k0, k1 uint64 }

// New makes the space under a secret that all nodes of the cluster have, and nobody
// else.
func New(secret [16]byte) *Space {
	return &Space{binary.LittleEndian.Uint64(secret[:8]), binary.LittleEndian.Uint64(secret[8:])}
}

// ISN returns the initial sequence number that owner gives to the initiator of a
// connection. reply is the responder's direction as it is received, isn the
// initiator's own number.
func (s *Space) ISN(reply packet.FlowKey, isn uint32, owner wire.NodeID) uint32 {
	upper := uint16(isn>>lowBits) + uint16(s.hash(reply, forUpper, uint16(owner)))
	lower := uint16(owner)<<tagBits ^ uint16(s.hash(reply, forLower, upper))
	return uint32(upper)<<lowBits | uint32(lower)
}

// Owner returns the node whose number an ISN is; false if it is of nobody.
func (s *Space) Owner(reply packet.FlowKey, isn uint32) (owner wire.NodeID, ok bool) {
	lower := uint16(isn&lowMask) ^ uint16(s.hash(reply, forLower, uint16(isn>>lowBits)))
	owner = wire.NodeID(lower >> tagBits)
	return owner, lower&tagMask == 0 && owner != 0
}

func (s *Space) hash(k packet.FlowKey, purpose uint8, x uint16) uint64 {
	var b [17]byte
	copy(b[0:4], k.Src[:])
	copy(b[4:8], k.Dst[:])
	binary.BigEndian.PutUint16(b[8:], k.SrcPort)
	binary.BigEndian.PutUint16(b[10:], k.DstPort)
	b[12], b[13] = k.Zone, purpose
	binary.BigEndian.PutUint16(b[14:], x)
	return siphash.Hash(s.k0, s.k1, b[:])
}
