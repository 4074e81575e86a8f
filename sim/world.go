package sim

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"time"

	"cohort/ccl/wire"
	"cohort/cluster/ownership"
	"cohort/cluster/sequence"
	"cohort/flowtable"
	"cohort/nat"
	"cohort/packet"
)

// Config of one run. The zero value of a field takes its default.
type Config struct {
	Seed     uint64
	Nodes    int           // 4
	Conns    int           // conversations started over the run (40)
	Flows    int           // flow table size of a node (256)
	Duration time.Duration // during which conversations start and faults strike (6 s)
	Hold     time.Duration // 300 ms
	Steps    int           // exchanges of a conversation at most (40)
	Lease    time.Duration // of delegations, 0 = the default
	AgeEvery time.Duration // 0 = the default
	Think    int64         // ns between a reply and the next request at most (200 ms)
	Backoff  bool          // clients ask as soon as they are connected, and repeat ever more rarely, as TCP does
	Link     Link
	NAT      bool          // everything leaves through one PAT address
	Town     bool          // rules and conversations of every kind instead, see town.go
	Sync     bool          // every connection has durability sync (FR13)
	Numbers  Numbers       // of TCP initiators (FR5)
	HoldDown time.Duration // of its ports (2 s)
	Spread   int           // the ports that clients want are in so many blocks (1)
	Blocks   int           // a host may have so many port blocks, 0 = any number
	Faults   []Fault       // kinds of faults that strike; none = a calm run
	Strikes  int           // how many (3)
	Timeouts flowtable.Timeouts
	Trace    func(at int64, line string) // may be nil

	ByConnection bool // routers choose a node for every connection and direction, not for every packet
	OnlyTCP      bool // no other conversations
	OwnerOnly    bool // nothing is delegated
	Fragments    bool // hosts send in fragments, see fragments.go

	Watch int // with Trace: conversation number whose roles and messages it shows, 0 = none
}

// Numbers are what tcp.sequence_randomization says.
type Numbers int

const (
	Given Numbers = iota // true
	Own                  // false
	Mixed                // both, as while all nodes are restarted with the other one: each life of a node has the other than its last
)

// keepsNumbers is what a node's file says in this life.
func (n *node) keepsNumbers() bool {
	return n.w.cfg.Numbers == Own || n.w.cfg.Numbers == Mixed && (n.index+n.life)&1 == 0
}

// sequences are the numbers that nodes give.
func (w *World) sequences() *sequence.Space {
	return sequence.New([16]byte{byte(w.cfg.Seed), byte(w.cfg.Seed >> 8)})
}

func (c *Config) defaults() {
	def := func(p *int, v int) {
		if *p == 0 {
			*p = v
		}
	}
	def(&c.Nodes, 4)
	def(&c.Conns, 40)
	def(&c.Flows, 256)
	def(&c.Strikes, 3)
	def(&c.Steps, 40)
	def(&c.Spread, 1)
	if c.Duration == 0 {
		c.Duration = 6 * time.Second
	}
	if c.Hold == 0 {
		c.Hold = 300 * time.Millisecond
	}
	if c.Think == 0 {
		c.Think = 200 * ms
	}
	if c.Link.MaxDelay == 0 {
		c.Link.MinDelay, c.Link.MaxDelay = 30*us, 300*us
	}
	if c.HoldDown == 0 {
		c.HoldDown = 2 * time.Second
	}
	if c.Timeouts == (flowtable.Timeouts{}) {
		c.Timeouts = flowtable.Timeouts{TCPSyn: 2, TCPEstablished: 10, TCPHalfClosed: 4, TCPClosing: 2, TCPTimeWait: 1, TCPReset: 3, UDP: 10, UDPStream: 10, ICMP: 10, Other: 10}
	}
}

