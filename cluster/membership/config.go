package membership

import (
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"time"

	"cohort/ccl/wire"
	"cohort/cluster/pulse"
)

// The range of Config.Hold. HL1 lets users choose 0.3 s to 45 s; the bound here is
// what the argument for the lease allows.
const (
	MinHold     = 150 * time.Millisecond
	MaxHold     = 45 * time.Second
	DefaultHold = 3 * time.Second
)

// ErrConfig is wrapped by every error of New that the operator can mend.
var ErrConfig = errors.New("invalid membership configuration")

// Config is what one node knows about itself and its cluster before it hears
// anybody. New copies it.
type Config struct {
	// Self is this node: ID 0, everything else set. Incarnation must be new
	// unless the flow table survived (Resume).
	Self wire.Member

	// What a joiner must have in common with the control node (EL8).
	Cluster    string
	Version    string
	DataMTU    uint16
	Interfaces []string // logical names, in any order
	Tier       wire.Tier

	// Running is the checksum of the configuration that this node runs: a view
	// has one, and so have all its members (NT7). Prepare changes it.
	Running uint64

	// LastTerm and LastEpoch are the newest that this node knew in a former
	// life, from its state directory; 0 when there is none. With them, terms are
	// never opened twice even by a node that restarts while it is alone.
	LastTerm, LastEpoch uint32

	// Peers are the VTEP addresses of all possible members. This node's own
	// address may be among them. Messages from other addresses are ignored.
	Peers []netip.Addr

	// RemoveNarrow: as control node, take out members whose control link does not
	// carry full-sized packets any more (CL3). Otherwise they are only shown.
	RemoveNarrow bool

	// Defer: a node that an operator takes out at once (Expel, Break) only notes that,
	// and stays a member until the caller, who sees it by Expelled, calls Withdraw: so
	// that it can write down first that it is not to come back (EL10).
	Defer bool

	Hold             time.Duration // silence after which a node is dead; 3 s
	Fast             bool          // the pulse judges silence too (HL7): see Beat; needs a Hold of pulse.MinHold
	ElectionInterval time.Duration // between election requests (EL1); 3 s
	ElectionWait     time.Duration // without a better answer (EL1); 45 s

	// QuickWait, when not 0, is how long after the start of an election a peer
	// that never said anything still counts as possibly present. After it, the
	// best of those that answered decides. 0: such peers are waited for until
	// ElectionWait, unless the transport reports them with Absent.
	QuickWait time.Duration
}

// check fills defaults and refuses what cannot work.
func (c *Config) check() error {
	def := func(d *time.Duration, v time.Duration) {
		if *d == 0 {
			*d = v
		}
	}
	def(&c.Hold, DefaultHold)
	def(&c.ElectionInterval, 3*time.Second)
	def(&c.ElectionWait, 45*time.Second)

	c.Interfaces = slices.Clone(c.Interfaces)
	slices.Sort(c.Interfaces)
	c.Peers = slices.DeleteFunc(slices.Clone(c.Peers), func(a netip.Addr) bool { return a == c.Self.VTEP })
	slices.SortFunc(c.Peers, netip.Addr.Compare)
	c.Peers = slices.Compact(c.Peers)

	bad := func(format string, args ...any) error {
		return fmt.Errorf("membership: %w: %s", ErrConfig, fmt.Sprintf(format, args...))
	}
	switch {
	case c.Self.Name == "":
		return bad("the node has no name")
	case !c.Self.VTEP.IsValid():
		return bad("node %s has no CCL address", c.Self.Name)
	case c.Self.Priority < 1 || c.Self.Priority > 100:
		return bad("priority %d of node %s is not in 1-100", c.Self.Priority, c.Self.Name)
	case c.Self.Incarnation == 0:
		return bad("incarnation of node %s is 0", c.Self.Name)
	case c.Self.ID != 0:
		return bad("node %s has id %d before it has joined", c.Self.Name, c.Self.ID)
	case c.Hold < MinHold || c.Hold > MaxHold:
		return bad("hold time %v is not in %v-%v", c.Hold, MinHold, MaxHold)
	case c.Fast && int64(c.Hold) < pulse.MinHold:
		return bad("hold time %v is too short beside the fast profile: at least %v", c.Hold, time.Duration(pulse.MinHold))
	case c.ElectionInterval <= 0 || c.ElectionWait < c.ElectionInterval || c.QuickWait < 0:
		return bad("election interval %v, wait %v, quick wait %v do not fit together",
			c.ElectionInterval, c.ElectionWait, c.QuickWait)
	case !Sane(c.LastTerm, c.LastEpoch):
		return bad("saved view number %d/%d is out of range", c.LastTerm, c.LastEpoch)
	case len(c.Peers) >= wire.MaxNodes-1:
		return bad("%d peers; a cluster has at most %d nodes", len(c.Peers), wire.MaxNodes-1)
	}
	hosts := map[uint32]netip.Addr{hostBits(c.Self.VTEP): c.Self.VTEP}
	for _, a := range c.Peers {
		if !a.IsValid() {
			return bad("a peer address is empty")
		}
		if o, dup := hosts[hostBits(a)]; dup {
			return bad("CCL addresses %v and %v have the same low %d bits", o, a, termHostBits)
		}
		hosts[hostBits(a)] = a
	}
	return nil
}
