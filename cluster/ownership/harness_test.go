package ownership

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"net/netip"
	"testing"

	"cohort/ccl/wire"
	"cohort/cluster/order"
	"cohort/cluster/sequence"
	"cohort/flowtable"
	"cohort/packet"
	"cohort/policy"
)

const ms = int64(1e6)

var orderKey = [16]byte{1, 2, 3}

// cluster is n cores over a reliable, ordered link with a delay of its own for
// every pair. Views are applied by the test.
type cluster struct {
	t      testing.TB
	now    int64
	rng    *rand.Rand
	nodes  map[wire.NodeID]*testNode
	queue  []delivery // sorted by time, then order of sending
	seq    uint64
	view   *wire.View
	delay  func() int64
	refus  map[wire.NodeID]bool            // links to these are backed up
	joined int                             // joined copies that wantBooked has met
	nat    bool                            // nodes boot with a testNAT
	seqs   *sequence.Space                 // of all nodes; nil: initiators keep their numbers
	lose   func(from, to wire.NodeID) bool // of delegation: the rest is reliable
	snatch func(q delivery) bool           // the same, by what it says
	size   int                             // flows of a node's table, 0 = 4096
	fast   map[wire.NodeID]int64           // clocks that gain this many nanoseconds in 1000
	went   map[[2]wire.NodeID]Progress     // messages from one node to another
}

type delivery struct {
	at       int64
	seq      uint64
	from, to wire.NodeID
	m        wire.Message
}

type testNode struct {
	c        *cluster
	id       wire.NodeID
	core     *Core
	table    *flowtable.Table
	copies   *flowtable.BackupStore
	stubs    *flowtable.BackupStore
	fake     *testNAT
	inc      wire.Incarnation
	released map[Handle]Verdict
	ends     []Handle // the same, in order
	handle   Handle
	dead     bool
	noRoute  bool
}

// Route: 10/8 is inside (interface 1), everything else outside (2).
func (n *testNode) Route(dst packet.Addr) (uint16, uint8, bool) {
	if n.noRoute {
		return 0, 0, false
	}
	switch dst[0] {
	case 10:
		return 1, 1, true
	case 203:
		return 0, 0, false
	}
	return 2, 2, true
}

// Judge allows inside to outside, and tcp 8080 inwards.
func (n *testNode) Judge(in, out uint8, k packet.FlowKey) policy.Verdict {
	return policy.Verdict{Allow: in == 1 || k.DstPort == 8080}
}

var errBackedUp = errors.New("backed up")

func (n *testNode) Send(to wire.NodeID, m wire.Message) error {
	if n.c.refus[to] {
		return errBackedUp
	}
	c := n.c
	c.seq++
	at := c.now + c.delay()
	for i := len(c.queue) - 1; i >= 0; i-- { // in order for every pair
		if q := c.queue[i]; q.from == n.id && q.to == to {
			at = max(at, q.at)
			break
		}
	}
	d := delivery{at: at, seq: c.seq, from: n.id, to: to, m: clone(m)}
	i := len(c.queue)
	for i > 0 && c.queue[i-1].at > at {
		i--
	}
	c.queue = append(c.queue, delivery{})
	copy(c.queue[i+1:], c.queue[i:])
	c.queue[i] = d
	c.progress(n.id, to, 1, 0)
	return nil
}

// progress counts messages on their way, as the reliable channel does.
func (c *cluster) progress(from, to wire.NodeID, sent, acked uint64) {
	p := c.went[[2]wire.NodeID{from, to}]
	p.Sent, p.Acked = p.Sent+sent, p.Acked+acked
	c.went[[2]wire.NodeID{from, to}] = p
}

// slotAt is where a node has the flow of k.
func (c *cluster) slotAt(id wire.NodeID, k packet.FlowKey) uint32 {
	c.t.Helper()
	ref := c.nodes[id].core.table.Lookup(k)
	if ref == 0 || ref.IsForward() {
		c.t.Fatalf("node %d has no flow of %v", id, k)
	}
	return ref.Slot()
}

