package sim

import (
	"fmt"
	"math/rand/v2"
	"net/netip"
	"time"

	"cohort/ccl"
	"cohort/ccl/wire"
	"cohort/cluster/blocks"
	"cohort/cluster/health"
	"cohort/cluster/membership"
	"cohort/cluster/ownership"
	"cohort/flowtable"
	"cohort/nat"
	"cohort/node/core"
	"cohort/packet"
	"cohort/policy"
)

const (
	tickEvery = 10 * ms
	linger    = 50 * ms // as long as a node's
)

// node is one simulated machine: a core, its table, and a model of the fast
// path around them.
type node struct {
	w      *World
	index  int
	core   *core.Core
	table  *flowtable.Table
	copies *flowtable.BackupStore
	stubs  *flowtable.BackupStore
	thawed uint64        // units that it has thawed so far
	steer  []wire.NodeID // who directs each NAT unit, as the fast path was told
	disk   *blocks.Memory
	file   int // index into World.setups: what the next process reads
	runs   int // index into World.setups

	powered bool
	stopped bool     // SIGSTOP: the fast path runs, the daemon does not
	dead    bool     // the daemon was killed, the machine lives
	life    int      // counts boots: events of an earlier life are void
	forgot  int      // counts what it has forgotten everything by: boots, and fences
	posted  []func() // what a stopped daemon does when it continues

	view    *wire.View
	self    wire.NodeID
	tag     uint32
	prevTag uint32
	members [wire.MaxNodes]wire.Incarnation
	lease   int64

	held   map[ownership.Handle]pkt
	handle ownership.Handle
}

func (n *node) running() bool { return n.powered && !n.stopped && !n.dead }
func (n *node) tick() uint32  { return flowtable.TickOf(n.w.clock.now) }

// boot starts a machine that remembers nothing.
func (n *node) boot() {
	w := n.w
	n.powered, n.stopped, n.dead, n.posted = true, false, false, nil
	n.life++
	n.forgot++
	n.thawed = 0
	w.check.moved() // a node is not expected to be a member before it has booted
	w.check.over(n)
	n.view, n.self, n.tag, n.prevTag, n.lease = nil, 0, 0, 0, 0
	n.held = map[ownership.Handle]pkt{}
	var seed [10]uint64
	for i := range seed {
		seed[i] = w.rng.Uint64() | 1
	}
	var err error
	if n.table, err = flowtable.New(flowtable.NewMemory(w.cfg.Flows, w.cfg.Flows), seed); err != nil {
		panic(err)
	}
	n.copies = flowtable.NewBackupStore(seed, 2*w.cfg.Flows)
	n.steer = nil
	n.runs = n.file
	peers := make([]netip.Addr, len(w.nodes))
	for i := range peers {
		peers[i] = vtep(i)
	}
	n.core, err = core.New(core.Config{
		IO: n, NAT: n.translation(seed),
		Membership: membership.Config{
			Self: wire.Member{
				Name: fmt.Sprintf("fw-%d", n.index+1), Serial: fmt.Sprintf("s-%d", n.index+1), VTEP: vtep(n.index),
				Incarnation: n.NewIncarnation(), Priority: uint8(n.index + 1),
			},
			Running: checksum(n.file),
			Cluster: "sim", Version: "1", DataMTU: 1500, Interfaces: []string{"inside", "outside"}, Peers: peers,
			Hold: w.cfg.Hold, ElectionInterval: 100 * time.Millisecond, ElectionWait: time.Second,
		},
		Health: core.Health{Rejoin: soon()},
		Ownership: ownership.Config{
			Sequences: n.w.sequences(), KeepNumbers: n.keepsNumbers(), Table: n.table, Copies: n.copies, Router: router{}, Policy: w.policy,
			Timeouts: w.cfg.Timeouts, Xlate: n.xlate, Exposed: n.exposed, Lease: w.cfg.Lease, OwnerOnly: w.cfg.OwnerOnly, AgeEvery: w.cfg.AgeEvery, Slice: slice, LentAbove: 1, ForwardIdle: 3 * time.Second, ConfirmEvery: 3 * time.Second, Trace: n.trace(),
		},
		Endpoint: ccl.EndpointConfig{Local: vtep(n.index), Rand: newByteReader(w.rng.Uint64()), Linger: linger},
	})
	if err != nil {
		panic(err)
	}
	n.core.Start(w.clock.now)
	n.schedule(n.life, w.rng.Int64N(tickEvery))
}

// schedule keeps the daemon's event loop ticking while this life lasts.
func (n *node) schedule(life int, d int64) {
	n.w.clock.after(d, func() {
		if n.life != life || !n.powered || n.dead {
			return
		}
		if !n.stopped {
			n.core.Tick(n.w.clock.now)
			n.work(life)
			if n.tag != 0 {
				n.lease = n.core.Member().LeaseUntil(n.w.clock.now)
			}
		}
		n.schedule(life, tickEvery)
	})
}

// workEvery is the time between two turns of a node that has work left, and slice how
// many entries each looks at: few, so that packets, messages and crashes come between
// any two, as between those of tables with millions of entries.
const (
	workEvery = int64(100 * time.Microsecond)
	slice     = 5
)

