package ownership

import (
	"cohort/ccl/wire"
	"cohort/packet"
)

// Kind is what the role logic distinguishes in a packet.
type Kind uint8

// Kinds. ICMP queries are those of RFC 5508, section 2, echo the usual one; only a
// query begins a connection, as whose reply its response comes. ICMP errors carry the key
// of the connection they quote, turned into the error's own direction of travel (FR9).
const (
	KindOther Kind = iota // any protocol without a state machine
	KindTCP
	KindUDP
	KindICMPQuery
	KindICMPResponse
	KindICMPError
	KindICMPOther // belongs to no connection, whatever its key
	// KindFragment is a fragment without ports of its own, behind the first one of its
	// datagram: it belongs to a connection and never begins one (FR10).
	KindFragment
)

// Handle names a packet that the I/O layer keeps while the core waits for an
// answer. The core never looks behind it.
type Handle int32

// Packet is one punted packet. The core copies it when it has to wait.
type Packet struct {
	Key    packet.FlowKey
	Kind   Kind
	In     uint8       // logical interface where it entered the cluster
	From   wire.NodeID // node that forwarded it, 0 = from the wire
	Len    uint16      // IP total length
	Flags  uint8       // TCP flags
	Window uint16      // TCP window, unscaled
	WScale uint8       // SYN only: window shift, 0xff = none offered
	Seq    uint32      // TCP
	Ack    uint32      // TCP
	SeqLen uint32      // TCP: sequence space used: payload + SYN + FIN
	Signed bool        // SYN only: segments are signed (RFC 2385, RFC 5925), so their numbers must stay
	Handle Handle

	// Fragment: it is part of a datagram, the first (Kind is the datagram's) or a later
	// one. Another node gets it together with its ports.
	Fragment bool

	reused bool // its connection was over here: a SYN that was forwarded begins the next
	// refused is why it may pass only as part of a connection that exists.
	refused Reason
	// denied counts what a packet without a port turned out not to belong to: a
	// connection, then a mapping.
	denied uint8
	portBy int64 // it waits for a port until then, 0 = not yet

	reported bool // it has waited for delegations to end

	asked uint8 // questions asked for this packet so far
	anew  bool  // it has been judged again, see beginsBehind
}

// TCP flags as in the header.
const (
	FIN = 0x01
	SYN = 0x02
	RST = 0x04
	ACK = 0x10
)

// Op says what becomes of a packet.
type Op uint8

// Ops.
const (
	OpDrop    Op = iota // Reason says why
	OpForward           // rewrite as direction Dir of flow Slot and send out
	OpSend              // encapsulate to Node over the CCL
	OpHold              // wait for Release
	OpLabel             // as OpSend, a fragment: Gen is its ports, see Label
)

// Verdict is the core's answer for one packet.
type Verdict struct {
	Op     Op
	Reason Reason
	Dir    uint8
	Node   wire.NodeID
	Slot   uint32
	Gen    uint32
}

// Reason names why a packet was dropped. Every drop has exactly one.
type Reason uint8

// Reasons; append only, never renumber.
const (
	ReasonNone Reason = iota
	ReasonFenced
	ReasonPolicyDenied
	ReasonNoConnection
	ReasonTCPState
	ReasonRSTWindow
	ReasonNoRoute
	ReasonReversePath
	ReasonTableFull
	ReasonOwnerTimeout
	ReasonHoldLimit
	ReasonForwardLoop
	ReasonICMPType
	ReasonLinkBacklog
	ReasonNATPorts
	ReasonNATNoXlate
	ReasonNATConflict
	ReasonNATProtocol
	ReasonNATFiltered
	ReasonDuplicate
	ReasonNATHost
	ReasonMartian
	ReasonNATInbound
	ReasonFragmentTimeout
	ReasonFragmentOverlap
	ReasonFragmentDuplicate
	ReasonFragmentLimit
	ReasonFragmentMoved
	reasonEnd
)

