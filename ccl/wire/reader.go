package wire

import (
	"encoding/binary"
	"net/netip"
	"unicode/utf8"

	"cohort/packet"
)

// reader walks over one body. The first failure sticks in err; every later
// read returns zero, so that a decoder reads straight through and asks once.
type reader struct {
	b   []byte
	err error
}

func (r *reader) fail(err error) {
	if r.err == nil {
		r.err = err
	}
	r.b = nil
}

func (r *reader) take(n int) []byte {
	if len(r.b) < n {
		r.fail(ErrTruncated)
		return nil
	}
	v := r.b[:n]
	r.b = r.b[n:]
	return v
}

func (r *reader) u8() uint8 {
	if v := r.take(1); v != nil {
		return v[0]
	}
	return 0
}

func (r *reader) u16() uint16 {
	if v := r.take(2); v != nil {
		return binary.BigEndian.Uint16(v)
	}
	return 0
}

func (r *reader) u32() uint32 {
	if v := r.take(4); v != nil {
		return binary.BigEndian.Uint32(v)
	}
	return 0
}

func (r *reader) u64() uint64 {
	if v := r.take(8); v != nil {
		return binary.BigEndian.Uint64(v)
	}
	return 0
}

// uvarint reads a number that must not exceed max.
func (r *reader) uvarint(max uint64) uint64 {
	v, n := binary.Uvarint(r.b)
	switch {
	case n == 0:
		r.fail(ErrTruncated)
		return 0
	case n < 0 || v > max:
		r.fail(ErrValue)
		return 0
	}
	r.b = r.b[n:]
	return v
}

func (r *reader) gen() uint32 { return uint32(r.uvarint(1<<32 - 1)) }

func (r *reader) node() NodeID {
	v := r.u8()
	if v >= MaxNodes {
		r.fail(ErrValue)
		return 0
	}
	return NodeID(v)
}

// owner is node or OwnerRetry.
func (r *reader) owner() NodeID {
	if len(r.b) > 0 && NodeID(r.b[0]) == OwnerRetry {
		return NodeID(r.u8())
	}
	return r.node()
}

// last reads what only an orphan has.
func (r *reader) last(o *LastOwner, flags uint8) {
	*o = LastOwner{}
	if flags&ConnOrphan != 0 {
		o.ID = r.node()
		o.Life = r.u8()
	}
}

// key reads a flow key and returns the head byte for the message's own bits.
func (r *reader) key(k *packet.FlowKey) (head byte) {
	*k = packet.FlowKey{}
	head = r.u8()
	if short := head & keyProto; short != 0 {
		k.Proto = protoShort[short]
	} else {
		k.Proto = r.u8()
	}
	if head&keyZone != 0 {
		k.Zone = r.u8()
	}
	if v := r.take(8); v != nil {
		copy(k.Src[:], v)
		copy(k.Dst[:], v[4:])
	}
	if head&keyPorts != 0 {
		k.SrcPort, k.DstPort = r.u16(), r.u16()
	}
	return head
}

func (r *reader) conn(c *Conn) (mark bool) {
	head := r.key(&c.Key)
	c.Reply, c.Bound = packet.FlowKey{}, false
	if head&connNAT != 0 {
		r.reply(c)
	}
	c.In, c.Out, c.State, c.Flags, c.SeqDelta = r.u8(), r.u8(), 0, 0, 0
	if head&connTCP != 0 {
		r.state(c)
	}
	if head&connFlag != 0 {
		c.Flags = r.u8()
	}
	c.Gen = r.gen()
	c.Rule = uint16(r.uvarint(1<<16 - 1))
	c.Timeout = uint16(r.uvarint(1<<16 - 1))
	return head&headMark != 0
}

// close reads one key, or both.
func (r *reader) close(m *Close) {
	var both Conn
	head := r.key(&both.Key)
	if head&connNAT != 0 {
		r.reply(&both)
	}
	*m = Close{Key: both.Key, Reply: both.Reply, Gen: r.gen(), InOrder: head&headMark != 0}
}

// state reads a TCP state, and what its upper bit announces.
func (r *reader) state(c *Conn) {
	c.State = r.u8()
	if c.State&stateSeq == 0 {
		return
	}
	c.State &^= stateSeq
	if c.SeqDelta = r.u32(); c.SeqDelta == 0 || c.State == 0 {
		r.fail(ErrValue) // nobody says that
	}
}

// reply reads what appendReply wrote.
func (r *reader) reply(c *Conn) {
	c.Reply = c.Key.Reverse()
	what := r.u8()
	if what&^(natSrc|natDst|bound) != 0 {
		r.fail(ErrValue)
		return
	}
	if what&natSrc != 0 {
		copy(c.Reply.Src[:], r.take(4))
		c.Reply.SrcPort = r.u16()
	}
	if what&natDst != 0 {
		copy(c.Reply.Dst[:], r.take(4))
		c.Reply.DstPort = r.u16()
	}
	if c.Reply == c.Key.Reverse() {
		c.Reply = packet.FlowKey{} // said at length that nothing differs
	}
	c.Bound = what&bound != 0 && c.Translated()
}

func (r *reader) text() string {
	v := r.take(int(r.u8()))
	if !utf8.Valid(v) {
		r.fail(ErrValue)
		return ""
	}
	return string(v)
}

func (r *reader) texts() []string {
	n := int(r.u8())
	if n > MaxStrings {
		r.fail(ErrValue)
		return nil
	}
	if n > len(r.b) { // each takes a byte at least
		r.fail(ErrTruncated)
		return nil
	}
	if n == 0 {
		return nil
	}
	list := make([]string, n)
	for i := range list {
		list[i] = r.text()
	}
	return list
}

func (r *reader) addr() netip.Addr {
	switch n := r.u8(); n {
	case 0:
		return netip.Addr{}
	case 4, 16:
		a, _ := netip.AddrFromSlice(r.take(int(n)))
		return a
	}
	r.fail(ErrValue)
	return netip.Addr{}
}

func (r *reader) member(m *Member) {
	m.ID, m.Priority = r.node(), r.u8()
	m.Incarnation = Incarnation(r.u64())
	m.VTEP, m.Name, m.Serial = r.addr(), r.text(), r.text()
}

// view reads a view whose members are numbered from 1 and sorted: what
// View.Member relies on.
func (r *reader) view(v *View) {
	v.Term, v.Epoch, v.Config, v.Control = r.gen(), r.gen(), r.u64(), r.node()
	v.Draining = r.uvarint(1<<64 - 1)
	n := int(r.u8())
	v.Members = nil
	if n >= MaxNodes {
		r.fail(ErrValue)
		return
	}
	if n > len(r.b) {
		r.fail(ErrTruncated)
		return
	}
	if n == 0 {
		return
	}
	v.Members = make([]Member, n)
	last := NodeID(0)
	for i := range v.Members {
		r.member(&v.Members[i])
		if v.Members[i].ID <= last {
			r.fail(ErrValue)
			return
		}
		last = v.Members[i].ID
	}
}