// work goes on with what the last tick has left.
func (n *node) work(life int) {
	n.w.clock.after(workEvery, func() {
		if n.life != life || !n.powered || n.dead || n.stopped {
			return
		}
		if n.core.Work(n.w.clock.now) {
			n.work(life)
		}
		n.core.Flush(n.w.clock.now)
	})
}

// Datagram implements core.IO.
func (n *node) Datagram(to netip.Addr, b []byte, _ bool) {
	target := -1
	if to.IsValid() {
		target = nodeOf(to)
	}
	n.w.net.datagram(n.index, target, b)
}

// Apply implements core.IO.
func (n *node) Apply(v *wire.View, self wire.NodeID) {
	n.prevTag, n.tag = n.tag, v.Tag()
	n.view, n.self = v, self
	n.members = [wire.MaxNodes]wire.Incarnation{}
	for i := range v.Members {
		n.members[v.Members[i].ID] = v.Members[i].Incarnation
	}
	n.lease = n.core.Member().LeaseUntil(n.w.clock.now)
	n.w.viewApplied(n, v)
}

// Fence implements core.IO.
func (n *node) Fence(why string) {
	n.w.check.dying(n) // it forgets what it owned, as if it had died
	n.w.check.forget(n)
	n.forgot++
	n.view, n.self, n.tag, n.prevTag, n.lease = nil, 0, 0, 0, 0
	n.w.note("node %d fenced: %s", n.index+1, why)
}

// Event implements core.IO.
func (n *node) Event(e membership.Event) { n.w.note("node %d: %s", n.index+1, e.Cause) }

// NewIncarnation implements core.IO.
func (n *node) NewIncarnation() wire.Incarnation { return wire.Incarnation(n.w.rng.Uint64() | 1<<32) }

// Steer implements core.IO.
func (n *node) Steer(directors []wire.NodeID) { n.steer = append(n.steer[:0], directors...) }

// Reload implements core.IO.
func (n *node) Reload(s *core.Setup) {
	n.runs = int(s.Config>>32) - 1
	n.w.result.Reloads++
	n.w.check.moved()
	n.w.note("node %d runs file %d", n.index+1, n.runs)
}

// rules are those that the node translates by now.
func (n *node) rules() *nat.Rules { return n.w.setups[n.runs] }

// prepare is an operator who copies a file to a running node and reloads it.
func (n *node) prepare(file int) {
	n.file = file
	if !n.running() {
		return
	}
	n.core.Prepare(n.w.clock.now, &core.Setup{
		Config: checksum(file), Policy: n.w.policy, RuleNumber: func(r uint16) uint16 { return r },
		NAT: n.w.setups[file], HoldDown: n.w.cfg.HoldDown,
	})
}

// checksum stands for that of a file; 0 would be none.
func checksum(file int) uint64 { return uint64(file+1) << 32 }

// translation is the node's NAT; its disk survives everything.
func (n *node) translation(seed [10]uint64) *core.NAT {
	w := n.w
	if w.setups == nil {
		return nil
	}
	n.stubs = flowtable.NewBackupStore(seed, 2*w.cfg.Flows)
	t := &core.NAT{
		Rules: w.setups[n.file], HoldDown: w.cfg.HoldDown, Rand: rand.New(rand.NewPCG(w.rng.Uint64(), 1)), Stubs: n.stubs, Found: true, Journal: journal{n}, Remember: n.remember,
	}
	if n.disk != nil {
		t.Memory = *n.disk
	}
	return t
}

// xlate hears of every translation that the node owns (ownership.Config.Xlate).
func (n *node) xlate(f *flowtable.FlowSlot, began bool) {
	if began {
		n.w.check.ledger.began(n, f)
	} else {
		n.w.check.ledger.ended(n, f)
	}
}

// router: 10/8 is behind interface 1, the rest behind 2.
type router struct{}

func (router) Route(dst packet.Addr) (uint16, uint8, bool) {
	if dst[0] == 10 {
		return 1, 1, true
	}
	return 2, 2, true
}

// exposed hears of what left before its copy was stored (ownership.Config.Exposed).
func (n *node) exposed(k packet.FlowKey) {
	for _, c := range n.w.conns {
		if c.key == k {
			c.exposed = true
		}
	}
}

// allowOut lets the inside begin connections.
type allowOut struct{ sync bool }

func (a allowOut) Judge(in, _ uint8, _ packet.FlowKey) policy.Verdict {
	if a.sync {
		return policy.Verdict{Allow: in == 1, Durability: policy.Sync}
	}
	return policy.Verdict{Allow: in == 1}
}

// byteReader turns a generator into the randomness that the link asks for.
type byteReader struct{ r *rand.ChaCha8 }

func newByteReader(seed uint64) byteReader {
	var s [32]byte
	for i := range 8 {
		s[i] = byte(seed >> (8 * i))
	}
	return byteReader{rand.NewChaCha8(s)}
}

func (b byteReader) Read(p []byte) (int, error) { return b.r.Read(p) }

func (n *node) trace() func(from, to wire.NodeID, m wire.Message) {
	if n.w.cfg.Trace == nil {
		return nil
	}
	return func(from, to wire.NodeID, m wire.Message) { n.w.traceMessage(n, from, to, m) }
}

// soon is HL3's ladders with a pause that fits the short lives here.
func soon() *health.Schedules {
	s := health.Defaults()
	s[wire.CauseNode].Interval = 500 * time.Millisecond
	return &s
}
