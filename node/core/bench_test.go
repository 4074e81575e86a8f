package core

import (
	"encoding/binary"
	"fmt"
	"math/rand/v2"
	"net/netip"
	"testing"
	"time"

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
// packet of a connection, as the only member: claims go to itself. What the
// event loop adds (rings, parsing, sending) is not in it.
func BenchmarkNewConnections(b *testing.B) {
	for _, c := range []struct {
		name  string
		rules *nat.Rules
	}{{"plain", nil}, {"pat", egress(b)}} {
		b.Run(c.name, func(b *testing.B) {
			const room = 1 << 17
			b.ReportAllocs()
			n := newLone(b, c.rules, room)
			for i := 0; b.Loop(); i++ {
				if i%room == room-1 {
					b.StopTimer()
					n = newLone(b, c.rules, room)
					b.StartTimer()
				}
				n.open(b, uint32(i))
			}
		})
	}
}

func egress(b *testing.B) *nat.Rules {
	pool := nat.Pool{Name: "egress"}
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

// lone is a core that is its whole cluster.
type lone struct {
	core  *Core
	now   int64
	disk  *blocks.Memory // to be written
	batch int
	sent  int // packets that left
}

func newLone(b *testing.B, rules *nat.Rules, room int) *lone {
	n := &lone{now: 1000 * int64(time.Second)}
	var seed [10]uint64
	for j := range seed {
		seed[j] = uint64(j)*0x9e3779b97f4a7c15 + 1
	}
	table, err := flowtable.New(flowtable.NewMemory(room, 64), seed)
	if err != nil {
		b.Fatal(err)
	}
	cfg := Config{
		IO: n,
		Membership: membership.Config{
			Self:    wire.Member{Name: "fw", Serial: "1", VTEP: vtep(0), Incarnation: 7, Priority: 1},
			Cluster: "edge", Version: "1", DataMTU: 1500, Interfaces: []string{"in", "out"}, Peers: []netip.Addr{vtep(0)},
			Hold: 3 * time.Second, ElectionInterval: 100 * time.Millisecond, ElectionWait: time.Second,
		},
		Ownership: ownership.Config{
			Table: table, Copies: flowtable.NewBackupStore(seed, room), Router: twoSides{}, Policy: outward{}, Timeouts: flowtable.DefaultTimeouts(),
		},
		Endpoint: ccl.EndpointConfig{Local: vtep(0), MTU: 1654, Rand: &counter{n: 1}},
		MTUCheck: MTUWarn,
	}
	if rules != nil {
		cfg.NAT = &NAT{
			Rules: rules, Rand: rand.New(rand.NewPCG(1, 2)), Stubs: flowtable.NewBackupStore(seed, room), Found: true,
			HoldDown: nat.DefaultHoldDown, Remember: func(m blocks.Memory) { n.disk = &m },
		}
	}
	if n.core, err = New(cfg); err != nil {
		b.Fatal(err)
	}
	n.core.Start(n.now)
	ready := func() bool {
		v, _ := n.core.View()
		return v != nil && (rules == nil || n.core.Units().Held(0))
	}
	for range 6000 {
		if ready() {
			return n
		}
		n.tick()
	}
	b.Fatal("no cluster, or no units, within a minute")
	return nil
}

func (n *lone) tick() {
	n.now += 10 * ms
	n.core.Tick(n.now)
	if m := n.disk; m != nil {
		n.disk = nil
		n.core.Units().Remembered(n.now, m.Version)
		n.core.Flush(n.now)
	}
}

// open sends the first packet of connection i, of 4096 hosts and 64 servers. A
// batch of the event loop is 64 packets; 32 batches make a tick.
func (n *lone) open(b *testing.B, i uint32) {
	p := ownership.Packet{
		Kind: ownership.KindTCP, In: 1, Len: 40, Flags: ownership.SYN, WScale: 0xff, SeqLen: 1, Seq: i, Handle: 1,
		Key: packet.FlowKey{
			Dst: packet.Addr{192, 0, 2, byte(i >> 14 & 63)}, SrcPort: 0x4000 | uint16(i&0x3fff), DstPort: 443, Proto: packet.ProtoTCP,
		},
	}
	binary.BigEndian.PutUint32(p.Key.Src[:], 0x0a800000|i&0xfff)
	sent := n.sent
	if v := n.core.Packet(n.now, &p); v.Op == ownership.OpForward {
		n.sent++
	}
	if n.sent != sent+1 {
		b.Fatal(fmt.Sprint("connection ", i, " was not opened"))
	}
	if n.batch++; n.batch%64 == 0 {
		n.core.Flush(n.now)
	}
	if n.batch%2048 == 0 {
		n.tick()
	}
}

func (n *lone) Datagram(netip.Addr, []byte, bool) {}
func (n *lone) Release(_ ownership.Handle, v ownership.Verdict) {
	if v.Op == ownership.OpForward {
		n.sent++
	}
}
func (n *lone) Apply(*wire.View, wire.NodeID)    {}
func (n *lone) Fence(string)                     {}
func (n *lone) Steer([]wire.NodeID)              {}
func (n *lone) Event(membership.Event)           {}
func (n *lone) NewIncarnation() wire.Incarnation { return 8 }

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