// clone takes the message out of the sender's scratch.
func clone(m wire.Message) wire.Message {
	switch m := m.(type) {
	case *wire.Claim:
		v := *m
		return &v
	case *wire.Grant:
		v := *m
		return &v
	case *wire.Granted:
		v := *m
		return &v
	case *wire.Redirect:
		v := *m
		return &v
	case *wire.Query:
		v := *m
		return &v
	case *wire.Owner:
		v := *m
		return &v
	case *wire.Update:
		v := *m
		return &v
	case *wire.Close:
		v := *m
		return &v
	case *wire.Gone:
		v := *m
		return &v
	case *wire.Synced:
		v := *m
		return &v
	case *wire.Bind:
		v := *m
		return &v
	case *wire.Alias:
		v := *m
		return &v
	case *wire.Kept:
		v := *m
		return &v
	case *wire.Delegate:
		v := *m
		return &v
	case *wire.Report:
		v := *m
		return &v
	case *wire.Lease:
		v := *m
		return &v
	}
	panic(fmt.Sprintf("ownership sent %T", m))
}

func (n *testNode) Release(h Handle, v Verdict) {
	n.released[h] = v
	n.ends = append(n.ends, h)
}

func newBareCluster(t testing.TB) *cluster {
	c := &cluster{t: t, now: 1e12, rng: rand.New(rand.NewPCG(7, 7)), nodes: map[wire.NodeID]*testNode{}, refus: map[wire.NodeID]bool{}, went: map[[2]wire.NodeID]Progress{}}
	c.delay = func() int64 { return 100_000 }
	return c
}

func newCluster(t testing.TB, ids ...wire.NodeID) *cluster {
	c := newBareCluster(t)
	for _, id := range ids {
		c.boot(id)
	}
	c.apply(1, 1, ids...)
	c.run(50 * ms)
	return c
}

func (c *cluster) boot(id wire.NodeID) *testNode {
	var seed [10]uint64
	for i := range seed {
		seed[i] = c.rng.Uint64() | 1
	}
	size := max(c.size, 4096)
	table, err := flowtable.New(flowtable.NewMemory(size, size), seed)
	if err != nil {
		c.t.Fatal(err)
	}
	n := &testNode{c: c, id: id, table: table, copies: flowtable.NewBackupStore(seed, 2*size), inc: wire.Incarnation(c.rng.Uint64()), released: map[Handle]Verdict{}}
	cfg := Config{Table: table, Copies: n.copies, Router: n, Policy: n, Output: n, Timeouts: flowtable.DefaultTimeouts(), OrderKey: orderKey, Sequences: c.seqs}
	cfg.Progress = func(to wire.NodeID) Progress { return c.went[[2]wire.NodeID{id, to}] }
	if c.nat {
		n.stubs = flowtable.NewBackupStore(seed, 8192)
		n.fake = &testNAT{self: id, core: func() *Core { return n.core }, next: 1023, uses: map[packet.FlowKey]int{}, alive: func(id wire.NodeID) bool { return n.core.view.Member(id) != nil }}
		cfg.NAT, cfg.Stubs = n.fake, n.stubs
	}
	n.core = New(cfg)
	c.nodes[id] = n
	return n
}

// apply makes a view of the ids and applies it at all of them.
func (c *cluster) apply(term, epoch uint32, ids ...wire.NodeID) {
	c.applyAt(c.viewOf(term, epoch, ids...), ids...)
}

func (c *cluster) viewOf(term, epoch uint32, ids ...wire.NodeID) *wire.View {
	v := &wire.View{Term: term, Epoch: epoch, Control: ids[0]}
	for _, id := range ids {
		v.Members = append(v.Members, wire.Member{ID: id, Name: fmt.Sprintf("fw-%d", id), VTEP: netip.AddrFrom4([4]byte{10, 99, 0, byte(id)}), Incarnation: c.nodes[id].inc, Priority: uint8(id)})
	}
	return v
}

