package ownership

import (
	"testing"

	"cohort/ccl/wire"
	"cohort/flowtable"
	"cohort/packet"
)

// public is the address of testNAT's only pool: 62 units of 1024 ports, unit u
// held by node u % 4 + 1, and a static mapping of it in testNAT.static.
var public = packet.Addr{198, 51, 100, 1}

// testNAT translates what goes from the inside to 192.0.2.0/24, and by mappings
// what goes to 193.0.0.0/8.
type testNAT struct {
	self  wire.NodeID
	core  func() *Core
	alive func(wire.NodeID) bool
	next  uint16
	uses  map[packet.FlowKey]int
	fixed packet.Addr // what goes out leaves with this address, and its own port
	short bool        // pretends that no node has a port
	wait  bool        // pretends that a unit is on its way
	open  bool        // mappings let anybody in
	apart bool        // a node is missing
	held  int         // releases with hold-down
	gone  bool        // a reload took the address away
	most  int         // connections from outside through a mapping
	full  int         // packets refused for want of a port
	joins bool        // prefers ports whose second keys go where the copy goes
}

func (n *testNAT) Destination(_ uint8, k packet.FlowKey) (packet.FlowKey, bool) {
	return k, k.Dst != public
}

func (n *testNAT) Source(_ int64, in, _ uint8, k, to packet.FlowKey, near wire.NodeID, taken func(packet.FlowKey) bool) (packet.FlowKey, bool, Reason) {
	if in != 1 || to.Dst[0] != 192 {
		return k.Reverse(), false, ReasonNone
	}
	if n.fixed != (packet.Addr{}) {
		reply := to.Reverse()
		reply.Dst = n.fixed
		return reply, false, ReasonNone
	}
	if n.wait {
		return packet.FlowKey{}, false, ReasonWait
	}
	if k.Proto == portless {
		reply := to.Reverse()
		reply.Dst, reply.DstPort = public, 1024*(portlessUnit+1)
		if !n.Holds(portlessUnit) || taken(reply) {
			return packet.FlowKey{}, false, ReasonNATProtocol
		}
		return reply, false, ReasonNone
	}
	if n.short || n.gone {
		return packet.FlowKey{}, false, ReasonNATPorts
	}
	reply := to.Reverse()
	reply.Dst = public
	for range 64 << 10 {
		n.next++
		reply.DstPort = n.next
		if u, ok := n.Unit(reply); ok && n.Holds(u) && !taken(reply) {
			if _, keeper, _ := n.Order(u); n.joins && near != 0 && keeper != near {
				continue
			}
			return reply, true, ReasonNone
		}
	}
	return packet.FlowKey{}, false, ReasonNATPorts
}

// portless stands for a protocol without ports, for which one unit of the pool serves.
const (
	portless     = 47
	portlessUnit = 6 // of node 3
)

func (n *testNAT) Home(in, _ uint8, k, to packet.FlowKey) (int, bool) {
	return portlessUnit, in == 1 && to.Dst[0] == 192
}

func (n *testNAT) Refused() { n.full++ }

func (n *testNAT) Apart() bool { return n.apart }

func (n *testNAT) Use(k packet.FlowKey) { n.uses[k]++ }

func (n *testNAT) Release(_ int64, k packet.FlowKey, hold bool) {
	if hold {
		n.held++
	}
	if n.uses[k]--; n.uses[k] == 0 {
		delete(n.uses, k)
	}
	if n.uses[k] < 0 {
		panic("released more often than used")
	}
}

func (n *testNAT) Unit(k packet.FlowKey) (int, bool) {
	return int(k.DstPort)>>10 - 1, k.Dst == public && k.DstPort >= 1024 && !n.gone
}

func (n *testNAT) Former(k packet.FlowKey) bool {
	return n.gone && (k.Dst == public || k.Src == public)
}

func (n *testNAT) Stands(packet.FlowKey) bool { return !n.gone }

func (n *testNAT) Translates(in, out uint8, _ packet.FlowKey) bool { return in == 1 && out == 2 }

func (n *testNAT) Mapping(in, _ uint8, k, to packet.FlowKey) (packet.FlowKey, uint8, bool) {
	flags := uint8(0)
	if n.open {
		flags = wire.ConnOpen
	}
	return packet.FlowKey{Src: k.Src, SrcPort: k.SrcPort, Proto: k.Proto}, flags, in == 1 && to.Dst[0] == 193
}

