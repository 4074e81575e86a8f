package blocks

import (
	"encoding/binary"
	"time"

	"github.com/dchest/siphash"

	"cohort/ccl/wire"
)

// Range is one pool: the units First to First+Units-1, PerAddress of which
// belong to each of its addresses. Pools lie one after another, from unit 0.
type Range struct{ First, Units, PerAddress int }

// Output carries the messages.
type Output interface {
	// Send queues a message on the reliable channel to a member. An error
	// means that it was not queued; the machine sends its content again.
	Send(to wire.NodeID, m wire.Message) error
}

// Ports is the node's allocator of ports. It must not call the Machine.
type Ports interface {
	// SetHeld says whether this node may allocate from the unit. Withdrawn
	// before anybody else may.
	SetHeld(unit int, held bool)
	// SetLeased says of a unit that is held whether another node should have it:
	// then connections begin there only where there is no room elsewhere, so that
	// it can become idle and return. A unit is not when SetHeld has said it is held.
	SetLeased(unit int, leased bool)
	// Rest says, before SetHeld, that no port may be allocated from the unit before
	// end, 0 = before a whole hold-down has passed, which is also the longest: it
	// comes from a holder that is over, and which of its ports rest is not known.
	// It returns when the rest ends, 0 = it does not rest.
	Rest(unit int, end int64) int64
	// Quiet returns when the last hold-down in the unit ends that this node knows
	// of, or has Heard of; a time that is over, or 0, when there is none.
	Quiet(unit int) int64
	// Heard says that another member knows of a hold-down in the unit that lasts until
	// end; 0 as for Rest.
	Heard(unit int, end int64)
	// Idle reports whether no connection that this node knows of, its own or
	// one it directs, uses a port of the unit, and no hold-down is left there.
	// The machine believes it only between Settled and the next view.
	Idle(unit int) bool
}

// Journal is memory that outlives the process but not the incarnation. A hitless
// restart reads it back into Restore. It is written before any message that
// depends on it is sent.
type Journal interface {
	View(number uint64)       // the view that is applied now, see Number
	Hold(unit int, held bool) // this node holds the unit, or does not
}

// TakeJournal is a Journal that also keeps which gives were taken. Without it,
// what is on its way to a process that is killed is found in the next view.
type TakeJournal interface {
	Journal
	Took(t Taken) // replaces the one before of the same node
}

// GoneJournal is a Journal that also keeps which units were given away in the
// present view; a View of another number empties it, after it has noted the
// number. Without it, a process that takes over has to claim for the rest of the
// view that it had whatever another member had, and what is lost between two
// processes that are killed is found in the next view.
type GoneJournal interface {
	Journal
	Gone(unit int) // before it is given away
}

// Taken is the newest give that was taken from a node's present life.
type Taken struct {
	From wire.NodeID
	Life wire.Incarnation
	Seq  uint64
}

// Number is the number of a view in a Journal: views have rising ones.
func Number(v *wire.View) uint64 { return uint64(v.Term)<<32 | uint64(v.Epoch) }

// Memory is what must survive the loss of everything but the node's disk: the
// founding that it belongs to, and all nodes that may hold something of it. A
// node that has none counts as new.
type Memory struct {
	Version uint64 // for Remembered
	Lineage uint64
	Roster  []wire.RosterEntry // sorted by name
}

// Config is fixed for the life of a Machine, but for what Recut changes.
type Config struct {
	Pools  []Range
	Cut    uint32   // checksum of what the numbers of units stand for: addresses and ports
	Names  []uint64 // what rendezvous hashing knows each unit by, so that another number moves nothing; nil: its number
	Seed   [16]byte // cluster-wide secret of the rendezvous hashing
	Memory Memory   // as last given to Remember
	Found  bool     // this node may found the pools' lineage when nobody knows of one

	Output Output
	Ports  Ports

	// Remember writes down what a later life of the node must know; when it is
	// safe on disk, call Remembered with its Version (a newer one covers the
	// older). Until then the node gives nothing to a node it did not know
	// before. nil: there is no disk; doc.go says what that costs.
	Remember func(Memory)
	Journal  Journal // may be nil when no process takes over from another
	// Over says that a member told that the node of this name is over: it left
	// in order, or was forgotten there (Forget). May be nil.
	Over func(name string)
	// Forgotten says that the others had forgotten this node while this life of
	// it lived: it has given up all units, and others may serve its connections.
	// The caller ends the life, not from within the call. May be nil.
	Forgotten func()
	// Answered ends a Want: so many units came, 0 = nobody has one to spare.
	// May be nil.
	Answered func(pool, units int)

	// Bounds; zero values take the defaults.
	PassEvery   time.Duration // hand-over and thaw look this often (100 ms)
	RepeatAfter time.Duration // what was not answered is said again (250 ms)
	AskTimeout  time.Duration // a holder has this long to answer a Want (20 ms)
	WantFor     time.Duration // a Want that meets a change of view waits this long (1 s)
	MaxRanges   int           // in one message, so that it fits into a segment of the narrowest link (96)
	LeaseFor    time.Duration // after a Want, units of the pool are not given back for so long (10 s)
}

func (c *Config) defaults() {
	if c.MaxRanges == 0 {
		c.MaxRanges = 96
	}
	for _, d := range []struct {
		p *time.Duration
		v time.Duration
	}{
		{&c.PassEvery, 100 * time.Millisecond}, {&c.RepeatAfter, 250 * time.Millisecond}, {&c.AskTimeout, 20 * time.Millisecond},
		{&c.WantFor, time.Second}, {&c.LeaseFor, 10 * time.Second},
	} {
		if *d.p == 0 {
			*d.p = d.v
		}
	}
}

// units is the number of units of all pools.
func (c *Config) units() (n int) {
	for _, p := range c.Pools {
		n = max(n, p.First+p.Units)
	}
	return n
}

// geometry is a checksum of the pools: nodes that cut them differently must not
// talk about units by number.
func (c *Config) geometry() uint32 {
	var b []byte
	for _, p := range c.Pools {
		for _, v := range []int{p.First, p.Units, p.PerAddress} {
			b = binary.BigEndian.AppendUint32(b, uint32(v))
		}
	}
	b = binary.BigEndian.AppendUint32(b, c.Cut)
	return uint32(siphash.Hash(0, 0, b))
}

// poolOf returns the index of the pool that a unit belongs to.
func (c *Config) poolOf(u int) int {
	lo, hi := 0, len(c.Pools)
	for hi-lo > 1 {
		if mid := (lo + hi) / 2; c.Pools[mid].First <= u {
			lo = mid
		} else {
			hi = mid
		}
	}
	return lo
}
