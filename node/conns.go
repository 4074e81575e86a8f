package node

import (
	"context"
	"net/netip"

	"cohort/api"
	"cohort/ccl/wire"
	"cohort/cluster/ownership"
	"cohort/flowtable"
	"cohort/packet"
)

// Conns implements api.Provider. Mappings of NAT are no connections.
func (p provider) Conns(ctx context.Context, f api.ConnFilter, visit func(*api.Conn) bool) error {
	var out []api.Conn
	walk := newTableWalk(p.n, walkEnd, func(e *entry) {
		if !e.mapping() && f.Match(&e.conn) {
			out = append(out, e.conn)
		}
	})
	for !walk.done() {
		out = out[:0]
		if err := p.n.inLoop(ctx, walk.visit); err != nil {
			return err
		}
		for i := range out {
			if !visit(&out[i]) {
				return nil
			}
		}
	}
	return nil
}

// newEntry fills in what the keys say. The second is the responder's direction
// as received.
func newEntry(first, second packet.FlowKey) entry {
	e := entry{keys: [2]packet.FlowKey{first, second}}
	e.conn = api.Conn{
		Protocol:    packet.ProtoName(first.Proto),
		Source:      endpoint(first.Src, first.SrcPort),
		Destination: endpoint(first.Dst, first.DstPort),
	}
	if to := endpoint(second.Dst, second.DstPort); to != e.conn.Source {
		e.conn.MappedSource = to
	}
	if from := endpoint(second.Src, second.SrcPort); from != e.conn.Destination {
		e.conn.MappedDestination = from
	}
	return e
}

func endpoint(a packet.Addr, port uint16) netip.AddrPort { return netip.AddrPortFrom(a.Netip(), port) }

// ms is an age in ticks as milliseconds.
func ms(ticks int32) int64 { return int64(max(ticks, 0)) << flowtable.TickShift / 1e6 }

// enter says between which interfaces the connection is.
func (n *Node) enter(e *entry, in, out uint8) {
	e.ifaces = [2]uint8{in, out}
	e.conn.In, e.conn.Out = n.ifaceName(in), n.ifaceName(out)
}

// tcpState returns the name of a state, "" for what is no TCP.
func tcpState(s uint8) string {
	if s == uint8(flowtable.TCPNone) {
		return ""
	}
	return flowtable.TCPState(s).String()
}

func (n *Node) ownedEntry(slot uint32, f *flowtable.FlowSlot, tick uint32) entry {
	e := newEntry(f.Key[0], f.Key[1])
	n.enter(&e, f.Iface[0], f.Iface[1])
	c := &e.conn
	v, self := n.core.View()
	c.Roles, c.Owner = "O", memberName(v, self)
	director, backup := n.responsible(f.Key[0], self)
	if director == self {
		c.Roles = "OD"
	}
	c.Backup = memberName(v, backup)
	c.State = tcpState(f.State)
	c.Rule = n.ruleName(f.Rule)
	c.Gen, c.Timeout, c.SequenceShift = f.Gen, int(f.Timeout), f.SeqDelta
	c.IdleMS, c.AgeMS = ms(flowtable.Since(tick, f.LastActive())), ms(flowtable.Since(tick, f.Created))
	if !e.mapping() { // whose counters are of connections, not of packets
		for d := range 2 {
			c.Packets[d], c.Bytes[d] = f.Counters(d)
		}
	}
	n.core.Owner().Loans(slot, func(l ownership.Loan) {
		c.LentTo = append(c.LentTo, api.Delegation{
			Node: memberName(v, l.Node), Direction: int(l.Dir), EndsInMS: ms(l.Left), CalledBack: l.CalledBack, Packets: l.Packets, Bytes: l.Bytes,
		})
	})
	return e
}