var reasonText = [reasonEnd][2]string{
	ReasonNone:              {"none", "not dropped"},
	ReasonFenced:            {"fenced", "this node is not a member of the current view"},
	ReasonPolicyDenied:      {"policy_denied", "no rule allows this new connection"},
	ReasonNoConnection:      {"no_connection", "the director knows no connection for a packet that cannot start one"},
	ReasonTCPState:          {"tcp_state", "TCP flags that the connection's state does not allow"},
	ReasonRSTWindow:         {"rst_window", "TCP reset outside the receive window (RFC 5961)"},
	ReasonNoRoute:           {"no_route", "no route to the destination through a data interface"},
	ReasonReversePath:       {"reverse_path", "the route back to the source leaves by another interface"},
	ReasonTableFull:         {"table_full", "the flow table is full; live connections are never evicted"},
	ReasonOwnerTimeout:      {"owner_timeout", "no answer from the director in time"},
	ReasonHoldLimit:         {"hold_limit", "too many packets wait for a director's answer"},
	ReasonForwardLoop:       {"forward_loop", "the packet came from the node that is said to own it"},
	ReasonICMPType:          {"icmp_type", "ICMP message that is neither a query nor a response nor an error, or a redirect"},
	ReasonLinkBacklog:       {"link_backlog", "the control link to the director is backed up"},
	ReasonNATPorts:          {"nat_ports", "no port of the pool is free for this destination on any node"},
	ReasonNATNoXlate:        {"nat_no_xlate", "the destination is an address of NAT and nothing maps it"},
	ReasonNATConflict:       {"nat_conflict", "another connection has the tuple that a fixed translation leads to"},
	ReasonDuplicate:         {"duplicate_owner", "an answer to a translation, or to a sequence number, that was given up: another node owns the connection, or gave its initiator another number"},
	ReasonNATHost:           {"nat_host_limit", "the host has as many port blocks as it may have, and their ports are in use"},
	ReasonMartian:           {"martian", "from or to 0.0.0.0, or an ICMP error about such a packet: no host has this address"},
	ReasonNATFiltered:       {"nat_filtered", "the mapping of this address and port does not let strangers in"},
	ReasonNATInbound:        {"nat_inbound_limit", "the mapping of this address and port has as many connections from outside as it may have"},
	ReasonFragmentTimeout:   {"fragment_timeout", "the first fragment of its datagram has not come in time (FR10)"},
	ReasonFragmentOverlap:   {"fragment_overlap", "fragments of its datagram overlap, or contradict each other about where it ends"},
	ReasonFragmentDuplicate: {"fragment_duplicate", "the same part of its datagram has been here before"},
	ReasonFragmentLimit:     {"fragment_limit", "too many fragments wait for the first of theirs, or a datagram has too many"},
	ReasonFragmentMoved:     {"fragment_moved", "it waited for the first fragment of its datagram, and now another node is the fragment owner"},
	ReasonNATProtocol:       {"nat_protocol", "a protocol without ports through a pool of ports: no node that is there holds the first block of an address that is free towards this destination"},
}

// Reasons lists all reasons in numeric order.
func Reasons() []Reason {
	r := make([]Reason, 0, reasonEnd-1)
	for i := Reason(1); i < reasonEnd; i++ {
		r = append(r, i)
	}
	return r
}

// String returns the name used in counters.
func (r Reason) String() string {
	if r == ReasonWait {
		return "wait"
	}
	return reasonText[r][0]
}

// Describe returns one sentence for people.
func (r Reason) Describe() string { return reasonText[r][1] }

// Label is how the ports of a fragment travel with it.
func Label(k packet.FlowKey) uint32 { return uint32(k.SrcPort)<<16 | uint32(k.DstPort) }

// Unlabel returns the ports of a label.
func Unlabel(label uint32) (src, dst uint16) { return uint16(label >> 16), uint16(label) }

// labelled is v for p, which may be a fragment.
func labelled(p *Packet, v Verdict) Verdict {
	if p.Fragment && v.Op == OpSend {
		v.Op, v.Gen = OpLabel, Label(p.Key)
	}
	return v
}

func drop(r Reason) Verdict { return Verdict{Op: OpDrop, Reason: r} }
