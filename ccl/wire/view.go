package wire

import (
	"net/netip"
	"sort"
)

// NodeID numbers a member inside the cluster: 1..63, 0 is nobody. The control
// node assigns it on join and it stays with the node's name.
type NodeID uint8

// MaxNodes bounds NodeID; XDP arrays have this many elements.
const MaxNodes = 64

// Incarnation tells two lives of one node apart: random, never 0, kept across
// a hitless restart of the daemon, new after anything that lost the flow table.
type Incarnation uint64

// Tag is what the fast path compares: the low byte.
func (i Incarnation) Tag() uint8 { return uint8(i) }

// Member is one node of a view.
type Member struct {
	ID          NodeID
	Name        string
	Serial      string
	VTEP        netip.Addr
	Incarnation Incarnation
	Priority    uint8 // 1..100, 1 is best (EL1)
}

// Better orders candidates for the control role: priority, then name, then
// serial (EL1, EL2).
func (m Member) Better(o Member) bool {
	if m.Priority != o.Priority {
		return m.Priority < o.Priority
	}
	if m.Name != o.Name {
		return m.Name < o.Name
	}
	return m.Serial < o.Serial
}

// ConfigTranslates is the bit of a configuration's checksum that says that it has rules
// or pools of NAT. Nodes that differ in that cannot come together by a reload (EL8).
const ConfigTranslates = 1

// View is the membership at one (term, epoch). It is immutable once made: a
// node applies a whole view or none of it (EL6).
type View struct {
	Term    uint32 // grows with every election
	Epoch   uint32 // grows with every view of a term and never goes back
	Control NodeID
	Config  uint64 // checksum of the configuration that every member has from here on (NT7), with ConfigTranslates

	// Draining has a bit per NodeID: members that are about to leave (EL10). They
	// go on with what they have, and are to get nothing new.
	Draining uint64
	Members  []Member // sorted by ID
}

// Drains reports whether a member is about to leave.
func (v *View) Drains(id NodeID) bool { return v.Draining>>id&1 != 0 }

// Newer reports whether v replaces o: terms first, then epochs.
func (v *View) Newer(o *View) bool {
	if o == nil {
		return v != nil
	}
	if v.Term != o.Term {
		return v.Term > o.Term
	}
	return v.Epoch > o.Epoch
}

// Tag folds (term, epoch) into the 32 bits that data frames carry and XDP
// compares: equal tags mean the same view but for one chance in 2^32. Never 0:
// 0 means fenced.
func (v *View) Tag() uint32 {
	if v == nil {
		return 0
	}
	mixed := (uint64(v.Term)<<32 | uint64(v.Epoch)) * 0x9e3779b97f4a7c15
	return max(uint32(mixed>>32), 1)
}

// Member returns the member with this id, or nil.
func (v *View) Member(id NodeID) *Member {
	if v == nil {
		return nil
	}
	i := sort.Search(len(v.Members), func(i int) bool { return v.Members[i].ID >= id })
	if i < len(v.Members) && v.Members[i].ID == id {
		return &v.Members[i]
	}
	return nil
}

// Named returns the member with this name, or nil.
func (v *View) Named(name string) *Member {
	if v == nil {
		return nil
	}
	for i := range v.Members {
		if v.Members[i].Name == name {
			return &v.Members[i]
		}
	}
	return nil
}
