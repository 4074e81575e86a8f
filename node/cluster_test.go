package node

import (
	"context"
	"fmt"
	"math/rand/v2"
	"net/netip"
	"testing"
	"time"

	"go.uber.org/zap"

	"cohort/ccl"
	"cohort/ccl/wire"
	"cohort/cluster/membership"
	"cohort/cluster/ownership"
	"cohort/config"
	"cohort/flowtable"
	"cohort/nat"
	"cohort/node/core"
	"cohort/packet"
	"cohort/policy"
)

// testCluster is nodes without their I/O: real cores that talk at once, on a
// virtual clock, and the provider of each.
type testCluster struct {
	t     *testing.T
	now   int64
	nodes []*testNode
	queue []testDatagram
}

type testDatagram struct {
	to   *testNode
	from netip.Addr
	b    []byte
}

// testNode implements core.IO around a Node that has no data plane.
type testNode struct {
	*Node
	c     *testCluster
	at    netip.Addr
	life  uint64
	alive bool
	side  int // only nodes of the same side hear each other
}

const testTranslation = `# cluster.yaml
interfaces:
  inside: {device: in0, trust: 100, cluster_address: 10.1.0.254/24, pool: 10.1.0.1-10.1.0.16}
  outside: {device: out0, trust: 0, cluster_address: 198.51.100.254/24, pool: 198.51.100.1-198.51.100.16}
nat:
  hold_down: 0s
  pools:
    egress: {addresses: 203.0.113.10}
    voice: {addresses: 203.0.113.11, block_size: 4096}
    whole: {addresses: 203.0.113.12-203.0.113.13, type: addresses}
  rules:
    - {name: sip, type: dynamic-pat, from: inside, to: outside, source: 10.2.0.0/16, pool: voice, mapping: endpoint-independent, filtering: endpoint-independent, log: xlates}
    - {name: own, type: dynamic, from: inside, to: outside, source: 10.3.0.0/16, pool: whole}
    - {name: web, type: static, from: inside, to: outside, original: 10.1.8.80, mapped: 203.0.113.80}
    - {name: out, type: dynamic-pat, from: inside, to: outside, source: 10.0.0.0/8, pool: egress, log: xlates}
`

func newTestCluster(t *testing.T, size int) *testCluster {
	cl, err := config.ParseCluster("cluster.yaml", []byte(testTranslation))
	if err != nil {
		t.Fatal(err)
	}
	c := &testCluster{t: t, now: 1000 * int64(time.Second)}
	var peers []netip.Addr
	for i := range size {
		peers = append(peers, netip.AddrFrom4([4]byte{10, 99, 0, byte(i + 1)}))
	}
	for i, at := range peers {
		n := &testNode{c: c, at: at, life: uint64(i), alive: true}
		n.Node = &Node{cfg: Config{Cluster: cl}, log: zap.NewNop(), requests: make(chan request), wake: -1}
		c.nodes = append(c.nodes, n)
		n.open(fmt.Sprintf("fw-%c", 'a'+i), peers)
		ctx, cancel := context.WithCancel(context.Background())
		done := make(chan struct{})
		go func() {
			defer close(done)
			n.serve(ctx)
		}()
		t.Cleanup(func() { cancel(); <-done })
	}
	for _, n := range c.nodes {
		n.core.Start(c.now)
	}
	c.until("every node has its share", func() bool {
		for _, n := range c.nodes {
			if s := n.core.Units().Status(); s.Held == 0 || !s.Settled || s.Open {
				return false
			}
		}
		return true
	})
	c.run(time.Second)
	return c
}

