package core

import (
	"encoding/binary"
	"fmt"
	"math/rand/v2"
	"net/netip"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"cohort/ccl"
	"cohort/ccl/wire"
	"cohort/cluster/blocks"
	"cohort/cluster/membership"
	"cohort/cluster/ownership"
	"cohort/flowtable"
	"cohort/nat"
	"cohort/packet"
	"cohort/policy"
)

// BenchmarkNewConnections is what the pure part of a node spends on the first
// packet of a connection: as the only member, whose claims go to itself, and as
// one of two, both of which are counted. What the event loop adds (rings,
// parsing, sending, the seal of the control link) is not in it.
func BenchmarkNewConnections(b *testing.B) {
	for _, c := range []struct {
		name  string
		nodes int
		rules *nat.Rules
	}{{"plain", 1, nil}, {"pat", 1, egress(b)}, {"plain, two nodes", 2, nil}, {"pat, two nodes", 2, egress(b)}} {
		b.Run(c.name, func(b *testing.B) {
			const room = 1 << 17
			b.ReportAllocs()
			g := newGroup(b, c.nodes, c.rules, room)
			for i := 0; b.Loop(); i++ {
				if i%room == room-1 {
					b.StopTimer()
					g = newGroup(b, c.nodes, c.rules, room)
					b.StartTimer()
				}
				g.open(b, uint32(i))
			}
		})
	}
}

func egress(b testing.TB) *nat.Rules { return egressOf(b, nat.Pool{Name: "egress"}) }

func egressOf(b testing.TB, pool nat.Pool) *nat.Rules {
	for i := range byte(16) {
		pool.Addresses = append(pool.Addresses, packet.Addr{203, 0, 113, 16 + i})
	}
	r, err := nat.Compile(nat.Config{
		Pools: []nat.Pool{pool},
		Rules: []nat.Rule{{Name: "out", Type: nat.DynamicPAT, From: 1, To: 2, Source: netip.MustParsePrefix("10.0.0.0/8"), Pool: "egress"}},
	})
	if err != nil {
		b.Fatal(err)
	}
	return r
}

// group is a cluster whose first node meets all connections.
type group struct {
	nodes []*single
	now   int64
	batch int

	opened uint32 // by burst
	brief  bool   // connections end a second after they closed
}

// single is a core of a group.
type single struct {
	group   *group
	core    *Core
	vtep    netip.Addr
	table   *flowtable.Table
	copies  *flowtable.BackupStore
	disk    *blocks.Memory // to be written
	lines   []string       // of the log of blocks
	journal blocks.Journal // nil: nothing is kept for another process
	sent    int            // packets that left
	starts  int
	resumes bool
	inbox   []parcel
	free    [][]byte
}

type parcel struct {
	from netip.Addr
	b    []byte
}

func newGroup(b testing.TB, nodes int, rules *nat.Rules, room int) *group {
	return startGroup(b, &group{now: 1000 * int64(time.Second)}, nodes, rules, room)
}

func startGroup(b testing.TB, g *group, nodes int, rules *nat.Rules, room int) *group {
	for i := range nodes {
		g.nodes = append(g.nodes, &single{group: g, vtep: vtep(i)})
	}
	var peers []netip.Addr
	for _, n := range g.nodes {
		peers = append(peers, n.vtep)
	}
	for i, n := range g.nodes {
		n.start(b, i, peers, rules, room)
	}
	ready := func() bool {
		v, _ := g.nodes[0].core.View()
		return v != nil && len(v.Members) == nodes && (rules == nil || g.shared())
	}
	for range 6000 {
		if ready() {
			for range 500 { // everybody has registered
				g.tick()
			}
			return g
		}
		g.tick()
	}
	b.Fatal("no cluster, or no units, within a minute")
	return nil
}

// shared reports whether every unit is held by its target.
func (g *group) shared() bool {
	for _, n := range g.nodes {
		_, self := n.core.View()
		for u := range n.core.Translator().Rules().Geometry().Units() {
			if n.core.Units().Held(u) != (n.core.Units().Target(u) == self) {
				return false
			}
		}
	}
	return true
}

