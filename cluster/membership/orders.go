package membership

import (
	"errors"
	"fmt"

	"cohort/ccl/wire"
)

// Why an order of an operator cannot be given. The errors of Promote, Expel and
// Break wrap one of them.
var (
	ErrNotMember = errors.New("this node is no member of the cluster at present")
	ErrUnknown   = errors.New("no such member")
	ErrControl   = errors.New("it is the control node already")
	ErrLast      = errors.New("it is the only member")
)

// pending is an order that was given and has not led to a view yet. It is
// repeated until it has, or until its time is over.
type pending struct {
	order        wire.Order // Verb 0: none
	again, until int64
}

// Promote gives the control role to a member by hand (EL3); any member takes the
// order. It is over when a view shows it, which takes two trips over the link;
// after half a hold time without one, nobody pursues it any more.
func (m *Machine) Promote(now int64, name string) error {
	return m.give(now, wire.OrderPromote, name)
}

// Expel takes a member out for good: it is told so, and does not come back by
// itself (EL10). Any member takes the order, and it may be about any but the
// last one (EL9).
func (m *Machine) Expel(now int64, name string) error { return m.give(now, wire.OrderRemove, name) }

// AskDrain asks a member to drain, and then to leave (EL10). Any member takes the
// order, and it may be about any but the last one. The member hears of it by Asked.
func (m *Machine) AskDrain(now int64, name string) error { return m.give(now, wire.OrderDrain, name) }

// Asked reports, once, that another member passed on an order for this one to drain.
func (m *Machine) Asked() bool {
	asked := m.asked
	m.asked = false
	return asked
}

// Expelled is why an operator takes this node out at once, "" when nobody does. It is
// a member until Withdraw, whatever else happens: see Config.Defer.
func (m *Machine) Expelled() string { return m.expelled }

// expel goes by an operator's order, or lets the caller do so.
func (m *Machine) expel(now int64, why string) {
	switch {
	case !m.cfg.Defer:
		m.eject(now, wire.CauseOperator, why)
	case m.expelled == "":
		m.expelled = why
	}
}

// Break ends the cluster: every member is out, this one too, and stays so.
func (m *Machine) Break(now int64) error {
	if m.view == nil || m.doubt.on {
		return fmt.Errorf("membership: break: %w", ErrNotMember)
	}
	m.wake(now)
	m.dissolve(now)
	m.rearm(now)
	return nil
}

// give checks an order and begins to pursue it.
func (m *Machine) give(now int64, verb wire.OrderVerb, name string) error {
	if m.view == nil || m.doubt.on {
		return fmt.Errorf("membership: %s: %w", name, ErrNotMember)
	}
	mem := m.view.Named(name)
	switch {
	case mem == nil:
		return fmt.Errorf("membership: %s: %w", name, ErrUnknown)
	case verb == wire.OrderPromote && mem.ID == m.view.Control:
		return fmt.Errorf("membership: promote %s: %w", name, ErrControl)
	case verb == wire.OrderRemove && len(m.view.Members) == 1:
		return fmt.Errorf("membership: remove %s: %w", name, ErrLast)
	case verb == wire.OrderDrain && len(m.view.Members) == 1:
		return fmt.Errorf("membership: drain %s: %w", name, ErrLast)
	}
	m.wake(now)
	m.accept(now, wire.Order{Verb: verb, Node: mem.ID, Term: m.view.Term, Epoch: m.view.Epoch})
	m.rearm(now)
	return nil
}

func (m *Machine) accept(now int64, o wire.Order) {
	m.pending = pending{order: o, again: now, until: now + m.hold/2}
	m.pursue(now)
}

// pursue carries a pending order out, or passes it on.
func (m *Machine) pursue(now int64) {
	if now < m.pending.again {
		return
	}
	o := m.pending.order
	m.pending.again = now + m.resend
	if now >= m.pending.until {
		m.pending = pending{again: inf}
		return
	}
	if !m.ruling() {
		m.out.Send(m.view.Member(m.view.Control).VTEP, o)
		return
	}
	mem := m.view.Member(o.Node)
	switch {
	case o.Verb == wire.OrderPromote && o.Node != m.self.ID, o.Verb == wire.OrderDrain && o.Node != m.self.ID:
		m.out.Send(mem.VTEP, o)
	case o.Verb == wire.OrderDrain:
		m.asked, m.pending = true, pending{again: inf}
	case o.Verb == wire.OrderRemove && o.Node != m.self.ID:
		m.pending = pending{again: inf}
		if p := m.peers[mem.VTEP]; p != nil {
			p.evict, p.evictFor = "an operator said so", wire.CauseOperator
		}
		m.tickControl(now)
	case o.Verb == wire.OrderRemove && len(m.view.Members) > 1:
		m.expel(now, "removed from the cluster by an operator")
	default:
		m.pending = pending{again: inf}
	}
}

// handingOver reports whether this control node has asked another one to take the
// role, and must not make a view beside its.
func (m *Machine) handingOver(now int64) bool {
	o := &m.pending.order
	return o.Verb == wire.OrderPromote && now < m.pending.until && m.alive(now, m.view.Member(o.Node))
}

// onOrder takes an order that another member passed on. It is about our view or
// about nothing.
func (m *Machine) onOrder(now int64, p *peer, o *wire.Order) {
	if m.view == nil || m.doubt.on || o.Term != m.view.Term || o.Epoch != m.view.Epoch {
		return
	}
	from := m.memberAt(p)
	mem := m.view.Member(o.Node)
	switch {
	case from == nil:
	case o.Verb == wire.OrderBreak && m.expelled != "": // passed on already, or as good as out
	case o.Verb == wire.OrderBreak:
		m.dissolve(now)
	case mem == nil || o.Verb != wire.OrderPromote && o.Verb != wire.OrderRemove && o.Verb != wire.OrderDrain:
	case m.ruling():
		if m.pending.order != *o {
			m.accept(now, *o)
		}
	case o.Node != m.self.ID || from.ID != m.view.Control:
	case o.Verb == wire.OrderDrain:
		m.asked = true
	case o.Verb == wire.OrderPromote:
		all := append([]wire.Member(nil), m.view.Members...)
		m.promote(now, all, "control node: promoted by an operator, in the place of "+from.Name)
	}
}

// memberAt is the member of our view whose life speaks from p's address, or nil.
func (m *Machine) memberAt(p *peer) *wire.Member {
	for i := range m.view.Members {
		if mem := &m.view.Members[i]; mem.VTEP == p.addr && p.is(mem) {
			return mem
		}
	}
	return nil
}

// dissolve leaves a cluster that an operator ended, and passes that on: one lost
// message leaves nobody behind.
func (m *Machine) dissolve(now int64) {
	for range goodbyes {
		m.out.Broadcast(wire.Order{Verb: wire.OrderBreak, Node: m.self.ID, Term: m.view.Term, Epoch: m.view.Epoch})
	}
	m.expel(now, "the cluster was broken up by an operator")
}
