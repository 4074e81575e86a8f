package flowtable

import (
	"fmt"

	"cohort/packet"
)

// Entry is a Backup where a BackupStore keeps it. What is set is stored at once. It is
// valid until the next Put, which may move it, or until it is deleted: the deletion of
// others moves nothing. Two of them are equal if they are one entry.
type Entry struct {
	store *BackupStore
	shard *shard
	at    *place
}

// Key returns the key as it was put.
func (e Entry) Key() PackedKey {
	c, k := e.class(), &e.at.key
	return PackedKey{Src: k.src, Dst: k.dst, SrcPort: k.srcPort, DstPort: k.dstPort, Proto: c.proto, Zone: c.zone}
}

// Owner, Incarnation and the following are the fields of Backup.
func (e Entry) Owner() uint8 { return e.at.owner }

func (e Entry) Incarnation() uint8 { return e.at.incarnation }

func (e Entry) Confirmed() uint32 { return e.at.confirmed }

func (e Entry) Gen() uint32 { return e.store.genOf(e.shard, e.at) }

func (e Entry) State() uint8 { return e.class().state }

func (e Entry) Flags() uint8 { return e.class().flags }

func (e Entry) In() uint8 { return e.class().in }

func (e Entry) Out() uint8 { return e.class().out }

func (e Entry) Rule() uint16 { return e.class().rule }

func (e Entry) Timeout() uint16 { return e.class().timeout }

func (e Entry) class() *class { return e.store.classOf(e.shard, e.at) }

// Backup returns all of them.
func (e Entry) Backup() Backup {
	c := e.class()
	return Backup{
		Key: e.Key(), Owner: e.at.owner, Incarnation: e.at.incarnation, Gen: e.Gen(), State: c.state,
		In: c.in, Out: c.out, Flags: c.flags, Rule: c.rule, Timeout: c.timeout, Confirmed: e.at.confirmed,
	}
}

// String shows what Backup returns.
func (e Entry) String() string {
	if e.at == nil {
		return "nothing"
	}
	return fmt.Sprintf("%+v", e.Backup())
}

// SetOwner changes owner and incarnation.
func (e Entry) SetOwner(owner, incarnation uint8) { e.at.owner, e.at.incarnation = owner, incarnation }

// SetConfirmed changes the tick of the last confirmation.
func (e Entry) SetConfirmed(tick uint32) { e.at.confirmed = tick }

// SetFlags changes the flags.
func (e Entry) SetFlags(flags uint8) { e.SetLife(flags, e.State()) }

// SetLife changes flags and state.
func (e Entry) SetLife(flags, state uint8) {
	c := *e.class()
	if c.flags != flags || c.state != state {
		c.flags, c.state = flags, state
		e.store.reclass(e.shard, e.at, c)
	}
}

// SetRule changes the rule.
func (e Entry) SetRule(rule uint16) {
	c := *e.class()
	if c.rule != rule {
		c.rule = rule
		e.store.reclass(e.shard, e.at, c)
	}
}

// SetTimeout changes the idle timeout, in seconds.
func (e Entry) SetTimeout(seconds uint16) {
	c := *e.class()
	if c.timeout != seconds {
		c.timeout = seconds
		e.store.reclass(e.shard, e.at, c)
	}
}

// Other returns the key that PutPair stored beside; false when there is none.
func (e Entry) Other() (packet.FlowKey, bool) {
	o := e.store.otherOf(e.shard, e.at)
	if o == (tuple{}) {
		return packet.FlowKey{}, false
	}
	c := e.class()
	return o.key(c.proto, c.zone), true
}

// Joined reports whether the entry is found by its other key as well.
func (e Entry) Joined() bool { return e.at.gen&joinedBit != 0 }

// SeqDelta returns by how much the initiator's sequence numbers are shifted
// (FlowSlot.SeqDelta), 0 of an entry for which nothing was set since it was put.
func (e Entry) SeqDelta() uint32 {
	switch {
	case e.at.class == noClass:
		return e.shard.rest[e.at.number()].delta
	case e.class().kind == kindPlain:
		return e.at.number()
	}
	return 0
}

// SetSeqDelta stores that.
func (e Entry) SetSeqDelta(delta uint32) {
	switch {
	case e.at.class == noClass:
		e.shard.rest[e.at.number()].delta = delta
	case e.class().kind == kindPlain:
		e.at.setNumber(delta)
	case delta != 0:
		e.store.putBeside(e.shard, e.at, *e.class())
		e.shard.rest[e.at.number()].delta = delta
	}
}
