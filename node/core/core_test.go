package core

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"net/netip"
	"strings"
	"testing"
	"time"

	"cohort/ccl"
	"cohort/ccl/wire"
	"cohort/cluster/membership"
	"cohort/cluster/ownership"
	"cohort/flowtable"
	"cohort/packet"
	"cohort/policy"
)

const ms = int64(time.Millisecond)

// pair is two cores and the link between them: it delivers at once, but no
// datagram whose packet is larger than size.
type pair struct {
	t      *testing.T
	now    int64
	size   int
	limits [2]int // of what each node sends, besides size; 0 = none
	nodes  [2]*end
	queue  []datagram
}

type datagram struct {
	to   int
	from netip.Addr
	b    []byte
}

type end struct {
	p      *pair
	index  int
	core   *Core
	life   wire.Incarnation
	views  []*wire.View
	fenced []string
	events []string
}

// overhead is what VXLAN and its headers add to a datagram on the link.
const overhead = 20 + 8 + 8 + 14 + 20 + 8

func newPair(t *testing.T, check MTUCheck, size int) *pair {
	p := &pair{t: t, now: 1000 * int64(time.Second), size: size}
	for i := range p.nodes {
		p.boot(i, check)
	}
	for _, n := range p.nodes {
		n.core.Start(p.now)
	}
	return p
}

func (p *pair) boot(i int, check MTUCheck) *end {
	n := &end{p: p, index: i, life: wire.Incarnation(1000*i + 7)}
	p.nodes[i] = n
	var seed [10]uint64
	for j := range seed {
		seed[j] = uint64(j)*0x9e3779b97f4a7c15 + 1
	}
	table, err := flowtable.New(flowtable.NewMemory(64, 64), seed)
	if err != nil {
		p.t.Fatal(err)
	}
	n.core, err = New(Config{
		IO: n,
		Membership: membership.Config{
			Self:    wire.Member{Name: fmt.Sprint("fw-", i), Serial: fmt.Sprint(i), VTEP: vtep(i), Incarnation: n.life, Priority: uint8(i + 1)},
			Cluster: "edge", Version: "1", DataMTU: 1500, Interfaces: []string{"in"}, Peers: []netip.Addr{vtep(0), vtep(1)},
			Hold: 300 * time.Millisecond, ElectionInterval: 100 * time.Millisecond, ElectionWait: 20 * time.Second,
		},
		Ownership: ownership.Config{Table: table, Copies: flowtable.NewBackupStore(seed, 64), Router: nowhere{}, Policy: nowhere{}, Timeouts: flowtable.DefaultTimeouts()},
		Endpoint:  ccl.EndpointConfig{Local: vtep(i), MTU: 1654, Rand: &counter{n: uint64(i)<<32 + uint64(p.now)}},
		MTUCheck:  check,
		Health:    watching(),
	})
	if err != nil {
		p.t.Fatal(err)
	}
	return n
}

func vtep(i int) netip.Addr { return netip.AddrFrom4([4]byte{10, 99, 0, byte(i + 1)}) }

// run lets d pass in ticks.
func (p *pair) run(d time.Duration) {
	pass(&p.now, d, &p.queue, p.nodes[0].core, p.nodes[1].core)
}

// pass lets d pass in ticks of all cores, and delivers after each what they send, and
// what they answer to it.
func pass(now *int64, d time.Duration, queue *[]datagram, cores ...*Core) {
	for end := *now + int64(d); *now < end; *now += 10 * ms {
		for _, c := range cores {
			c.Tick(*now)
		}
		for len(*queue) > 0 {
			q := (*queue)[0]
			*queue = (*queue)[1:]
			cores[q.to].Datagram(*now, q.from, q.b)
			cores[q.to].Flush(*now)
		}
	}
}

func (n *end) Datagram(_ netip.Addr, b []byte, _ bool) {
	if limit := n.p.limits[n.index]; len(b)+overhead <= n.p.size && (limit == 0 || len(b)+overhead <= limit) {
		n.p.queue = append(n.p.queue, datagram{1 - n.index, vtep(n.index), bytes.Clone(b)})
	}
}
func (n *end) Release(ownership.Handle, ownership.Verdict) {}
func (n *end) Apply(v *wire.View, _ wire.NodeID)           { n.views = append(n.views, v) }
func (n *end) Fence(why string)                            { n.fenced = append(n.fenced, why) }
func (n *end) Steer([]wire.NodeID)                         {}
func (n *end) Reload(*Setup)                               {}
func (n *end) Event(e membership.Event)                    { n.events = append(n.events, e.Cause) }
func (n *end) NewIncarnation() wire.Incarnation            { n.life += 100; return n.life }

