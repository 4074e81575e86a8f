package ownership

import (
	"time"

	"cohort/ccl/wire"
	"cohort/cluster/order"
	"cohort/cluster/sequence"
	"cohort/flowtable"
	"cohort/packet"
	"cohort/policy"
)

// Router answers where a destination lies. nextHop is an index for the fast
// path (0 = resolve later), iface the logical interface.
type Router interface {
	Route(dst packet.Addr) (nextHop uint16, iface uint8, ok bool)
}

// Policy judges a new connection, once, at its owner (TR2).
type Policy interface {
	Judge(in, out uint8, k packet.FlowKey) policy.Verdict
}

// Output is what the core does to the world. Calls happen inside the core's
// own calls, on the same goroutine.
type Output interface {
	// Send queues a message on the reliable channel to a member. The message
	// is only valid during the call. An error means it was not queued.
	Send(to wire.NodeID, m wire.Message) error
	// Release ends OpHold for a packet. It may come before Packet returns.
	Release(h Handle, v Verdict)
}

// Config is fixed for the life of a Core.
type Config struct {
	Table    *flowtable.Table
	Copies   *flowtable.BackupStore // director and backup entries
	Router   Router
	Policy   Policy
	NAT      NAT                    // nil: nothing is translated
	Stubs    *flowtable.BackupStore // second keys of translated connections; with NAT
	Output   Output
	Timeouts flowtable.Timeouts

	// Sequences are the numbers that owners give the initiators of TCP connections, and
	// that carry the owner (FR5). nil: nobody gives any.
	Sequences *sequence.Space
	// KeepNumbers: this node gives none, and asks about a SYN-ACK. Connections with such
	// numbers may still come to it from nodes that give them.
	KeepNumbers bool

	OrderKey [16]byte // cluster-wide key of the director order

	// Round is called when a round of re-registration begins: everybody has
	// applied the view, as far as this node knows. False: the link is backed up, and
	// the round waits; Round is called again with the next Tick. May be nil.
	Round func() bool

	// Entombed hears, in the course of every round, of the reply keys that are kept
	// from others although their connection has ended, and whose hold-down has not
	// begun. RoundEnds is called when this node has registered everything, before the
	// others hear that; false as for Round. May be nil.
	Entombed  func(reply packet.FlowKey)
	RoundEnds func() bool

	// Settled is called when every member of the present view has registered its
	// connections at their directors. May be nil.
	Settled func()

	// Xlate hears of the translations that this node owns and that are to be
	// logged: connections and mappings, when they begin here and when they end
	// or go to another owner. f is only valid during the call. May be nil.
	Xlate func(f *flowtable.FlowSlot, began bool)

	// Exposed hears of every packet that Stats.Exposed counts, by its
	// connection's first key. May be nil.
	Exposed func(k packet.FlowKey)

	// Progress says how far the messages to another member have come, for Exposure
	// (MG9). Without it nothing counts as acknowledged. May be nil.
	Progress func(to wire.NodeID) Progress

	// Trace sees every message that this node sends (from is itself) or gets.
	// It must not keep m. May be nil.
	Trace func(from, to wire.NodeID, m wire.Message)

	// Bounds; zero values take the defaults.
	MaxPending    int           // connections waiting for a director's answer (16384)
	MaxHeld       int           // packets held for all of them (8192)
	HoldPerKey    int           // packets held for one of them (16)
	MaxParked     int           // questions a director keeps open (16384)
	AnswerTimeout time.Duration // a held packet waits this long (1 s)
	SyncWait      time.Duration // a packet of a connection of durability sync waits this long for the copy (100 ms)
	ParkTime      time.Duration // a question waits for its claim this long (150 ms)
	ConfirmEvery  time.Duration // every owner confirms all its connections this often, unasked (5 min)
	SettleTime    time.Duration // at most this long for owners to re-register (3 s)
	ForwardIdle   time.Duration // an unused forward entry lives this long (30 s)

	// Delegation of established connections to their forwarders (delegate.go).
	OwnerOnly bool          // nothing is delegated, by this node or to it
	Lease     time.Duration // a delegation ends unless renewed (2.5 s; 8/9 of SettleTime at most)
	MaxLent   int           // delegations that this node has given to others at once (262144)
	LentAbove uint64        // packets within AgeEvery that a delegation takes to be renewed (4)

	AgeEvery  time.Duration // one pass of ageing over the whole table (1 s)
	TickEvery time.Duration // how often Tick is called (10 ms)
	// Slice is how many entries of each table one call of Tick or Work looks at (512):
	// with millions of them a tick's part would keep packets waiting for milliseconds.
	Slice int
}

