package nat

import (
	"errors"
	"fmt"
	"net/netip"
	"time"

	"cohort/packet"
)

// ErrConfig is wrapped by every error of Compile and NewGeometry: what the
// administrator wrote cannot work (NT10). The text names the pool or the rule.
var ErrConfig = errors.New("invalid NAT configuration")

// Defaults and bounds of the configuration.
const (
	DefaultHoldDown    = 120 * time.Second // RFC 6888, REQ-8
	DefaultHoldDownMax = 1 << 20           // ports in hold-down on one node, 32 MiB
	DefaultBlockSize   = 512               // ports (NT2)
	DefaultMaxInbound  = 1024              // connections through a mapping: a thousandth of the default table
	MaxMaxInbound      = 1 << 20
	MinBlockSize       = 64
	MaxBlockSize       = 4096
	MaxPoolAddresses   = 1024  // over all pools: the map of addresses in XDP
	MaxUnits           = 32768 // over all pools: the array of units in XDP
	MaxRules           = 65535 // flows remember a rule in 16 bits
	MaxInterfaces      = 32    // ids 1..MaxInterfaces-1, as policy's zones
)

// Any as an interface, a protocol or (the zero netip.Prefix) a prefix stands
// for all of them.
const Any = 0

// Config is everything that configuration says about NAT. The zero Config
// translates nothing. Compile checks it.
type Config struct {
	Pools []Pool
	Rules []Rule // ordered: the first that matches decides

	// HoldDown is how long a tuple that a connection gave back is not used for
	// another one (RFC 6888, REQ-8). 0 means not at all; configuration files
	// that do not mention it get DefaultHoldDown.
	HoldDown time.Duration

	// HoldDownMax bounds the tuples that wait in hold-down on one node (RFC
	// 6888, REQ-8: it must be configurable). 0 stands for DefaultHoldDownMax.
	HoldDownMax int
}

// PoolKind says what a pool lends out.
type PoolKind uint8

// The kinds of pools. PoolPorts is the default.
const (
	PoolPorts     PoolKind = iota // blocks of ports, for DynamicPAT
	PoolAddresses                 // whole addresses, for Dynamic (NT8)
)

// String returns the name used in configuration files.
func (k PoolKind) String() string {
	switch k {
	case PoolPorts:
		return "ports"
	case PoolAddresses:
		return "addresses"
	}
	return fmt.Sprintf("pool-kind-%d", uint8(k))
}

// Pool is a set of public addresses. Each address belongs to one pool only.
// The order of the addresses numbers the units (see Geometry): it must be the
// same on all nodes.
type Pool struct {
	Name      string // unique among pools, not empty
	Kind      PoolKind
	Addresses []packet.Addr

	// The rest is for PoolPorts only.

	// BlockSize is the number of ports of a block, MinBlockSize to
	// MaxBlockSize; 0 stands for DefaultBlockSize. It need not be a power of
	// two, nor divide the ports: the last block of an address may be shorter.
	BlockSize uint16

	// IncludeReserved lends out ports 1-65535 instead of 1024-65535.
	IncludeReserved bool

	// MaxBlocksPerHost, when not 0, gives every inside host ports only from
	// blocks that are its own, and at most this many in the cluster (NT6).
	MaxBlocksPerHost int

	// MaxInbound, when not 0, bounds the connections that the outside begins
	// through one mapping at once, where a rule lets anybody in
	// (EndpointIndependent filtering). Files that do not mention it get
	// DefaultMaxInbound.
	MaxInbound int
}

// RuleType says what a rule does with connections that match it.
type RuleType uint8

// The types of rules (NT1).
const (
	// Static maps Original to Mapped, address by address, both ways.
	Static RuleType = iota
	// StaticPAT maps Original:OriginalPort to Mapped:MappedPort, both ways (a
	// port forward).
	StaticPAT
	// Dynamic lends the source a whole address of a PoolAddresses pool.
	Dynamic
	// DynamicPAT lends the source a port of a PoolPorts pool.
	DynamicPAT
	// Identity leaves the source as it is and ends the search.
	Identity
)

// String returns the name used in configuration files.
func (t RuleType) String() string {
	switch t {
	case Static:
		return "static"
	case StaticPAT:
		return "static-pat"
	case Dynamic:
		return "dynamic"
	case DynamicPAT:
		return "dynamic-pat"
	case Identity:
		return "identity"
	}
	return fmt.Sprintf("rule-type-%d", uint8(t))
}

// Behaviour is one of RFC 4787's behaviours, for mapping (section 4.1) and for
// filtering (section 5).
type Behaviour uint8

// The behaviours that Cohort offers. AddressAndPortDependent is the default.
const (
	AddressAndPortDependent Behaviour = iota
	EndpointIndependent
)

// String returns the name used in configuration files.
func (b Behaviour) String() string {
	switch b {
	case AddressAndPortDependent:
		return "address-and-port-dependent"
	case EndpointIndependent:
		return "endpoint-independent"
	}
	return fmt.Sprintf("behaviour-%d", uint8(b))
}

// PortRange is a closed range of ports in host byte order.
type PortRange struct{ First, Last uint16 }

// Rule says how connections between two interfaces are translated.
//
// From is the side whose addresses are translated (usually inside), To the side
// that sees the translated ones.
type Rule struct {
	Name     string
	Type     RuleType
	From, To uint8 // interface ids; Any = all

	// Source and Destination are matched against the real (untranslated)
	// addresses: Source against the host behind From, Destination against its
	// peer behind To. The zero Prefix matches all; bits behind the prefix length
	// do not matter. Static and StaticPAT have no Source: that is Original.
	Source, Destination netip.Prefix

	Protocol uint8       // IP protocol; Any = all. StaticPAT: TCP or UDP
	Ports    []PortRange // destination ports, TCP or UDP only; empty = all. Not for Static, StaticPAT

	// Original is the real side, behind From; Mapped what the others see. Both
	// have the same length and no bits behind it. Static, StaticPAT only.
	Original, Mapped         netip.Prefix
	OriginalPort, MappedPort uint16 // StaticPAT only

	Pool string // name of a pool. Dynamic, DynamicPAT only

	// Mapping and Filtering are RFC 4787's behaviours. DynamicPAT takes both,
	// but EndpointIndependent filtering only with EndpointIndependent mapping;
	// Dynamic takes Filtering only (its mapping is endpoint-independent by
	// nature); the others take neither: who reaches a static mapping is the
	// policy's decision.
	Mapping, Filtering Behaviour

	LogXlates bool // log every xlate and not only blocks (RFC 6888, 4)
}
