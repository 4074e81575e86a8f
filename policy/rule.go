package policy

import (
	"fmt"
	"net/netip"
)

// MaxZones bounds Zone.ID: 1..MaxZones-1, as the arrays shared with XDP.
const MaxZones = 32

// MaxRules bounds the rules of one policy: flows remember a rule in 16 bits.
const MaxRules = 65535

// Zone is one logical interface.
type Zone struct {
	ID    uint8 // 1..31
	Trust uint8 // 0 (none) to 100 (full)
}

// Any as Rule.From or Rule.To stands for every zone.
const Any = 0

// AnyProtocol as Rule.Proto stands for every protocol.
const AnyProtocol = 0

// Ports is a closed range of destination ports in host byte order.
type Ports struct{ First, Last uint16 }

// Durability says how a connection's state is replicated (FR13).
type Durability uint8

// The durabilities of FR13. Async is the default.
const (
	Async Durability = iota // replicated beside the traffic
	None                    // the owner is known, the state is kept nowhere else
	Sync                    // the opening packet waits for the backup
)

// String returns the name used in configuration files.
func (d Durability) String() string {
	switch d {
	case Async:
		return "async"
	case None:
		return "none"
	case Sync:
		return "sync"
	}
	return fmt.Sprintf("durability-%d", uint8(d))
}

// Rule matches the packet that opens a connection. An empty list matches
// everything; the elements of a list are alternatives.
type Rule struct {
	Name        string
	From, To    uint8 // zone ids: where the packet enters and where it leaves; Any = all
	Source      []netip.Prefix
	Destination []netip.Prefix
	Proto       uint8   // IP protocol; AnyProtocol = all
	Ports       []Ports // of the destination; only with TCP and UDP
	Allow       bool
	Durability  Durability
}

// Verdict is what Judge answers.
type Verdict struct {
	Allow      bool
	Durability Durability
	Rule       uint16 // position of the rule, from 1; 0 = decided by trust levels
}
