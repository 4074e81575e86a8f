package wire

import (
	"fmt"
	"net/netip"

	"cohort/packet"
)

// Handler takes the messages of a batch in their order. Each state message has
// its method, so that nothing is boxed; the pointer is valid until the method
// returns. The rare messages about units share one method and come as values, and
// so do those of membership.
type Handler interface {
	HandleClaim(from netip.Addr, m *Claim)
	HandleGrant(from netip.Addr, m *Grant)
	HandleGranted(from netip.Addr, m *Granted)
	HandleRedirect(from netip.Addr, m *Redirect)
	HandleQuery(from netip.Addr, m *Query)
	HandleOwner(from netip.Addr, m *Owner)
	HandleUpdate(from netip.Addr, m *Update)
	HandleClose(from netip.Addr, m *Close)
	HandleGone(from netip.Addr, m *Gone)
	HandleSynced(from netip.Addr, m *Synced)
	HandleBind(from netip.Addr, m *Bind)
	HandleAlias(from netip.Addr, m *Alias)
	HandleKept(from netip.Addr, m *Kept)
	HandleDelegate(from netip.Addr, m *Delegate)
	HandleReport(from netip.Addr, m *Report)
	HandleLease(from netip.Addr, m *Lease)
	HandleUnits(from netip.Addr, m Message)
	HandleMembership(from netip.Addr, m Message)
}

// Decoder decodes batches into structs that it keeps: no allocation for state
// messages. The zero value is ready; one goroutine at a time.
type Decoder struct {
	Unknown uint64 // messages skipped because their type is not known

	// Expect, if set, hears of the connections that the next messages of a batch are
	// about, by both keys (reply is zero where there is none, or none is said), before
	// these are handled. It may only prepare.
	Expect func(key, reply packet.FlowKey)
	// ExpectGranted does so for a Granted, which names no key. May be nil.
	ExpectGranted func(serial uint32)

	claim    Claim
	grant    Grant
	granted  Granted
	redirect Redirect
	query    Query
	owner    Owner
	update   Update
	close    Close
	gone     Gone
	synced   Synced
	bind     Bind
	alias    Alias
	kept     Kept
	delegate Delegate
	report   Report
	lease    Lease
}

// Batch hands every message of b to h. It stops at the first malformed one;
// those before it have been handled.
func (d *Decoder) Batch(from netip.Addr, b []byte, h Handler) error {
	ahead, n := b, 0
	for {
		if d.Expect != nil {
			for ; n < lead && len(ahead) > 0; n++ {
				ahead = d.expect(ahead)
			}
			n--
		}
		t, body, rest, err := split(b)
		if err == ErrEmpty {
			return nil
		}
		if err == nil {
			r := reader{b: body}
			err = d.one(from, t, &r, h)
		}
		if err != nil {
			return fmt.Errorf("wire: %v: %w", t, err)
		}
		b = rest
	}
}

// lead is how many messages Decoder.Expect is ahead: memory is a hundred nanoseconds
// away, and a message takes a few hundred.
const lead = 6

// expect tells Expect of the first message of b, and returns the rest. It judges nothing.
func (d *Decoder) expect(b []byte) (rest []byte) {
	t, body, rest, err := split(b)
	if err != nil {
		return nil
	}
	r := reader{b: body}
	var c Conn
	switch t {
	case TypeClaim, TypeGrant, TypeUpdate, TypeClose:
		if head := r.key(&c.Key); head&connNAT != 0 {
			r.reply(&c)
		}
	case TypeBind:
		r.key(&c.Reply)
		r.key(&c.Key)
	case TypeQuery, TypeOwner, TypeRedirect:
		r.key(&c.Key)
	case TypeGranted:
		if d.ExpectGranted == nil {
			return rest
		}
		var m Granted
		for r.granted(&m); r.err == nil; {
			if d.ExpectGranted(m.Serial); !r.more(&m) {
				break
			}
		}
		return rest
	default:
		return rest
	}
	if r.err == nil {
		d.Expect(c.Key, c.Reply)
	}
	return rest
}

