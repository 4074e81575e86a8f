package sequence

import (
	"crypto/sha256"
	"encoding/binary"

	"github.com/dchest/siphash"

	"cohort/ccl/wire"
	"cohort/packet"
)

// Widths of the two halves, and of a node.
const (
	nodeBits = 6
	lowBits  = 16
	lowMask  = 1<<lowBits - 1
)

// The upper half moves by one of 64 steps, another for each node, and by a part of one.
const (
	stepBits = 16 - nodeBits // of a step: 1,024 upper halves
	stepMask = 1<<stepBits - 1
	edge     = 34 // of these, so many at either end are left out
)

// nodeApart is by how much the lower halves of two nodes differ whose numbers follow each
// other: little data in a SYN, which the responder acknowledges with it, does not as a rule lead to
// another node.
const nodeApart = 97

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
	sum := sha256.Sum256(append([]byte("cohort sequence numbers 2"), seed[:]...))
	return New([16]byte(sum[:16]))
}

// ISN returns the initial sequence number that owner gives to the initiator of a
// connection. reply is the responder's direction as it is received, isn the
// initiator's own number.
func (s *Space) ISN(reply packet.FlowKey, isn uint32, owner wire.NodeID) uint32 {
	upper := uint16(isn>>lowBits) + s.moved(reply, owner)
	return uint32(upper)<<lowBits | uint32(s.lower(reply, upper)+uint16(owner)*nodeApart)
}

// Owner returns the node whose number an ISN is; false if it is of nobody.
func (s *Space) Owner(reply packet.FlowKey, isn uint32) (owner wire.NodeID, ok bool) {
	above := uint16(isn&lowMask) - s.lower(reply, uint16(isn>>lowBits))
	if above == 0 || above%nodeApart != 0 || above/nodeApart >= wire.MaxNodes {
		return 0, false
	}
	return wire.NodeID(above / nodeApart), true
}

// Upper returns the upper half of the number that an initiator had before a node gave
// it this one; false if it is of nobody. So the numbers that different nodes give one
// SYN are told from those of two, but one pair in 65,536.
func (s *Space) Upper(reply packet.FlowKey, isn uint32) (upper uint16, ok bool) {
	owner, ok := s.Owner(reply, isn)
	return uint16(isn>>lowBits) - s.moved(reply, owner), ok
}

// Mover returns the node that moves initial numbers by this much, or by 2 MiB less or
// more; 0 if none does.
func (s *Space) Mover(reply packet.FlowKey, by uint32) wire.NodeID {
	step, _ := s.tuple(reply)
	return wire.NodeID(by>>(stepBits+lowBits)) ^ wire.NodeID(step)
}

// Other returns by how much a second node has moved the initial number that a first one
// has moved by exactly this much, or 0 if it has let the initiator keep it: whatever that
// number is, two nodes' are as far apart. About says which node it is: 2 MiB less or more
// than the answer, 1 MiB where that is 0. False: no node moves any number so.
func (s *Space) Other(reply packet.FlowKey, by, about uint32) (other uint32, ok bool) {
	hidden, part := s.tuple(reply)
	first := by>>(stepBits+lowBits) ^ uint32(hidden)
	borrows := edge + part - uint16(by>>lowBits)&stepMask // by the initiator's lower half
	if first == 0 || borrows > 1 {
		return 0, false
	}
	if about+Apart/2 < Apart {
		return 0, true
	}
	second := about>>(stepBits+lowBits) ^ uint32(hidden)
	steps := about>>(stepBits+lowBits) - by>>(stepBits+lowBits)
	return by + steps<<(stepBits+lowBits) + (second-first)*nodeApart, second != 0
}

// moved is by how much a node moves the upper half: the step is the node's number,
// which a hash of the tuple hides; the part is of the tuple alone. So no two nodes come
// near each other, or stay where the initiator is.
func (s *Space) moved(reply packet.FlowKey, owner wire.NodeID) uint16 {
	hidden, part := s.tuple(reply)
	return (uint16(owner)^hidden)<<stepBits + edge + part
}

// tuple is what hides the nodes' steps, and what all nodes move a number by besides.
func (s *Space) tuple(reply packet.FlowKey) (hidden, part uint16) {
	h := s.hash(reply, forUpper, 0)
	return uint16(h>>32) & (1<<nodeBits - 1), uint16(uint32(h) >> 10 * (1<<stepBits - 2*edge) >> 22)
}

// lower is what the node's own number is added to, which never overflows. It is of that part
// of the upper half which is the same whatever node moves a number: so two nodes' numbers
// of one SYN differ by what these two alone say.
func (s *Space) lower(reply packet.FlowKey, upper uint16) uint16 {
	h := s.hash(reply, forLower, upper&stepMask)
	return uint16(uint64(uint32(h)) * (1<<lowBits - wire.MaxNodes*nodeApart) >> 32)
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