func (c *Config) defaults() {
	set := func(p *int, v int) {
		if *p == 0 {
			*p = v
		}
	}
	dur := func(p *time.Duration, v time.Duration) {
		if *p == 0 {
			*p = v
		}
	}
	set(&c.MaxPending, 16384)
	set(&c.MaxHeld, 8192)
	set(&c.HoldPerKey, 16)
	set(&c.MaxParked, 16384)
	set(&c.MaxLent, 1<<18)
	set(&c.Slice, 512)
	if c.LentAbove == 0 {
		c.LentAbove = 4
	}
	dur(&c.AnswerTimeout, time.Second)
	dur(&c.SyncWait, 100*time.Millisecond)
	dur(&c.ParkTime, 150*time.Millisecond)
	dur(&c.SettleTime, 3*time.Second)
	dur(&c.ConfirmEvery, 5*time.Minute)
	dur(&c.ForwardIdle, 30*time.Second)
	dur(&c.AgeEvery, time.Second)
	dur(&c.TickEvery, 10*time.Millisecond)
	dur(&c.Lease, 2500*time.Millisecond)
	c.Lease = min(c.Lease, c.SettleTime*8/9) // a tomb must outlive it: see lend.go
}

// Stats counts what the roles did since the start.
type Stats struct {
	Created    uint64 // connections this node came to own by their first packet
	Adopted    uint64 // ... by takeover from a dead owner (FR11)
	Duplicates uint64 // provisional owners that lost to an earlier claim (FR14)
	Claims     uint64 // claims sent
	Queries    uint64 // queries sent
	Sequenced  uint64 // SYN-ACKs whose owner was read from what they acknowledge, with no query (FR5)
	Followed   uint64 // connections that go on with the number that another node gave the initiator (FR14)
	Answered   uint64 // claims and queries answered as director
	Parked     uint64 // questions that had to wait at this director
	Inherited  uint64 // connections this node took from one that drains (EL10)
	Bequeathed uint64 // ... gave to others, as it drained itself
	Reregister uint64 // connections registered again after a view change (FR12)
	Closed     uint64 // owned connections that ended
	NonOwner   uint64 // packets in Go that met a node that does not own them
	Lent       uint64 // delegations that this node has granted to forwarders
	LentFull   uint64 // ... and refused, because it had as many as it may
	Taken      uint64 // delegations that this node has got from owners
	TakenFull  uint64 // ... and let go by, because it had room or a route for none
	Unrenewed  uint64 // renewals that this node could not use: a revocation before them has not arrived
	Exposed    uint64 // packets of durability sync that left although nobody had said that the copy is stored (FR13)
	CopiesFull uint64 // director or backup entries that found no room
	// Two connections with one second key: impossible while NT4 holds.
	NATConflicts uint64
}

// Core is the role logic of one node. Not safe for concurrent use.
type Core struct {
	cfg   Config
	table *flowtable.Table
	dir   *flowtable.BackupStore
	out   Output

	view   *wire.View
	order  *order.Order
	ranked ranked
	self   wire.NodeID
	lives  [wire.MaxNodes]wire.Incarnation // newest one known of every member
	now    int64                           // of the call in progress, monotonic ns

	pending pendingTable
	serials serials
	parked  parkedTable
	sync    resync
	drain   drain
	ageing  ageing
	stats   Stats
	exposed exposed
	msg     scratch

	lending lending
	ending  endings
	lenders [wire.MaxNodes]lender

	reserved map[packet.FlowKey]struct{} // reply keys of claims on their way
	takenFn  func(packet.FlowKey) bool   // c.taken, made once
	joinFn   func(packet.FlowKey) bool   // dir.Join: a seam, for nothing but memory may depend on it
	asIsFn   asIs                        // grantedAsIs: a seam, for nothing but time may depend on it

	images bool // it may know both a connection and its image: see mirror.go

	ageCopyFn    func(flowtable.Entry) bool // made once, like the others
	ageFlowFn    func(uint32, *flowtable.FlowSlot) bool
	ageForwardFn func(uint32, *flowtable.ForwardSlot) bool
	ageStubFn    func(flowtable.Entry) bool
}

// scratch keeps outgoing messages off the heap: Send reads them at once.
type scratch struct {
	claim    wire.Claim
	grant    wire.Grant
	granted  wire.Granted
	redirect wire.Redirect
	query    wire.Query
	owner    wire.Owner
	update   wire.Update
	close    wire.Close
	gone     wire.Gone
	synced   wire.Synced
	bind     wire.Bind
	alias    wire.Alias
	kept     wire.Kept
	delegate wire.Delegate
	report   wire.Report
	lease    wire.Lease
}