// Result of one run.
type Result struct {
	Seed       uint64
	Violations []string
	Completed  int // conversations
	Excused    int // ... that failed with an excuse: no copy existed
	Deaths     int // owners that died with connections that had reached their responder
	Orphaned   int // such connections
	Delegated  int // packets that left by a delegation
	Billed     int // connections whose counters at the owner are exact to the packet, delegates having forwarded part of it
	Open       int // conversations over TCP that had shaken hands when the link was first cut
	Exposed    int // connections of which a packet left before the copy was stored, with durability sync
	Adopted    uint64
	InUse      uint64 // units that thawed with connections in them, at nodes that live in the end
	Duplicates uint64
	Views      int           // each node counts those that it applied
	Forming    int           // of them: before anything broke
	Rested     int           // connections that got a tuple which another one had before
	Drains     int           // nodes that an operator took out in order
	Inherited  uint64        // connections that moved from one that drained
	Left       int           // connections that they still had when they went
	Datagrams  int           // sent in fragments
	Gathered   int           // of them: arrived whole
	Reloads    int           // changes of configuration at a node
	Blocks     int           // most port blocks that one host had
	Stall      time.Duration // longest time a client waited for a reply, but for Opening
	Opening    time.Duration // longest time a client waited for a SYN-ACK, if one met a node too early, and one a node that had given way
	Events     uint64
	Outcomes   []Outcome // of the conversations, in order
}

// World is one run.
type World struct {
	cfg      Config
	clock    clock
	rng      *rand.Rand
	net      network
	nodes    []*node
	conns    []*conn
	routable []int
	drops    map[ownership.Reason]uint64
	result   Result
	check    checker
	watched  string                   // roles of the watched conversation
	claims   map[claim]packet.FlowKey // with Watch, what was claimed by which number
	setups   []*nat.Rules             // nil: nothing is translated
	file     int                      // index into setups: the newest file
	policy   ownership.Policy
	book     *book // of the town, else nil
	traffic  *rand.Rand
	ids      uint16 // identifications given to fragments so far
	snipers  int    // deaths to come, see Snipe
	mended   bool   // nothing is broken any more

	// Packets of established connections that came in, crossed the link, and crossings.
	entered, crossed, crossings int
}

// open makes a world in which nothing runs yet.
func open(cfg Config) *World {
	cfg.defaults()
	w := &World{cfg: cfg, rng: rand.New(rand.NewPCG(cfg.Seed, 0x5eed)), drops: map[ownership.Reason]uint64{}, claims: map[claim]packet.FlowKey{}}
	w.clock.now = 1000 * second
	w.net = network{w: w, cut: map[[2]int]bool{}}
	w.result.Seed = cfg.Seed
	w.traffic = rand.New(rand.NewPCG(cfg.Seed, 0x7aff1c))
	w.policy = allowOut{cfg.Sync}
	switch {
	case cfg.Town:
		w.openTown()
	case cfg.NAT:
		w.setups = compileNAT(cfg.Blocks)
	}
	w.check.init(w)
	for i := range cfg.Nodes {
		w.nodes = append(w.nodes, &node{w: w, index: i})
	}
	return w
}

// boot starts all nodes, and the routers.
func (w *World) boot() {
	for _, n := range w.nodes {
		n.boot()
	}
	w.probe()
}

// Run plays one seed to its end.
func Run(cfg Config) Result {
	w := open(cfg)
	w.boot()
	w.advance(2 * second)
	w.result.Forming = w.result.Views
	w.plan()
	w.advance(int64(w.cfg.Duration))
	w.mend()
	w.advance(settleBound + second)
	w.check.settled()
	w.advanceUntil(2*w.cfg.patience()+3*second, w.check.finished) // one that is served at last is as slow as its start was late
	w.check.converged()
	if w.result.Delegated > 0 {
		w.advance(max(int64(w.cfg.Lease), 3*second) + second) // the last reports
		w.check.bills(true)
	}
	if !w.cfg.Town || w.cfg.Seed%8 == 0 { // mappings outlast all else by minutes: one town in eight waits
		w.drain()
	}
	w.sum()
	return w.result
}

// drain waits until nothing is left: idle time and its ageing, of the copy of a dead
// owner's connection and then of the stub that it has bound; the tomb and its
// ageing, hold-down; then a block is taken from its host, and handed to its target.
func (w *World) drain() {
	idle := max(w.cfg.Timeouts.UDP, w.cfg.Timeouts.TCPEstablished)
	last := 2*int64(time.Duration(idle)*time.Second) + 5*second + int64(w.cfg.HoldDown) + 4*second
	if w.cfg.Town {
		last += 2 * mappingIdle // its copy, and the stub that was bound again while that lived
	}
	w.advanceUntil(last, w.check.allEmpty)
	w.check.empty()
}

func (w *World) advance(d int64) {
	w.clock.run(w.clock.now+d, func() {
		w.result.Events++
		w.check.step()
		w.watch()
	})
}