func (n *single) start(b testing.TB, i int, peers []netip.Addr, rules *nat.Rules, room int) {
	var seed [10]uint64
	for j := range seed {
		seed[j] = uint64(j+10*i)*0x9e3779b97f4a7c15 + 1
	}
	n.starts++ // another process is another end of every channel
	var err error
	if n.table == nil {
		if n.table, err = flowtable.New(flowtable.NewMemory(room, 64), seed); err != nil {
			b.Fatal(err)
		}
	}
	n.copies = flowtable.NewBackupStore(seed, room)
	timeouts := flowtable.DefaultTimeouts()
	if n.group.brief {
		timeouts.TCPTimeWait = 1
	}
	name := fmt.Sprint("fw-", i)
	cfg := Config{
		IO: n,
		Membership: membership.Config{
			Self:    wire.Member{Name: name, Serial: name, VTEP: n.vtep, Incarnation: wire.Incarnation(7 + i), Priority: uint8(1 + i)},
			Cluster: "edge", Version: "1", DataMTU: 1500, Interfaces: []string{"in", "out"}, Peers: peers,
			Hold: 3 * time.Second, ElectionInterval: 100 * time.Millisecond, ElectionWait: time.Second,
		},
		Ownership: ownership.Config{
			Table: n.table, Copies: n.copies, Router: twoSides{}, Policy: outward{}, Timeouts: timeouts,
		},
		Endpoint: ccl.EndpointConfig{Local: n.vtep, MTU: 1654, Rand: &counter{n: uint64(1 + i<<32 + n.starts<<16)}},
		MTUCheck: MTUWarn,
	}
	if rules != nil {
		cfg.NAT = &NAT{
			Rules: rules, Rand: rand.New(rand.NewPCG(1, 2)), Stubs: flowtable.NewBackupStore(seed, 2*room), Found: true,
			HoldDown: nat.DefaultHoldDown, Journal: n.journal, Remember: func(m blocks.Memory) { n.disk = &m },
			BlockLog: func(unit int, host packet.Addr, assigned bool) {
				n.lines = append(n.lines, fmt.Sprint(unit, host, assigned))
			},
		}
	}
	if n.core, err = New(cfg); err != nil {
		b.Fatal(err)
	}
	if !n.resumes {
		n.core.Start(n.group.now)
	}
}

func (g *group) tick() {
	g.now += 10 * ms
	for _, n := range g.nodes {
		n.core.Tick(g.now)
		if m := n.disk; m != nil {
			n.disk = nil
			n.core.Units().Remembered(g.now, m.Version)
			n.core.Flush(g.now)
		}
	}
	g.deliver()
}

// deliver hands over what is on the link until nothing is.
func (g *group) deliver() {
	for again := true; again; {
		again = false
		for _, n := range g.nodes {
			if len(n.inbox) == 0 {
				continue
			}
			again = true
			batch := n.inbox
			n.inbox = nil
			for _, d := range batch {
				n.core.Datagram(g.now, d.from, d.b)
				n.free = append(n.free, d.b)
			}
			n.inbox = append(n.inbox, batch[:0]...)
			n.core.Flush(g.now)
		}
	}
}

// open sends the first packet of connection i, of 4096 hosts and 64 servers. A
// batch of the event loop is 64 packets; 32 batches make a tick.
func (g *group) open(b testing.TB, i uint32) {
	p := ownership.Packet{
		Kind: ownership.KindTCP, In: 1, Len: 40, Flags: ownership.SYN, WScale: 0xff, SeqLen: 1, Seq: i, Handle: 1,
		Key: packet.FlowKey{
			Dst: packet.Addr{192, 0, 2, byte(i >> 14 & 63)}, SrcPort: 0x4000 | uint16(i&0x3fff), DstPort: 443, Proto: packet.ProtoTCP,
		},
	}
	binary.BigEndian.PutUint32(p.Key.Src[:], 0x0a800000|i&0xfff)
	n := g.nodes[0]
	sent := n.sent
	if v := n.core.Packet(g.now, &p); v.Op == ownership.OpForward {
		n.sent++
	}
	if n.sent != sent+1 {
		b.Fatal(fmt.Sprint("connection ", i, " was not opened"))
	}
	if g.batch++; g.batch%64 == 0 {
		n.core.Flush(g.now)
		g.deliver()
	}
	if g.batch%2048 == 0 {
		g.tick()
	}
}

func (n *single) Datagram(to netip.Addr, data []byte, _ bool) {
	for _, o := range n.group.nodes {
		if o == n || to.IsValid() && o.vtep != to {
			continue
		}
		var b []byte
		if k := len(o.free); k > 0 {
			b, o.free = o.free[k-1], o.free[:k-1]
		}
		o.inbox = append(o.inbox, parcel{n.vtep, append(b[:0], data...)})
	}
}

func (n *single) Release(_ ownership.Handle, v ownership.Verdict) {
	if v.Op == ownership.OpForward {
		n.sent++
	}
}
func (n *single) Apply(*wire.View, wire.NodeID)    {}
func (n *single) Fence(string)                     {}
func (n *single) Steer([]wire.NodeID)              {}
func (n *single) Reload(*Setup)                    {}
func (n *single) Event(membership.Event)           {}
func (n *single) NewIncarnation() wire.Incarnation { return 8 }

// twoSides: 10/8 is behind interface 1, the rest behind 2.
type twoSides struct{}