// one decodes a state message in place and calls its method.
func (d *Decoder) one(from netip.Addr, t Type, r *reader, h Handler) error {
	if t.Control() {
		return d.membership(from, t, r, h)
	}
	if t == TypeGranted {
		return d.allGranted(from, r, h)
	}
	units := readUnits(t, r)
	if units == nil && !d.state(t, r) {
		d.Unknown++
		return nil
	}
	if err := r.end(); err != nil {
		return err
	}
	if units != nil {
		h.HandleUnits(from, units)
		return nil
	}
	switch t {
	case TypeClaim:
		h.HandleClaim(from, &d.claim)
	case TypeGrant:
		h.HandleGrant(from, &d.grant)
	case TypeRedirect:
		h.HandleRedirect(from, &d.redirect)
	case TypeQuery:
		h.HandleQuery(from, &d.query)
	case TypeOwner:
		h.HandleOwner(from, &d.owner)
	case TypeUpdate:
		h.HandleUpdate(from, &d.update)
	case TypeClose:
		h.HandleClose(from, &d.close)
	case TypeGone:
		h.HandleGone(from, &d.gone)
	case TypeSynced:
		h.HandleSynced(from, &d.synced)
	case TypeBind:
		h.HandleBind(from, &d.bind)
	case TypeAlias:
		h.HandleAlias(from, &d.alias)
	case TypeKept:
		h.HandleKept(from, &d.kept)
	case TypeDelegate:
		h.HandleDelegate(from, &d.delegate)
	case TypeReport:
		h.HandleReport(from, &d.report)
	case TypeLease:
		h.HandleLease(from, &d.lease)
	}
	return nil
}

// allGranted calls HandleGranted for each answer in a message.
func (d *Decoder) allGranted(from netip.Addr, r *reader, h Handler) error {
	all := *r
	var m Granted
	for all.granted(&m); all.more(&m); {
	}
	if all.err != nil {
		return all.err
	}
	for r.granted(&d.granted); ; {
		h.HandleGranted(from, &d.granted)
		if !r.more(&d.granted) {
			return nil
		}
	}
}

func (d *Decoder) membership(from netip.Addr, t Type, r *reader, h Handler) error {
	m := readMembership(t, r)
	if m == nil && r.err == nil {
		d.Unknown++
		return nil
	}
	if err := r.end(); err != nil {
		return err
	}
	h.HandleMembership(from, m)
	return nil
}

// state fills the struct of t and reports whether t is known.
func (d *Decoder) state(t Type, r *reader) bool {
	switch t {
	case TypeClaim:
		d.claim.Reregister, d.claim.Serial = r.conn(&d.claim.Conn), 0
		if !d.claim.Reregister {
			d.claim.Serial = r.serial()
		}
	case TypeGrant:
		d.grant.Adopted = r.conn(&d.grant.Conn)
	case TypeGranted:
		r.granted(&d.granted)
	case TypeRedirect:
		r.key(&d.redirect.Key)
		d.redirect.Owner, d.redirect.Gen = r.owner(), r.gen()
	case TypeQuery:
		r.key(&d.query.Key)
	case TypeOwner:
		r.key(&d.owner.Key)
		d.owner.Owner, d.owner.Gen = r.owner(), r.gen()
	case TypeUpdate:
		r.conn(&d.update.Conn)
		r.last(&d.update.Last, d.update.Conn.Flags)
	case TypeClose:
		r.close(&d.close)
	case TypeGone:
		r.key(&d.gone.Key)
	case TypeSynced:
		d.synced.View, d.synced.Phase = r.u32(), SyncPhase(r.u8())
	case TypeBind:
		r.key(&d.bind.Key)
		r.key(&d.bind.Conn)
		d.bind.Gen, d.bind.Timeout, d.bind.Flags = r.gen(), uint16(r.uvarint(1<<16-1)), r.u8()
		r.last(&d.bind.Last, d.bind.Flags)
	case TypeAlias:
		r.key(&d.alias.Key)
		r.key(&d.alias.Conn)
	case TypeKept:
		r.key(&d.kept.Key)
		d.kept.Gen, d.kept.State = r.gen(), r.u8()
	case TypeDelegate:
		r.delegate(&d.delegate)
	case TypeReport:
		r.report(&d.report)
	case TypeLease:
		r.lease(&d.lease)
	default:
		return false
	}
	return true
}