// advanceUntil is advance that ends early when the condition holds.
func (w *World) advanceUntil(d int64, done func() bool) {
	for end := w.clock.now + d; w.clock.now < end && !done(); {
		w.advance(100 * ms)
	}
}

// plan scatters conversations and faults over the run.
func (w *World) plan() {
	if w.book != nil {
		w.planTown()
	} else {
		w.planConns()
	}
	if len(w.cfg.Faults) == 0 {
		return
	}
	for range w.cfg.Strikes {
		f := w.cfg.Faults[w.rng.IntN(len(w.cfg.Faults))]
		w.clock.after(w.rng.Int64N(int64(w.cfg.Duration)), func() { f(w) })
	}
}

// planConns is a crowd of clients behind the inside that talk to one server.
func (w *World) planConns() {
	kinds := []ownership.Kind{ownership.KindTCP, ownership.KindTCP, ownership.KindUDP, ownership.KindICMPQuery}
	for range w.cfg.Conns {
		kind := kinds[w.traffic.IntN(len(kinds))]
		if w.cfg.OnlyTCP {
			kind = ownership.KindTCP
		}
		w.begin(w.client(kind))
	}
}

// client is one more of the crowd, with a conversation of this kind.
func (w *World) client(kind ownership.Kind) *conn {
	i := len(w.conns)
	c := &conn{w: w, id: i + 1, in: inside, kind: kind, steps: 2 + w.traffic.IntN(w.cfg.Steps)}
	c.key = packet.FlowKey{Src: packet.Addr{10, 0, byte(i >> 8), byte(i%4 + 1)}, Dst: packet.Addr{192, 0, 2, 1}, SrcPort: uint16(2000 + i), DstPort: 80, Proto: packet.ProtoTCP}
	if w.cfg.NAT {
		// Hosts prefer the same few ports: what one gives up another takes.
		c.key.Src, c.key.SrcPort = packet.Addr{10, 0, byte(1 + i>>8), byte(i + 1)}, uint16(2000+i%3+i/3%w.cfg.Spread*blockSize)
	}
	switch c.kind {
	case ownership.KindUDP:
		c.key.Proto = packet.ProtoUDP
	case ownership.KindICMPQuery:
		c.key.Proto, c.key.DstPort = packet.ProtoICMP, 0
	}
	return c
}

// begin lets a conversation start some time during the run.
func (w *World) begin(c *conn) {
	w.conns = append(w.conns, c)
	w.clock.after(w.traffic.Int64N(int64(w.cfg.Duration)), c.start)
}

func (w *World) viewApplied(n *node, v *wire.View) {
	w.result.Views++
	w.check.moved()
	w.note("node %d applied view %d.%d of %d members, control %d", n.index+1, v.Term, v.Epoch, len(v.Members), v.Control)
}

func (w *World) note(format string, args ...any) {
	if w.cfg.Trace != nil {
		w.cfg.Trace(w.clock.now, fmt.Sprintf(format, args...))
	}
}

// fail records a violation; the first few say enough.
func (w *World) fail(format string, args ...any) {
	s := fmt.Sprintf(format, args...)
	if slices.Contains(w.check.said, s) {
		return
	}
	w.check.said = append(w.check.said, s)
	w.note("VIOLATION %s", s)
	if len(w.result.Violations) < 8 {
		w.result.Violations = append(w.result.Violations, fmt.Sprintf("at %.3f s: %s", float64(w.clock.now-1000*second)/1e9, s))
	}
}

func (w *World) sum() {
	for _, c := range w.conns {
		w.result.Outcomes = append(w.result.Outcomes, c.outcome())
		if c.exposed {
			w.result.Exposed++
		}
		if c.open {
			w.result.Open++
		}
		switch {
		case c.done:
			w.result.Completed++
			w.result.Stall = max(w.result.Stall, time.Duration(c.stall))
			w.result.Opening = max(w.result.Opening, time.Duration(c.opening))
		case c.excused != "":
			w.result.Excused++
		}
	}
	for _, n := range w.nodes {
		s := n.core.Owner().Stats()
		w.result.Adopted += s.Adopted
		if w.setups != nil {
			w.result.InUse += n.core.Units().Stats().InUse
		}
		w.result.Duplicates += s.Duplicates
		w.result.Inherited += s.Inherited
	}
}