// New makes a core that is not a member of anything yet: it drops every packet
// until ApplyView. Flows that the table already holds (a hitless restart) are
// kept and registered again with the first view.
func New(cfg Config) *Core {
	cfg.defaults()
	c := &Core{cfg: cfg, table: cfg.Table, dir: cfg.Copies, out: cfg.Output}
	c.pending.init(cfg)
	c.parked.init(cfg)
	c.lending.init(c.table)
	c.ending.init()
	c.reserved, c.takenFn, c.joinFn = map[packet.FlowKey]struct{}{}, c.taken, c.dir.Join
	c.asIsFn = c.grantedAsIs
	c.ageCopyFn = c.ageCopy
	c.ageFlowFn, c.ageForwardFn, c.ageStubFn = c.ageFlow, c.ageForward, c.ageStub
	c.useAll()
	c.countStrangers()
	return c
}

// Stats returns the counters.
func (c *Core) Stats() Stats { return c.stats }

// View returns the applied view, nil while fenced.
func (c *Core) View() *wire.View { return c.view }

// Order returns the director order of the applied view, nil before the first.
func (c *Core) Order() *order.Order { return c.order }

// Message handles one message from a member. Messages from nodes outside the
// view are ignored: a stale node neither claims nor grants (EL6).
func (c *Core) Message(now int64, from wire.NodeID, m wire.Message) {
	c.now = now
	if c.cfg.Trace != nil {
		c.cfg.Trace(from, c.self, m)
	}
	if s, ok := m.(*wire.Synced); ok {
		// A peer may have applied a view before this node has.
		c.onSynced(from, s.View, s.Phase)
		return
	}
	if c.view == nil || c.view.Member(from) == nil {
		return
	}
	switch m := m.(type) {
	case *wire.Claim:
		c.onClaim(from, m.Conn, m.Reregister, m.Serial)
	case *wire.Query:
		c.onQuery(from, m.Key)
	case *wire.Update:
		c.onUpdate(from, m.Conn, m.Last)
	case *wire.Close:
		if m.Reply != (packet.FlowKey{}) { // first, while it may be one entry with the copy
			c.onClose(from, m.Reply, m.Gen, !m.InOrder)
		}
		c.onClose(from, m.Key, m.Gen, !m.InOrder)
	case *wire.Grant:
		c.onGrant(from, m.Conn, m.Adopted)
	case *wire.Granted:
		c.onGranted(from, m)
	case *wire.Redirect:
		c.onRedirect(from, m.Key, m.Owner, m.Gen)
	case *wire.Owner:
		c.onOwner(from, m.Key, m.Owner, m.Gen)
	case *wire.Gone:
		c.onGone(from, m.Key)
	case *wire.Bind:
		if c.cfg.NAT != nil {
			c.onBind(from, m)
		}
	case *wire.Alias:
		c.onAlias(from, m)
	case *wire.Kept:
		c.onKept(m)
	case *wire.Delegate:
		c.onDelegate(from, m)
	case *wire.Report:
		c.onReport(from, m)
	case *wire.Lease:
		c.onLease(from, m)
	}
}

// alive reports whether a node with this incarnation tag is in the view.
func (c *Core) alive(id wire.NodeID, tag uint8) bool {
	m := c.view.Member(id)
	return m != nil && m.Incarnation.Tag() == tag
}

func (c *Core) incarnation(id wire.NodeID) uint8 {
	if m := c.view.Member(id); m != nil {
		return m.Incarnation.Tag()
	}
	return 0
}

// send delivers to a member, or to this node itself without the link: a node
// that is its own director asks and answers through the same code.
func (c *Core) send(to wire.NodeID, m wire.Message) bool {
	if to == c.self {
		c.Message(c.now, c.self, m)
		return true
	}
	if c.view.Member(to) == nil {
		return true // left meanwhile: the change of view answers
	}
	if c.emit(to, m) != nil {
		c.sync.wantFull()
		return false
	}
	return true
}

// emit queues a message on the link.
func (c *Core) emit(to wire.NodeID, m wire.Message) error {
	if c.cfg.Trace != nil {
		c.cfg.Trace(c.self, to, m)
	}
	return c.out.Send(to, m)
}

func (c *Core) tick() uint32 { return flowtable.TickOf(c.now) }