func (n *testNode) open(name string, peers []netip.Addr) {
	t, seed := n.c.t, [10]uint64{}
	for i := range seed {
		seed[i] = uint64(i)*0x9e3779b97f4a7c15 + 1
	}
	var err error
	if n.table, err = flowtable.New(flowtable.NewMemory(4096, 4096), seed); err != nil {
		t.Fatal(err)
	}
	n.copies, n.stubs = flowtable.NewBackupStore(seed, 4096), flowtable.NewBackupStore(seed, 4096)
	rules, err := nat.Compile(n.cfg.Cluster.NAT)
	if err != nil {
		t.Fatal(err)
	}
	random := rand.NewChaCha8([32]byte{byte(n.life)})
	n.live.Store(&live{cluster: n.cfg.Cluster, rules: rules, config: n.cfg.Cluster.Checksum()})
	translation := &core.NAT{Rules: rules, Rand: rand.New(random), Stubs: n.stubs, Found: true}
	n.core, err = core.New(core.Config{
		IO: n, NAT: translation,
		Membership: membership.Config{
			Self:    wire.Member{Name: name, Serial: name, VTEP: n.at, Incarnation: n.NewIncarnation(), Priority: uint8(n.life + 1)},
			Running: n.cfg.Cluster.Checksum(),
			Cluster: "test", Version: "1", DataMTU: 1500, Interfaces: []string{"inside", "outside"}, Peers: peers,
			Hold: time.Second, ElectionInterval: 100 * time.Millisecond, ElectionWait: 3 * time.Second,
		},
		Ownership: ownership.Config{
			Table: n.table, Copies: n.copies, Router: testRouter{}, Policy: allowAll{}, Timeouts: n.cfg.Cluster.Timeouts,
			Xlate: n.openXlateLog(translation),
		},
		Endpoint: ccl.EndpointConfig{Local: n.at, Rand: random},
		Kept:     func(why string) bool { return n.intent == nil || n.intentKept(why) },
	})
	if err != nil {
		t.Fatal(err)
	}
}

// serve answers what the API asks in the loop's stead. Nothing else runs
// meanwhile: tests ask between two steps of the cluster.
func (n *testNode) serve(ctx context.Context) {
	for {
		select {
		case r := <-n.requests:
			r.do(n.c.now)
			close(r.done)
		case <-ctx.Done():
			return
		}
	}
}

func (n *testNode) NewIncarnation() wire.Incarnation {
	n.life += 16
	return wire.Incarnation(n.life<<32 | n.life)
}

func (n *testNode) Datagram(to netip.Addr, b []byte, _ bool) {
	for _, peer := range n.c.nodes {
		if peer != n && peer.side == n.side && (!to.IsValid() || to == peer.at) {
			n.c.queue = append(n.c.queue, testDatagram{peer, n.at, append([]byte(nil), b...)})
		}
	}
}

func (n *testNode) Release(ownership.Handle, ownership.Verdict) {}
func (n *testNode) Apply(*wire.View, wire.NodeID)               {}
func (n *testNode) Fence(string)                                {}
func (n *testNode) Steer([]wire.NodeID)                         {}
func (n *testNode) Event(membership.Event)                      {}

// testRouter: 10/8 is inside, all else outside.
type testRouter struct{}

func (testRouter) Route(dst packet.Addr) (uint16, uint8, bool) {
	if dst[0] == 10 {
		return 1, 1, true
	}
	return 2, 2, true
}

type allowAll struct{}

func (allowAll) Judge(uint8, uint8, packet.FlowKey) policy.Verdict {
	return policy.Verdict{Allow: true}
}

// run lets time pass.
func (c *testCluster) run(d time.Duration) {
	for end := c.now + int64(d); c.now < end; {
		c.now += int64(10 * time.Millisecond)
		for _, n := range c.nodes {
			if n.alive {
				n.core.Tick(c.now)
			}
		}
		c.deliver()
	}
}

func (c *testCluster) deliver() {
	for len(c.queue) > 0 {
		d := c.queue[0]
		c.queue = c.queue[1:]
		if d.to.alive {
			d.to.core.Datagram(c.now, d.from, d.b)
			d.to.core.Flush(c.now)
		}
	}
}

// until lets time pass until something holds.
func (c *testCluster) until(what string, holds func() bool) {
	c.t.Helper()
	for end := c.now + int64(10*time.Minute); !holds(); {
		if c.now > end {
			c.t.Fatalf("not within ten minutes: %s", what)
		}
		c.run(100 * time.Millisecond)
	}
}

// send plays the first packet of a UDP flow at a node.
func (c *testCluster) send(node int, k packet.FlowKey) {
	n := c.nodes[node]
	n.core.Packet(c.now, packetOf(k))
	n.core.Flush(c.now)
	c.deliver()
	c.run(100 * time.Millisecond)
}

// udp is a flow from a.b.c.d:port to 192.0.2.1:53.
func udp(src packet.Addr, port uint16) packet.FlowKey {
	return packet.FlowKey{Src: src, SrcPort: port, Dst: packet.Addr{192, 0, 2, 1}, DstPort: 53, Proto: packet.ProtoUDP}
}

// packetOf is a UDP packet from the wire.
func packetOf(k packet.FlowKey) *ownership.Packet {
	_, in, _ := testRouter{}.Route(k.Src)
	return &ownership.Packet{Key: k, Kind: ownership.KindUDP, In: in, Len: 100}
}