func (n *end) members() int {
	v, _ := n.core.View()
	if v == nil {
		return 0
	}
	return len(v.Members)
}

type nowhere struct{}

func (nowhere) Route(packet.Addr) (uint16, uint8, bool)               { return 0, 0, false }
func (nowhere) Judge(_, _ uint8, _ packet.FlowKey) (v policy.Verdict) { return v }

// counter is randomness enough for sessions that must differ.
type counter struct{ n uint64 }

func (c *counter) Read(b []byte) (int, error) {
	for i := 0; i < len(b); i += 8 {
		c.n++
		var w [8]byte
		binary.BigEndian.PutUint64(w[:], c.n*0x9e3779b97f4a7c15)
		copy(b[i:], w[:])
	}
	return len(b), nil
}

func TestCL3_FullSizeLinkForms(t *testing.T) {
	p := newPair(t, MTUEnforce, 1654)
	p.run(2 * time.Second)
	if p.nodes[0].members() != 2 || p.nodes[1].members() != 2 {
		t.Fatalf("members %d and %d, want 2: %v", p.nodes[0].members(), p.nodes[1].members(), p.nodes[1].events)
	}
}

// A link that carries small packets only forms no cluster, and the error names
// the sizes within five seconds.
func TestCL3_SmallLinkFormsNoCluster(t *testing.T) {
	p := newPair(t, MTUEnforce, 1000)
	p.run(5 * time.Second)
	for _, n := range p.nodes {
		if n.members() != 0 {
			t.Errorf("node %d is in a view of %d", n.index, n.members())
		}
		if err := n.core.MTUError(); err == nil || !strings.Contains(err.Error(), "1654") || !strings.Contains(err.Error(), "827") {
			t.Errorf("node %d says %v, want the sizes 1654 and 827", n.index, err)
		}
	}
}

func TestCL3_WarnFormsAllTheSame(t *testing.T) {
	p := newPair(t, MTUWarn, 1000)
	p.run(6 * time.Second)
	if p.nodes[0].members() != 2 || p.nodes[1].members() != 2 || p.nodes[0].core.MTUError() == nil {
		t.Fatalf("members %d and %d, error %v", p.nodes[0].members(), p.nodes[1].members(), p.nodes[0].core.MTUError())
	}
}

// A daemon that comes back after the others have removed it hears so from
// members, even when large packets no longer cross: it must not go on as one.
func TestHL5_ResumedNodeHearsThatItWasRemoved(t *testing.T) {
	p := newPair(t, MTUEnforce, 1654)
	p.run(2 * time.Second)
	v, id := p.nodes[1].core.View()
	silent := p.boot(1, MTUEnforce)
	alone := p.nodes[0]
	for end := p.now + int64(time.Second); p.now < end; p.now += 10 * ms {
		alone.core.Tick(p.now)
		p.queue = nil
	}
	if alone.members() != 1 {
		t.Fatalf("the silent node is still one of %d", alone.members())
	}
	p.size = 1000
	if err := silent.core.Resume(p.now, v, id, "", 0); err != nil {
		t.Fatal(err)
	}
	p.run(200 * time.Millisecond)
	if len(silent.fenced) == 0 {
		t.Fatalf("resumed although it was removed: %v", silent.events)
	}
}

// A peer that dies after its first words says nothing about the link: the node
// goes on looking, and forms its cluster when the peer is back.
func TestCL3_PeerThatDiesDuringTheProbeDisablesNobody(t *testing.T) {
	for words := range 8 {
		p := newPair(t, MTUEnforce, 1654)
		heard := 0
		for end := p.now + 6*int64(time.Second); p.now < end; p.now += 10 * ms {
			for i, n := range p.nodes {
				if i == 0 || heard < words {
					n.core.Tick(p.now)
				}
			}
			for len(p.queue) > 0 {
				q := p.queue[0]
				p.queue = p.queue[1:]
				if heard < words {
					p.nodes[q.to].core.Datagram(p.now, q.from, q.b)
					p.nodes[q.to].core.Flush(p.now)
					heard += 1 - q.to
				}
			}
		}
		n := p.nodes[0]
		if s := n.core.Member().Status(p.now); s.State == wire.StateDisabled {
			t.Fatalf("%d words: %s: %v", words, membership.StateName(s.State), n.events)
		}
		p.boot(1, MTUEnforce).core.Start(p.now)
		p.run(3 * time.Second)
		if n.members() != 2 {
			t.Fatalf("%d words: %d members after the peer came back: %v", words, n.members(), n.events)
		}
	}
}
