package wire

import "cohort/packet"

// Units of translation (NT2-NT4): a port block of a PAT pool's address, or an
// address of a one-to-one pool, by its number. Who holds which is the business
// of cluster/blocks; the messages below are its language. They are rare and
// come to a Handler as values.

// Limits of the unit messages. All of them fit into one segment of the
// narrowest link when their sender stays below.
const (
	MaxUnits      = 1 << 16 // unit numbers are below
	MaxUnitRanges = 256     // ranges of one list
	MaxRoster     = 64      // entries of one Roster
)

// UnitRange is the units First to First+Count-1. In a list, ranges are sorted
// and do not overlap, and none is empty.
type UnitRange struct{ First, Count uint32 }

// Units says what the sender knows about its own units First to First+Count-1
// in the view with this tag. It is made for one receiver. Count may be 0: then
// only the head counts.
type Units struct {
	View     uint32
	Lineage  uint64 // which founding of the pools the sender belongs to, 0 = it knows of none
	Geometry uint32 // checksum of how the pools are cut: units of another cut mean something else
	Sum      uint64 // checksum of the roster that the sender would find again after a restart, 0 = it is being written
	Took     uint64 // Seq of the receiver's newest GiveUnits that the sender took
	Flags    uint8  // UnitsX
	First    uint32
	Count    uint32
	Held     []UnitRange // the sender may allocate from these
	Past     []UnitRange // not held, but the sender had them in this view
}

// Units flags.
const (
	UnitsAsk     = 0x01 // the receiver has not told the sender everything in this view yet
	UnitsLeaving = 0x02 // the sender is about to leave: it is nobody's target
	UnitsUnsure  = 0x04 // Past is not complete yet: more follows
)

// GiveUnits passes units from the sender to the receiver. It counts only in the
// view with this tag, and only in its turn: Seq is one more than the receiver's
// Took. Answer: it answers a WantUnits; without units it is a refusal, and Seq
// does not count.
type GiveUnits struct {
	View   uint32
	Seq    uint64
	Answer bool
	Pool   uint16 // of the WantUnits
	Left   uint16 // units of the pool that the sender could give on top
	Units  []UnitRange
}

// WantUnits asks the receiver to give up to Count idle units of a pool (NT3).
type WantUnits struct {
	View  uint32
	Pool  uint16
	Count uint16
}

// Roster tells which nodes were ever members.
type Roster struct{ Entries []RosterEntry }

// RosterEntry is what is known of the node with this name. The entry with the
// greater Seen is newer; among equals the one that is Over.
type RosterEntry struct {
	Name string
	Seen uint64 // number of the newest view that shows it: term and epoch, 32 bits each
	Over bool   // it left, or an operator said that it is no more
	// Forgotten rises each time that an operator says that it is over, and stays
	// when it comes back: who was cut off can learn it. 0 = never.
	Forgotten uint64
}

// Rests tells of hold-downs that run at the sender (NT5), in units that nobody holds or
// that it is about to give up. It counts only in the view with this tag.
type Rests struct {
	View uint32
	// Departing: the sender leaves the cluster in order. Of the units First to
	// First+Count-1 it knew, of those in Units, every connection until now.
	Departing    bool
	First, Count uint32
	Units        []UnitRest // rising
}

// UnitRest is when the last hold-down in a unit ends: in Left milliseconds, rounded
// up, from the message's arrival at the latest. RestWhole: a whole hold-down from then.
type UnitRest struct{ Unit, Left uint32 }

// RestWhole is the Left of a unit in which ports are about to begin their hold-down.
const RestWhole = 1<<32 - 1

// Type implements Message.
func (Rests) Type() Type { return TypeRests }

// Type implements Message.
func (Units) Type() Type { return TypeUnits }

// Type implements Message.
func (GiveUnits) Type() Type { return TypeGiveUnits }

// Type implements Message.
func (WantUnits) Type() Type { return TypeWantUnits }

// Type implements Message.
func (Roster) Type() Type { return TypeRoster }

// HostUnits is everything that nodes say about the port blocks of an inside
// host (NT6). It counts only in the view with this tag.
type HostUnits struct {
	View  uint32
	Op    HostOp
	Pool  uint16
	Host  packet.Addr
	Count uint16 // HostHas, HostAsk: blocks that the host has at the sender
}

// HostOp says which message a HostUnits is.
type HostOp uint8

// The messages about a host's blocks.
const (
	HostAsk    HostOp = 1 // node -> director: may it have one more?
	HostGrant  HostOp = 2 // director -> node
	HostRefuse HostOp = 3 // director -> node: it has as many as it may
	HostHas    HostOp = 4 // node -> director, in every view
	HostLess   HostOp = 5 // node -> director: one was given back
)

// Type implements Message.
func (HostUnits) Type() Type { return TypeHostUnits }