func (twoSides) Route(dst packet.Addr) (uint16, uint8, bool) {
	if dst[0] == 10 {
		return 1, 1, true
	}
	return 2, 2, true
}

// outward lets interface 1 begin connections.
type outward struct{}

func (outward) Judge(in, _ uint8, _ packet.FlowKey) policy.Verdict {
	return policy.Verdict{Allow: in == 1}
}

// BenchmarkShortConnections is what the pure parts of all nodes together spend on a
// whole translated connection: its SYN at any node, the answer at the owner, which the
// fast path leads there, both FINs, and what ageing, copies and second keys take until
// nothing is left of it. Packets of the fast path cost nothing here.
func BenchmarkShortConnections(b *testing.B) {
	for _, nodes := range []int{1, 2, 4} {
		b.Run(fmt.Sprint(nodes), func(b *testing.B) {
			b.ReportAllocs()
			g := startGroup(b, &group{now: 1000 * int64(time.Second), brief: true}, nodes, egress(b), 1<<17)
			for i := 0; i < 1<<15; i += 128 * nodes { // ports, copies and second keys have come to rest
				g.burst(b, uint32(i), 128*nodes)
			}
			n, before := 0, used(b)
			for b.Loop() {
				if n == 0 {
					n = 128 * nodes
					g.burst(b, g.opened, n)
				}
				n--
			}
			b.ReportMetric(float64(used(b)-before)/float64(b.N), "cpu-ns/op")
		})
	}
}

// used is the CPU time of this process, which says more than the clock where others work.
func used(b testing.TB) int64 {
	var u unix.Rusage
	if err := unix.Getrusage(unix.RUSAGE_SELF, &u); err != nil {
		b.Fatal(err)
	}
	return u.Utime.Nano() + u.Stime.Nano()
}

// burst opens connections and has them answered: before their claims have left, as
// answers come on a short way. Then both sides say all they have to say, and as many
// ticks go by as that takes on a busy machine.
func (g *group) burst(b testing.TB, first uint32, n int) {
	type talk struct {
		at    *single
		slot  uint32
		reply packet.FlowKey
	}
	talks := make([]talk, 0, n)
	p := ownership.Packet{Kind: ownership.KindTCP, Len: 40, WScale: 0xff, SeqLen: 1, Handle: 1}
	packet := func(at *single) {
		switch v := at.core.Packet(g.now, &p); v.Op {
		case ownership.OpForward:
			at.sent++
		case ownership.OpDrop:
			b.Fatalf("connection %d: %+v", len(talks), v)
		}
	}
	sent := func() (n int) {
		for _, s := range g.nodes {
			n += s.sent
		}
		return n
	}
	before := sent()
	for i := 0; i < n; {
		begun := len(talks)
		for ; i < n && i < begun+64*len(g.nodes); i++ {
			id := first + uint32(i)
			at := g.nodes[id*0x85ebca6b>>16%uint32(len(g.nodes))]
			p.Key, p.In, p.From, p.Flags, p.Seq, p.Ack = shortKey(id), 1, 0, ownership.SYN, id, 0
			packet(at)
			slot := at.table.Lookup(p.Key).Slot()
			talks = append(talks, talk{at, slot, at.table.Flow(slot).Key[1]})
		}
		for k := range talks[begun:] {
			t := &talks[begun+k]
			p.Key, p.In, p.From, p.Flags, p.Seq, p.Ack = t.reply, 2, 0, ownership.SYN|ownership.ACK, 7, 1
			if other := g.nodes[k%len(g.nodes)]; other != t.at {
				p.From = other.id()
			}
			packet(t.at)
		}
		for _, n := range g.nodes {
			n.core.Flush(g.now)
		}
		g.deliver()
	}
	g.opened = first + uint32(n)
	if got := sent() - before; got != 2*n {
		b.Fatalf("%d connections had %d packets", n, got)
	}
	g.tick()
	for i := range talks { // the fast path
		f := talks[i].at.table.Flow(talks[i].slot)
		f.Sent(0, ownership.ACK|ownership.FIN, 3, 9, 100)
		f.Sent(1, ownership.ACK|ownership.FIN, 9, 3, 100)
		f.Account(0, flowtable.TickOf(g.now), 40)
		f.Account(1, flowtable.TickOf(g.now), 40)
	}
	g.tick()
}

// shortKey is the key of one of many short connections.
func shortKey(id uint32) packet.FlowKey {
	k := packet.FlowKey{
		Dst: packet.Addr{192, 0, 2, byte(id >> 14 & 63)}, SrcPort: 0x4000 | uint16(id&0x3fff), DstPort: 443, Proto: packet.ProtoTCP,
	}
	binary.BigEndian.PutUint32(k.Src[:], 0x0a800000|id*0x9e3779b1>>20)
	return k
}

func (n *single) id() wire.NodeID { _, self := n.core.View(); return self }