// applyAt applies a view at some of its members.
func (c *cluster) applyAt(v *wire.View, ids ...wire.NodeID) {
	c.view = v
	for _, id := range ids {
		c.nodes[id].core.ApplyView(c.now, v, id)
	}
}

// run lets d nanoseconds pass.
func (c *cluster) run(d int64) {
	end := c.now + d
	tick := c.now - c.now%(10*ms) + 10*ms
	for {
		switch {
		case len(c.queue) > 0 && c.queue[0].at <= min(tick, end):
			q := c.queue[0]
			c.queue = c.queue[1:]
			c.now = max(c.now, q.at)
			if c.lost(q) {
				continue
			}
			if n := c.nodes[q.to]; n != nil && !n.dead && c.nodes[q.from] != nil {
				n.core.Message(c.clock(q.to), q.from, q.m)
				c.progress(q.from, q.to, 0, 1)
			}
		case tick <= end:
			c.now = tick
			for id := wire.NodeID(1); id < wire.MaxNodes; id++ {
				if n := c.nodes[id]; n != nil && !n.dead {
					n.core.Tick(c.clock(id))
					for n.core.Work(c.clock(id)) {
					}
				}
			}
			tick += 10 * ms
		default:
			c.now = end
			return
		}
	}
}

// lost reports whether a message about a delegation gets lost: a channel that starts
// over loses all that was on its way, and only those are not registered anew.
func (c *cluster) lost(q delivery) bool {
	switch q.m.(type) {
	case *wire.Delegate, *wire.Report, *wire.Lease:
		return c.lose != nil && c.lose(q.from, q.to) || c.snatch != nil && c.snatch(q)
	}
	return false
}

// clock is what a node reads from its own.
func (c *cluster) clock(id wire.NodeID) int64 { return c.now + (c.now-1e12)*c.fast[id]/1000 }

// kill powers a node off; the view is the test's business.
func (c *cluster) kill(id wire.NodeID) {
	c.nodes[id].dead = true
	keep := c.queue[:0]
	for _, q := range c.queue {
		if q.from != id && q.to != id {
			keep = append(keep, q)
		}
	}
	c.queue = keep
}

// at sends a packet into a node and follows it until it leaves the cluster or
// is dropped. It returns the node that forwarded it.
func (c *cluster) at(id wire.NodeID, p Packet) (wire.NodeID, Verdict) {
	return c.from(id, 0, p, 0)
}

func (c *cluster) from(id, from wire.NodeID, p Packet, hops int) (wire.NodeID, Verdict) {
	n := c.nodes[id]
	if n.dead {
		return 0, Verdict{Op: OpDrop, Reason: ReasonFenced}
	}
	p.From = from
	n.handle++
	p.Handle = n.handle
	v := n.core.Packet(c.clock(id), &p)
	if v.Op == OpHold {
		for end := c.now + 2000*ms; c.now < end; c.run(ms / 2) {
			if r, ok := n.released[p.Handle]; ok {
				v = r
				delete(n.released, p.Handle)
				break
			}
		}
	}
	if v.Op == OpSend {
		if hops > 3 {
			return id, drop(ReasonForwardLoop)
		}
		c.run(100_000)
		return c.from(v.Node, id, p, hops+1)
	}
	return id, v
}

// owners returns the nodes with an owner entry for k.
func (c *cluster) owners(k packet.FlowKey) (ids []wire.NodeID) {
	for id := wire.NodeID(1); id < wire.MaxNodes; id++ {
		n := c.nodes[id]
		if n == nil || n.dead {
			continue
		}
		if ref := n.table.Lookup(k); ref != 0 && !ref.IsForward() {
			ids = append(ids, id)
		}
	}
	return ids
}

// oneOwner fails unless exactly one node owns k, and returns it.
func (c *cluster) oneOwner(k packet.FlowKey) wire.NodeID {
	c.t.Helper()
	ids := c.owners(k)
	if len(ids) != 1 {
		c.t.Fatalf("owners of %v: %v, want exactly one", k, ids)
	}
	return ids[0]
}

