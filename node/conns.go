package node

import (
	"net/netip"

	"cohort/api"
	"cohort/ccl/wire"
	"cohort/flowtable"
	"cohort/packet"
)

// connSlice is how many slots one visit of the loop copies: some 100 us.
const connSlice = 2048

// connWalk goes through the three tables a slice at a time.
type connWalk struct {
	n      *Node
	filter api.ConnFilter
	table  int // 0 owned, 1 copies, 2 forwards
	cursor uint32
	out    []api.Conn
	done   bool
}

// slice fills out with the next connections; it runs in the loop.
func (w *connWalk) slice(now int64) {
	w.out = w.out[:0]
	tick := flowtable.TickOf(now)
	switch w.table {
	case 0:
		w.cursor = w.n.table.ScanFlows(w.cursor, connSlice, func(_ uint32, f *flowtable.FlowSlot) bool {
			w.add(w.n.ownedConn(f, tick))
			return true
		})
	case 1:
		w.cursor = w.n.copies.Scan(w.cursor, connSlice, func(b *flowtable.Backup) bool {
			w.add(w.n.copiedConn(b, tick))
			return true
		})
	default:
		w.cursor = w.n.table.ScanForwards(w.cursor, connSlice, func(_ uint32, f *flowtable.ForwardSlot) bool {
			w.add(w.n.forwardedConn(f, tick))
			return true
		})
	}
	if w.cursor == 0 {
		w.table++
		w.done = w.table == 3
	}
}

func (w *connWalk) add(c api.Conn) {
	if w.filter.Match(&c) {
		w.out = append(w.out, c)
	}
}

func conn(k packet.FlowKey) api.Conn {
	return api.Conn{
		Protocol:    packet.ProtoName(k.Proto),
		Source:      netip.AddrPortFrom(k.Src.Netip(), k.SrcPort),
		Destination: netip.AddrPortFrom(k.Dst.Netip(), k.DstPort),
	}
}

// ms is an age in ticks as milliseconds.
func ms(ticks int32) int64 { return int64(max(ticks, 0)) << flowtable.TickShift / 1e6 }

func (n *Node) ownedConn(f *flowtable.FlowSlot, tick uint32) api.Conn {
	c := conn(f.Key[0])
	c.In, c.Out = n.ifaceName(f.Iface[0]), n.ifaceName(f.Iface[1])
	c.Roles = "O"
	v, self := n.core.View()
	c.Owner = memberName(v, self)
	if o := n.core.Owner().Order(); o != nil {
		if o.Director(f.Key[0]) == self {
			c.Roles = "OD"
		}
		c.Backup = memberName(v, o.Backup(f.Key[0], self))
	}
	if f.State != uint8(flowtable.TCPNone) {
		c.State = flowtable.TCPState(f.State).String()
	}
	c.Rule = n.ruleName(f.Rule)
	c.Gen, c.Timeout = f.Gen, int(f.Timeout)
	c.IdleMS, c.AgeMS = ms(flowtable.Since(tick, f.LastActive())), ms(flowtable.Since(tick, f.Created))
	for d := range 2 {
		c.Packets[d], c.Bytes[d] = f.Counters(d)
	}
	return c
}

func (n *Node) copiedConn(b *flowtable.Backup, tick uint32) api.Conn {
	k := b.Key.Unpack()
	c := conn(k)
	c.In, c.Out = n.ifaceName(b.In), n.ifaceName(b.Out)
	v, self := n.core.View()
	director := false
	if o := n.core.Owner().Order(); o != nil {
		director = o.Director(k) == self
	}
	switch {
	case director && b.Flags&wire.ConnNoCopy != 0:
		c.Roles = "D"
	case director:
		c.Roles = "DB"
	default:
		c.Roles = "B"
	}
	c.Owner = memberName(v, wire.NodeID(b.Owner))
	if b.State != uint8(flowtable.TCPNone) {
		c.State = flowtable.TCPState(b.State).String()
	}
	c.Rule = n.ruleName(b.Rule)
	c.Gen, c.Timeout = b.Gen, int(b.Timeout)
	c.IdleMS = ms(flowtable.Since(tick, b.Confirmed))
	return c
}

func (n *Node) forwardedConn(f *flowtable.ForwardSlot, tick uint32) api.Conn {
	c := conn(f.Key)
	c.In = n.ifaceName(f.Iface)
	v, _ := n.core.View()
	c.Roles, c.Owner, c.Gen = "F", memberName(v, wire.NodeID(f.Owner)), f.Gen
	c.IdleMS = ms(flowtable.Since(tick, f.SeenAt()))
	c.Packets[0], c.Bytes[0] = f.Counters()
	return c
}

// ruleName is what allowed a connection.
func (n *Node) ruleName(r uint16) string {
	if rules := n.cfg.Cluster.Rules; r > 0 && int(r) <= len(rules) {
		return rules[r-1].Name
	}
	return "default"
}