// read returns any message as a value, nil for an unknown type.
func (d *Decoder) read(t Type, r *reader) Message {
	if t.Control() {
		return readMembership(t, r)
	}
	if m := readUnits(t, r); m != nil {
		return m
	}
	d.state(t, r)
	switch t {
	case TypeClaim:
		return d.claim
	case TypeGrant:
		return d.grant
	case TypeGranted:
		return d.granted
	case TypeRedirect:
		return d.redirect
	case TypeQuery:
		return d.query
	case TypeOwner:
		return d.owner
	case TypeUpdate:
		return d.update
	case TypeClose:
		return d.close
	case TypeGone:
		return d.gone
	case TypeSynced:
		return d.synced
	case TypeBind:
		return d.bind
	case TypeAlias:
		return d.alias
	case TypeKept:
		return d.kept
	case TypeDelegate:
		return d.delegate
	case TypeReport:
		return d.report
	case TypeLease:
		return d.lease
	}
	return nil
}

// readMembership returns nil for an unknown type.
func readMembership(t Type, r *reader) Message {
	switch t {
	case TypeHeartbeat:
		var m Heartbeat
		r.member(&m.From)
		m.State = NodeState(r.u8())
		m.Term, m.Epoch, m.Control = r.gen(), r.gen(), r.node()
		m.Alive, m.Prepared = r.uvarint(1<<64-1), r.u64()
		m.Down, m.Narrow, m.Flags = r.gen(), r.uvarint(1<<64-1), BeatFlags(r.u8())
		return m
	case TypeElectionRequest:
		var m ElectionRequest
		r.member(&m.From)
		m.Cluster = r.text()
		return m
	case TypeElectionReply:
		var m ElectionReply
		r.member(&m.From)
		m.Control, m.Term, m.Epoch = r.node(), r.gen(), r.gen()
		return m
	case TypeJoin:
		var m Join
		r.member(&m.From)
		m.Cluster, m.Version, m.DataMTU, m.Interfaces = r.text(), r.text(), r.u16(), r.texts()
		m.Config, m.Prepared = r.u64(), r.u64()
		m.Tier = Tier{Label: r.text(), CPUs: uint16(r.uvarint(1<<16 - 1)), Connections: r.gen()}
		return m
	case TypeJoinRefused:
		return JoinRefused{Reason: r.text()}
	case TypeView:
		var m ViewMsg
		r.view(&m.View)
		return m
	case TypeLeave:
		var m Leave
		r.member(&m.From)
		return m
	case TypeRemoved:
		return Removed{Life: Incarnation(r.u64()), Term: r.gen(), Epoch: r.gen(), Cause: Cause(r.u8()), Reason: r.text()}
	case TypeOrder:
		return Order{Verb: OrderVerb(r.u8()), Node: r.node(), Term: r.gen(), Epoch: r.gen()}
	case TypeBeat:
		return r.beat()
	case TypeExposure:
		var m Exposure
		r.exposure(&m)
		return m
	case TypeProbe:
		return Probe{ID: r.u32(), Size: r.u16(), From: r.addr()}
	case TypeProbeReply:
		return ProbeReply{ID: r.u32(), Size: r.u16()}
	}
	return nil
}