func (n *testNAT) Map(now int64, in, out uint8, k, to packet.FlowKey, near wire.NodeID, taken func(packet.FlowKey) bool) (packet.FlowKey, Reason) {
	to.Dst, to.DstPort = packet.Addr{192}, 0
	reply, _, r := n.Source(now, in, out, k, to, near, func(k packet.FlowKey) bool { m, _ := n.Mapped(k); return taken(m) })
	reply, _ = n.Mapped(reply)
	return reply, r
}

func (n *testNAT) Mapped(k packet.FlowKey) (packet.FlowKey, bool) {
	return packet.FlowKey{Dst: k.Dst, DstPort: k.DstPort, Proto: k.Proto}, k.Dst == public && !n.gone
}

func (n *testNAT) MaxInbound(packet.FlowKey) int { return n.most }

func (n *testNAT) holder(u int) wire.NodeID { return wire.NodeID(u%4 + 1) }

func (n *testNAT) Holds(u int) bool { return n.holder(u) == n.self }

func (n *testNAT) Order(u int) (a, b, c wire.NodeID) {
	b, c = n.core().order.Two(packet.FlowKey{Dst: public, DstPort: uint16(u), SrcPort: 1})
	if h := n.holder(u); n.alive(h) {
		return h, b, c
	}
	return b, c, 0
}

// natCluster is newCluster whose nodes translate.
func natCluster(t *testing.T, ids ...wire.NodeID) *cluster {
	c := newBareCluster(t)
	c.nat = true
	for _, id := range ids {
		c.boot(id)
	}
	c.apply(1, 1, ids...)
	c.run(50 * ms)
	return c
}

// reply returns the second key of k at its owner.
func (c *cluster) reply(k packet.FlowKey) packet.FlowKey {
	c.t.Helper()
	r := c.flow(c.oneOwner(k), k).Key[1]
	if r == k.Reverse() {
		c.t.Fatalf("%v is not translated", k)
	}
	return r
}

// wantStub fails unless node at, and no other, has a stub of k1 that names owner.
func (c *cluster) wantStub(k1 packet.FlowKey, at, owner wire.NodeID) {
	c.t.Helper()
	for id, n := range c.nodes {
		if n.dead {
			continue
		}
		e, ok := n.core.stub(k1)
		if ok != (id == at) {
			c.t.Fatalf("node %d has a stub of %v: %v, want it at %d only", id, k1, ok, at)
		}
		if ok && wire.NodeID(e.Owner()) != owner {
			c.t.Fatalf("the stub at %d names owner %d, want %d", id, e.Owner(), owner)
		}
	}
}

// wantNoUse fails while any living node counts a port as used or keeps
// anything of a connection.
func (c *cluster) wantNoUse() {
	c.t.Helper()
	for id, n := range c.nodes {
		if n.dead {
			continue
		}
		if len(n.fake.uses) != 0 || n.stubs.Len() != 0 || n.copies.Len() != 0 || len(n.core.reserved) != 0 {
			c.t.Fatalf("node %d: uses %v, %d stubs, %d copies, %d reserved", id, n.fake.uses, n.stubs.Len(), n.copies.Len(), len(n.core.reserved))
		}
	}
}

func inside(n byte, proto uint8) packet.FlowKey {
	return packet.FlowKey{Src: packet.Addr{10, 0, 0, n}, Dst: packet.Addr{192, 0, 2, 1}, SrcPort: 3000, DstPort: 80, Proto: proto}
}

// deltaOf is by how much the copy of k shifts, 0 if there is none.
func deltaOf(s *flowtable.BackupStore, k packet.FlowKey) uint32 {
	e, ok := s.Get(k)
	if !ok {
		return 0
	}
	return e.SeqDelta()
}

// rewrite changes the copy of k.
func rewrite(t *testing.T, s *flowtable.BackupStore, k packet.FlowKey, change func(*flowtable.Backup)) {
	t.Helper()
	e, ok := s.Get(k)
	if !ok {
		t.Fatalf("no copy of %v", k)
	}
	b, delta, put := e.Backup(), e.SeqDelta(), s.Put
	if other, paired := e.Other(); paired {
		put = func(b flowtable.Backup) error { return s.PutPair(b, other) }
	}
	change(&b)
	if err := put(b); err != nil {
		t.Fatal(err)
	}
	s.SetSeqDelta(k, delta)
}
