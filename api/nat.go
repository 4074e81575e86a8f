package api

import (
	"context"
	"errors"
	"net/netip"
)

// NATProvider answers for a node's NAT. A Provider that implements it as well
// is asked by the server, the metrics and so by every command; of any other,
// and of one that returns ErrNoNAT, they say that NAT is not configured. The
// rules of Provider hold.
type NATProvider interface {
	// NATPools returns all pools in the order of the configuration, each with
	// its addresses in theirs. Every scrape of metrics asks it, so it must not
	// walk over connections. Use and Alarm need not be filled in.
	NATPools(ctx context.Context) ([]NATPool, error)

	// NATBlocks returns every block of the pool of this name, by address and
	// port; of an unknown name, nothing.
	NATBlocks(ctx context.Context, pool string) ([]NATBlock, error)

	// Forgettable says what forgetting the node of this name would mean, and
	// changes nothing. What cannot be is a Refusal.
	Forgettable(ctx context.Context, node string) (Forgotten, error)

	// Forget makes the cluster wait no longer for a node that is over (NT5). It
	// returns when all members have it on their disks, or after seconds. It may
	// be repeated.
	Forget(ctx context.Context, node string) (Forgotten, error)

	// Xlates calls visit for the translations this node holds, until visit
	// returns false or ctx ends. It may pass over those that f does not match;
	// the caller checks again. Visit must not keep the Xlate. Translations that
	// come or go meanwhile may or may not be seen.
	Xlates(ctx context.Context, f XlateFilter, visit func(*Xlate) bool) error
}

// ErrNoNAT is the answer of a node whose configuration has no nat section.
var ErrNoNAT = errors.New("nat is not configured")

// Refusal is the answer to what cannot be done in the present state of things:
// one line that says why, and what can.
type Refusal string

// Error returns the line.
func (r Refusal) Error() string { return string(r) }

// Forgotten is what becomes, or would become, of a node that is over. The
// blocks are those of all pools, as they were before.
type Forgotten struct {
	Node     string   `json:"node"`
	Already  bool     `json:"already"`             // it was forgotten before
	Frozen   int      `json:"frozen"`              // blocks that nobody may allocate from
	Held     int      `json:"held"`                // of those, that the node was the last to hold as far as the one that answers has heard
	WaitsFor []string `json:"waits_for,omitempty"` // nodes that are missing besides it: while there are any, nothing thaws
	Unaware  []string `json:"unaware,omitempty"`   // members that have not confirmed it yet; they learn it as soon as they can
}

// The types of a pool.
const (
	PoolPorts     = "ports"     // many hosts share an address; a block is a range of its ports
	PoolAddresses = "addresses" // each host gets an address of its own; a block is a whole address
)

// NATPool is one pool of `show nat pool` (NT11).
type NATPool struct {
	Name      string       `json:"name"`
	Type      string       `json:"type"`       // ports or addresses
	BlockSize int          `json:"block_size"` // ports; 0 = a block is a whole address
	Blocks    NATCount     `json:"blocks"`
	Use       int          `json:"use"`                 // percent in use of the ports that the node has or can still get, rounded down
	Alarm     int          `json:"alarm"`               // the level that Use has reached: 0, 80 or 95
	WaitsFor  []string     `json:"waits_for,omitempty"` // missing nodes that keep blocks frozen
	Why       string       `json:"why,omitempty"`       // why blocks are frozen, "" when none are
	Here      NATHere      `json:"here"`
	Addresses []NATAddress `json:"addresses"`
}

// NATCount counts the blocks of a pool in the whole cluster, as far as the node
// that answers knows. Total = Held + Frozen + Limbo.
type NATCount struct {
	Total  int `json:"total"`
	Held   int `json:"held"`   // by members of the view
	Free   int `json:"free"`   // of those held: idle, so that any node can have them
	Frozen int `json:"frozen"` // held by a node that is gone; nobody may allocate from them
	Limbo  int `json:"limbo"`  // on their way from one node to another
}