// wantOwner fails unless this node, and no other, owns k.
func (c *cluster) wantOwner(k packet.FlowKey, id wire.NodeID) {
	c.t.Helper()
	if ids := c.owners(k); len(ids) != 1 || ids[0] != id {
		c.t.Fatalf("owners of %v: %v, want node %d", k, ids, id)
	}
}

// wantNoOwner fails while any node owns k.
func (c *cluster) wantNoOwner(k packet.FlowKey) {
	c.t.Helper()
	if ids := c.owners(k); len(ids) != 0 {
		c.t.Fatalf("owners of %v: %v, want none", k, ids)
	}
}

// begin sends the first packet of a connection of ports that one node directs into
// another, and lets d nanoseconds pass.
func (c *cluster) begin(proto uint8, at, director wire.NodeID, d int64) packet.FlowKey {
	k := c.keyDirectedBy(proto, director)
	if proto == packet.ProtoTCP {
		c.at(at, tcp(k, SYN))
	} else {
		c.at(at, udp(k))
	}
	c.run(d)
	return k
}

func (c *cluster) order() *order.Order { return order.New(orderKey, c.view) }

// keyDirectedBy finds a tcp connection with this first and second node.
func (c *cluster) keyDirectedBy(proto uint8, first wire.NodeID) packet.FlowKey {
	for port := uint16(1024); ; port++ {
		k := packet.FlowKey{Src: packet.Addr{10, 0, 0, 1}, Dst: packet.Addr{192, 0, 2, 1}, SrcPort: port, DstPort: 80, Proto: proto}
		if proto == packet.ProtoICMP {
			k.DstPort = 0
		}
		if d := c.order().Director(k); d == first {
			return k
		}
	}
}

func tcp(k packet.FlowKey, flags uint8) Packet {
	in := uint8(1)
	if k.Src[0] != 10 {
		in = 2
	}
	return Packet{Key: k, Kind: KindTCP, In: in, Len: 60, Flags: flags, Window: 1000, WScale: 7, Seq: 100, Ack: 100}
}

func udp(k packet.FlowKey) Packet {
	p := tcp(k, 0)
	p.Kind = KindUDP
	return p
}

func wantForward(t testing.TB, v Verdict) {
	t.Helper()
	if v.Op != OpForward {
		t.Fatalf("verdict %+v (%v), want the packet forwarded", v, v.Reason)
	}
}

func wantDrop(t testing.TB, v Verdict, r Reason) {
	t.Helper()
	if v.Op != OpDrop || v.Reason != r {
		t.Fatalf("verdict %+v (%v), want a drop for %v", v, v.Reason, r)
	}
}

// wantCopy fails unless node holder, and no other, has a copy of k, of this
// owner and generation.
func (c *cluster) wantCopy(k packet.FlowKey, holder, owner wire.NodeID, gen uint32) {
	c.t.Helper()
	for id, n := range c.nodes {
		if n.dead {
			continue
		}
		e, ok := n.copies.Get(k)
		switch {
		case ok != (id == holder):
			c.t.Fatalf("node %d has a copy: %v (%+v), want it at %d only", id, ok, e, holder)
		case ok && (e.Owner() != uint8(owner) || e.Gen() != gen):
			c.t.Fatalf("copy at %d names owner %d, generation %d, want %d and %d", id, e.Owner(), e.Gen(), owner, gen)
		}
	}
}

// flow returns the flow of k at its owner.
func (c *cluster) flow(id wire.NodeID, k packet.FlowKey) *flowtable.FlowSlot {
	c.t.Helper()
	ref := c.nodes[id].table.Lookup(k)
	if ref == 0 || ref.IsForward() {
		c.t.Fatalf("node %d does not own %v", id, k)
	}
	return c.nodes[id].table.Flow(ref.Slot())
}
