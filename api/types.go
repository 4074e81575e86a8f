package api

import (
	"net/netip"
	"time"
)

// Info is what `show cluster info` says: the cluster as this node sees it.
type Info struct {
	Cluster string `json:"cluster"`
	Self    string `json:"self"`    // name of the node that answers
	State   string `json:"state"`   // of this node: disabled, election, joining, in sync, fenced
	View    string `json:"view"`    // the current view as history names it: round.opener/epoch
	Term    uint32 `json:"term"`    // of the current view (EL6): rounds of elections
	Epoch   uint32 `json:"epoch"`   // of the current view
	Control string `json:"control"` // name of the control node, "" = none
	Config  string `json:"config"`  // checksum of policy and nat that run (NT7)

	// Of another configuration that this node is ready for, and the members that
	// are not yet.
	Prepared string   `json:"prepared,omitempty"`
	Waiting  []string `json:"waiting,omitempty"`

	// Addresses are those that follow the control node, in the order of the
	// interfaces; while there is none, nobody has them (EL7).
	Addresses []ClusterAddresses `json:"addresses"`

	Members []Member `json:"members"` // sorted by id
}

// ClusterAddresses are the cluster addresses of one data interface.
type ClusterAddresses struct {
	Interface string         `json:"interface"`
	Addresses []netip.Prefix `json:"addresses"` // IPv4, then IPv6 if there is one
}

// Member is one node of the cluster.
type Member struct {
	ID          uint8      `json:"id"`
	Name        string     `json:"name"`
	Serial      string     `json:"serial"`
	Priority    uint8      `json:"priority"`
	Role        string     `json:"role"` // control or data
	State       string     `json:"state"`
	VTEP        netip.Addr `json:"vtep"`
	Incarnation string     `json:"incarnation"`   // hexadecimal; changes when the node lost its state
	LastHeardMS int64      `json:"last_heard_ms"` // since the last authenticated packet; -1 = this node, or never
}

// The roles of a member.
const (
	RoleControl = "control"
	RoleData    = "data"
)

// Event is one line of `show cluster history`, oldest first.
type Event struct {
	Time  time.Time `json:"time"`
	From  string    `json:"from"` // state before; "" where the state did not change
	To    string    `json:"to"`
	Cause string    `json:"cause"`
	Node  string    `json:"node"` // whom it happened to
}

// Health is what `show cluster health` says (HL3).
type Health struct {
	State      string  `json:"state"` // of this node
	HoldTimeMS int64   `json:"hold_time_ms"`
	Profile    string  `json:"profile"`         // normal or fast (HL7)
	Pulse      *Pulse  `json:"pulse,omitempty"` // of the fast profile
	LeaseMS    int64   `json:"lease_ms"`        // until the fast path stops by itself (HL5); negative = it has, 0 = there is none
	Checks     []Check `json:"checks"`
}

// Pulse is the process that beats for the node in the fast profile (HL7).
type Pulse struct {
	Realtime   bool        `json:"realtime"`    // it has real-time priority
	BeatMS     int64       `json:"beat_ms"`     // since its newest beat; -1 = none
	LatenessMS float64     `json:"lateness_ms"` // of its newest wake-up that was more than 5 ms late; 0 = none was
	WorstMS    float64     `json:"worst_ms"`    // the latest that it ever was
	Peers      []PulsePeer `json:"peers"`

	// Where the beats of others that came here lost time, in the order of their way.
	Stages []PulseStage `json:"stages"`
}

// PulseStage is how long beats took in one place beyond what they must: in the
// sender's process (sender), from there to this kernel (transit: beyond the quickest
// of the last minute), from here to this node's process (receiver).
type PulseStage struct {
	Stage   string        `json:"stage"`
	Late    uint64        `json:"late"` // beats more than 75 ms after the one before that lost most of the time here
	P50MS   float64       `json:"p50_ms"`
	P99MS   float64       `json:"p99_ms"`
	WorstMS float64       `json:"worst_ms"`
	Beats   uint64        `json:"beats"`
	SumMS   float64       `json:"sum_ms"`
	Buckets []PulseBucket `json:"buckets"`
}

// PulseBucket is how many beats took no longer than that.
type PulseBucket struct {
	UpToMS float64 `json:"up_to_ms"`
	Beats  uint64  `json:"beats"`
}

// PulsePeer is what a node's pulse has of another node.
type PulsePeer struct {
	Member    string  `json:"member"`
	BeatMS    int64   `json:"beat_ms"`    // since its newest beat; -1 = none came: it is judged by the hold time
	LoopMS    int64   `json:"loop_ms"`    // since its event loop went round
	LongestMS float64 `json:"longest_ms"` // between two of its beats, ever
	Hold      bool    `json:"hold"`       // it says that it is judged by the hold time: it is about to be started again
}

// Check is one thing that is watched about one member.
type Check struct {
	Member string     `json:"member"`
	Name   string     `json:"name"` // heartbeat, interface inside, ...
	OK     bool       `json:"ok"`
	Cause  string     `json:"cause,omitempty"` // why it fails
	Since  time.Time  `json:"since"`           // of the present state
	Next   *time.Time `json:"next,omitempty"`  // next attempt to mend it
}

// Interface is one data interface or the cluster control link.
type Interface struct {
	Name      string         `json:"name"`
	ID        uint8          `json:"id"` // 0 = the link
	Device    string         `json:"device"`
	Trust     uint8          `json:"trust"`
	MTU       int            `json:"mtu"`
	Up        bool           `json:"up"`
	XDP       string         `json:"xdp"` // native, generic or none
	Addresses []netip.Prefix `json:"addresses"`
}

// Counter counts one outcome of a packet or one kind of event since the
// tables were made.
type Counter struct {
	Kind        string `json:"kind"` // pass, forward, punt, drop for packets; another word for the rest
	Name        string `json:"name"`
	Value       uint64 `json:"value"`
	Description string `json:"description"`
}

// KindDrop is the Kind of drop reasons; they add up to all drops (MG5).
const KindDrop = "drop"

// Tables says how full the node's tables are.
type Tables struct {
	Owned       int `json:"owned"`  // connections this node owns
	Copies      int `json:"copies"` // director and backup entries
	Joined      int `json:"joined"` // of these, that are found by the second key as well, in place of a stub
	Forwards    int `json:"forwards"`
	Stubs       int `json:"stubs"` // second keys of translated connections, and keys that rest after one
	MaxOwned    int `json:"max_owned"`
	MaxCopies   int `json:"max_copies"`
	MaxForwards int `json:"max_forwards"`

	// Directions of connections that leave where they enter and not by way of their
	// owner: what this node has lent of its connections, what it has taken of others',
	// and the limit of each. Both count what has ended and is not accounted for yet.
	Lent           int `json:"lent"`
	Delegated      int `json:"delegated"`
	MaxDelegations int `json:"max_delegations"`
}