// NATHere is what the node that answers does with a pool. All but the counts
// since start are of this moment.
type NATHere struct {
	Held      int          `json:"held"`       // blocks it may allocate from (NT4)
	Free      int          `json:"free"`       // of those, idle
	Ports     int          `json:"ports"`      // of the blocks it holds; of an addresses pool: addresses
	PortsUsed int          `json:"ports_used"` // of those, with at least one use (the most of any protocol)
	Xlates    int          `json:"xlates"`     // translations of connections that it owns
	LeasesIn  uint64       `json:"leases_in"`  // blocks it got on request since it started (NT3)
	LeasesOut uint64       `json:"leases_out"` // blocks it gave on request
	Refused   []NATRefusal `json:"refused"`    // connections without a translation since it started, all reasons
}

// NATRefusal counts connections that got no translation from a pool.
type NATRefusal struct {
	Reason string `json:"reason"` // one word, such as exhausted
	Count  uint64 `json:"count"`
}

// NATAddress is one public address of a pool and who has its blocks.
type NATAddress struct {
	Address netip.Addr `json:"address"`
	Nodes   []NATShare `json:"nodes"` // sorted by name; those that hold, or held, a block of it
}

// NATShare is what one node has of an address. Blocks = Used + Free + Frozen.
type NATShare struct {
	Node   string `json:"node"`
	Blocks int    `json:"blocks"`
	Used   int    `json:"used"`   // blocks in use; -1 = the node that answers does not know
	Free   int    `json:"free"`   // idle blocks; -1 = it does not know
	Frozen int    `json:"frozen"` // blocks of a node that is gone, or of an earlier life of a node
}

// NATBlock is one block: what one node at a time allocates from.
type NATBlock struct {
	Address netip.Addr `json:"address"`
	First   uint16     `json:"first"` // ports, both included; 0-65535 = the whole address
	Last    uint16     `json:"last"`
	Holder  string     `json:"holder"` // node that may allocate from it; frozen: that held it; limbo: that gave it
	Backup  string     `json:"backup"` // next node to direct its packets, which has its stubs; "" = nobody
	Target  string     `json:"target"` // node that should hold it in this view
	Uses    int        `json:"uses"`   // ports in use as this node counts them; -1 = it does not know
	State   string     `json:"state"`
}

// The states of a block.
const (
	BlockHeld   = "held"   // by a member, some of its ports in use or in hold-down, or that is not known here
	BlockIdle   = "idle"   // by a member, no port in use
	BlockLeased = "leased" // by a member other than its target, in use or not
	BlockFrozen = "frozen" // nobody may allocate from it until its holder's life is known to be over
	BlockLimbo  = "limbo"  // given, and not yet announced by its new holder
)

// The levels of NATPool.Alarm in percent.
const (
	AlarmHigh = 80
	AlarmFull = 95
)

// NATPools asks p and rates every pool's use. It returns ErrNoNAT if p knows no
// NAT.
func NATPools(ctx context.Context, p Provider) ([]NATPool, error) {
	n, ok := p.(NATProvider)
	if !ok {
		return nil, ErrNoNAT
	}
	pools, err := n.NATPools(ctx)
	for i := range pools {
		pools[i].rate()
	}
	return pools, err
}

// rate sets Use and Alarm. Ports in use are compared with those of the blocks
// that the node holds and of the idle ones that it could lease (NT3): at 100
// percent a new connection shares a port with another remote side or is
// refused. Counting blocks instead would alarm early, since clients choose
// their ports all over the range and a block with one port in use is not idle.
func (p *NATPool) rate() {
	ports := p.Here.Ports + max(p.Blocks.Free-p.Here.Free, 0)*max(p.BlockSize, 1)
	p.Use = 100 // no ports and none to be had
	if ports > 0 {
		p.Use = min(100*p.Here.PortsUsed/ports, 100)
	}
	switch {
	case p.Use >= AlarmFull:
		p.Alarm = AlarmFull
	case p.Use >= AlarmHigh:
		p.Alarm = AlarmHigh
	default:
		p.Alarm = 0
	}
}