func (n *Node) copiedEntry(b flowtable.Entry, tick uint32) entry {
	first := b.Key().Unpack()
	second, translated := b.Other()
	if !translated {
		second = first.Reverse()
	}
	e := newEntry(first, second)
	n.enter(&e, b.In(), b.Out())
	c := &e.conn
	v, self := n.core.View()
	switch director, _ := n.responsible(first, 0); {
	case director != self:
		c.Roles = "B"
	case b.Flags()&wire.ConnNoCopy != 0:
		c.Roles = "D"
	default:
		c.Roles = "DB"
	}
	if n.stubs != nil && translated {
		if s, ok := n.stubs.Get(second); b.Joined() || ok && s.Flags()&wire.ConnTomb == 0 {
			c.Roles += "S"
		}
	}
	c.Owner = livingOwner(v, b)
	c.State = tcpState(b.State())
	c.Rule = n.ruleName(b.Rule())
	c.Gen, c.Timeout, c.SequenceShift = b.Gen(), int(b.Timeout()), b.SeqDelta()
	c.IdleMS = ms(flowtable.Since(tick, b.Confirmed()))
	return e
}

// stubEntry is of a stub, whose own key is the connection's second.
func (n *Node) stubEntry(first packet.FlowKey, b flowtable.Entry, tick uint32) entry {
	e := newEntry(first, b.Key().Unpack())
	v, _ := n.core.View()
	c := &e.conn
	c.Roles, c.Owner = "S", livingOwner(v, b)
	c.Gen, c.Timeout = b.Gen(), int(b.Timeout())
	c.IdleMS = ms(flowtable.Since(tick, b.Confirmed()))
	return e
}

// livingOwner is who owns what a copy or a stub is of. That of an orphan, which
// names its last owner, is to be decided.
func livingOwner(v *wire.View, b flowtable.Entry) string {
	if b.Flags()&wire.ConnOrphan != 0 {
		return ""
	}
	return memberName(v, wire.NodeID(b.Owner()))
}

// forwardedEntry is of a forwarder, which knows one direction, as it comes.
func (n *Node) forwardedEntry(slot uint32, f *flowtable.ForwardSlot, tick uint32) entry {
	e := newEntry(f.Key, f.Key.Reverse())
	n.enter(&e, f.Iface, 0)
	v, _ := n.core.View()
	c := &e.conn
	c.Roles, c.Owner, c.Gen = "F", memberName(v, wire.NodeID(f.Owner)), f.Gen
	c.IdleMS = ms(flowtable.Since(tick, f.SeenAt()))
	c.Packets[0], c.Bytes[0] = f.Counters()
	if d, _ := n.table.Delegation(slot); d != nil {
		c.DelegatedFrom = delegation(d, tick, v)
		c.DelegatedFrom.Node = c.Owner
		c.IdleMS = min(c.IdleMS, ms(flowtable.Since(tick, d.SeenAt())))
	}
	return e
}

// delegation is of a delegate. What is bound to another view is over before its time.
func delegation(d *flowtable.DelegationSlot, tick uint32, v *wire.View) *api.Delegation {
	out := &api.Delegation{}
	out.Packets, out.Bytes = d.Counters()
	if v != nil && d.InForce(tick, v.Tag()) {
		out.EndsInMS = ms(flowtable.Since(d.Lease, tick))
	}
	return out
}

// responsible returns the director of a key, and who keeps the copy of what
// owner owns; 0 = nobody. A key that lies in a NAT unit has the order of that.
func (n *Node) responsible(k packet.FlowKey, owner wire.NodeID) (director, backup wire.NodeID) {
	first, second := n.firstTwo(k)
	if first != owner {
		return first, first
	}
	return first, second
}

func (n *Node) firstTwo(k packet.FlowKey) (first, second wire.NodeID) {
	if t := n.core.Translator(); t != nil {
		c, _ := k.Canonical()
		unit, ok := t.Unit(c)
		if !ok {
			unit, ok = t.Unit(c.Reverse())
		}
		if ok {
			first, second, _ = t.Order(unit)
			return first, second
		}
	}
	if o := n.core.Owner().Order(); o != nil {
		first, second = o.Two(k)
	}
	return first, second
}

// ruleName is what allowed a connection.
func (n *Node) ruleName(r uint16) string {
	if rules := n.live.Load().cluster.Rules; r > 0 && int(r) <= len(rules) {
		return rules[r-1].Name
	}
	return "default"
}
