package sequence

import (
	"crypto/sha256"
	"encoding/binary"
	"iter"

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

// The upper half moves by one of 64 steps, another for each node, and by a part of one.
const (
	stepBits = 16 - nodeBits // of a step: 1,024 upper halves
	edge     = 34            // of these, so many at either end are left out
)

// Apart is by how much, at least, the numbers differ that two nodes give one SYN, and
// each of them from the initiator's own: 2 MiB. What a responder acknowledges of one,
// data and all, is told from what it would of another as long as it is less.
const Apart = (edge - 2) << lowBits

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

// Of derives the space of a cluster from its seed, which all nodes have and which
// stays when keys of the link change: every node must read what any other has written.
func Of(seed [32]byte) *Space {
	sum := sha256.Sum256(append([]byte("cohort sequence numbers 1"), seed[:]...))
	return New([16]byte(sum[:16]))
}

// ISN returns the initial sequence number that owner gives to the initiator of a
// connection. reply is the responder's direction as it is received, isn the
// initiator's own number.
func (s *Space) ISN(reply packet.FlowKey, isn uint32, owner wire.NodeID) uint32 {
	upper := uint16(isn>>lowBits) + s.moved(reply, owner)
	lower := uint16(owner)<<tagBits ^ uint16(s.hash(reply, forLower, upper))
	return uint32(upper)<<lowBits | uint32(lower)
}

// Owner returns the node whose number an ISN is; false if it is of nobody.
func (s *Space) Owner(reply packet.FlowKey, isn uint32) (owner wire.NodeID, ok bool) {
	lower := uint16(isn&lowMask) ^ uint16(s.hash(reply, forLower, uint16(isn>>lowBits)))
	owner = wire.NodeID(lower >> tagBits)
	return owner, lower&tagMask == 0 && owner != 0
}

// Upper returns the upper half of the number that an initiator had before a node gave
// it this one; false if it is of nobody. So the numbers that different nodes give one
// SYN are told from those of two, but one pair in 65,536.
func (s *Space) Upper(reply packet.FlowKey, isn uint32) (upper uint16, ok bool) {
	owner, ok := s.Owner(reply, isn)
	return uint16(isn>>lowBits) - s.moved(reply, owner), ok
}

// Before lists the initial numbers, two at most, that an initiator may have begun with
// whose numbers a node has moved by this much, and which has sent less than 64 KiB up to
// end: upper halves tell by whom, and the lower half that it has made tells the rest.
func (s *Space) Before(reply packet.FlowKey, by, end uint32) iter.Seq[uint32] {
	return func(yield func(uint32) bool) {
		for _, upper := range [2]uint32{(end - 1) >> lowBits, (end-1)>>lowBits - 1} {
			for node := wire.NodeID(1); node < wire.MaxNodes; node++ {
				isn := s.ISN(reply, upper<<lowBits, node) - by // its lower half does not matter
				if (isn^upper<<lowBits)>>lowBits == 0 && end-1-isn <= lowMask && !yield(isn) {
					return
				}
			}
		}
	}
}

// moved is by how much a node moves the upper half: the step is the node's number,
// which a hash of the tuple hides; the part is of the tuple alone. So no two nodes come
// near each other, or stay where the initiator is.
func (s *Space) moved(reply packet.FlowKey, owner wire.NodeID) uint16 {
	h := s.hash(reply, forUpper, 0)
	step := uint16(owner) ^ uint16(h>>32)&(1<<nodeBits-1)
	part := uint16(uint32(h) >> 10 * (1<<stepBits - 2*edge) >> 22)
	return step<<stepBits + edge + part
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
