package wire

import (
	"net/netip"

	"cohort/packet"
)

// Version of the wire format. It stands in every datagram, under its seal: messages of
// another version are never decoded, and whoever sends them is named (EL8). What nodes say
// in the packets of connections counts as well: their sequence numbers (FR5).
const Version = 13

// Type numbers a message. Numbers are never reused.
type Type uint8

// State messages travel reliably and in order between two members.
// Membership messages are datagrams that are repeated until overtaken.
const (
	TypeClaim           Type = 1  // owner -> director: I own this connection
	TypeGrant           Type = 2  // director -> asker: you own it (a takeover carries the state)
	TypeRedirect        Type = 3  // director -> asker: somebody else owns it
	TypeQuery           Type = 4  // forwarder -> director: who owns it?
	TypeOwner           Type = 5  // director -> forwarder: the answer, 0 = nobody
	TypeUpdate          Type = 6  // owner -> backup: newest state
	TypeClose           Type = 7  // owner -> director and backup: it is over
	TypeGone            Type = 8  // anyone -> forwarder: I do not own what you sent me
	TypeSynced          Type = 9  // owner -> all: everything re-registered for this view
	TypeBind            Type = 10 // owner -> holder of a translated connection's second key
	TypeAlias           Type = 11 // that holder -> asker: the connection is registered under another key
	TypeUnits           Type = 12 // holder -> all: the units it holds (cluster/blocks)
	TypeGiveUnits       Type = 13 // holder -> its successor: these are yours now
	TypeWantUnits       Type = 14 // a node short of ports -> a holder: lease me some
	TypeRoster          Type = 15 // all -> all: which nodes were ever members
	TypeHostUnits       Type = 16 // node <-> director of an inside host: how many blocks it may have
	TypeKept            Type = 17 // holder of a copy or a second key -> owner: I have it (durability sync)
	TypeDelegate        Type = 18 // owner -> forwarder: forward this direction yourself, or do not any more
	TypeReport          Type = 19 // forwarder -> owner: what it has forwarded, and what it wants to
	TypeRests           Type = 20 // member -> who thaws a unit: hold-downs in it that only the sender knows
	TypeLease           Type = 21 // forwarder <-> owner: all that is delegated between the two goes on
	TypeGranted         Type = 22 // director -> claimant: you own what you have claimed
	TypeHeartbeat       Type = 32
	TypeElectionRequest Type = 33
	TypeElectionReply   Type = 34
	TypeJoin            Type = 35
	TypeJoinRefused     Type = 36
	TypeView            Type = 37
	TypeLeave           Type = 38
	TypeProbe           Type = 39
	TypeProbeReply      Type = 40
	TypeRemoved         Type = 41
	TypeOrder           Type = 42
	TypeBeat            Type = 43
	TypeExposure        Type = 46 // member -> all: what would be lost with it (MG9)
)

// Conn is the state of one connection as it travels: enough for any node to
// become its owner. Key is the initiator's direction. Reply is the responder's
// direction as it is received, before translation; zero stands for Key.Reverse(),
// a connection that is not translated.
type Conn struct {
	Key     packet.FlowKey
	Reply   packet.FlowKey
	Gen     uint32 // ownership generation; a takeover adds one (FR11)
	In, Out uint8  // logical interfaces: where the initiator and the responder enter
	State   uint8  // flowtable.TCPState, below 128
	Flags   uint8  // ConnX
	Rule    uint16
	Timeout uint16 // idle timeout, seconds

	// Bound, in Claim and Update, says what a Bind of the second key would say, to the
	// same node; in Grant, that this was done. Only of a connection that is translated.
	Bound bool

	// SeqDelta is added to the initiator's sequence numbers, 0 = nothing (FR5). Only
	// what has a State has it.
	SeqDelta uint32
}

// Conn flags.
const (
	ConnSync    = 0x01 // FR13: durability sync
	ConnNoCopy  = 0x02 // FR13: durability none: directors know the owner, nobody keeps state
	ConnOrphan  = 0x04 // of all messages Update and Bind only: the owner is dead, the receiver is the new director
	ConnMapped  = 0x08 // its translation is that of a mapping (RFC 4787, endpoint-independent)
	ConnTomb    = 0x40 // stubs only, never sent: see ownership's tombs
	ConnYours   = 0x40 // Update only, never stored: the receiver is to go on with it: the sender drains (EL10), or gives way (FR14)
	ConnLogged  = 0x20 // its translation is logged when it begins and ends (RFC 6888, REQ-12)
	ConnGranted = 0x80 // copies only, never sent: granted, and its owner has not confirmed it since
	ConnAnswer  = 0x80 // Update and Bind only, never stored: the owner waits for Kept (FR13)
	ConnOpen    = 0x10 // a mapping that lets anybody in (RFC 4787, endpoint-independent filtering)
)

// OwnerRetry in Owner.Owner or Redirect.Owner means: I cannot answer in my
// present view, ask the director of your newest view again.
const OwnerRetry NodeID = 255

// Claim says: the sender owns Conn. Asking claims wait for a Grant or a
// Redirect; a re-registration after a view change (FR12) is the same message.
type Claim struct {
	Conn       Conn
	Reregister bool // existing owner, not a new connection

	// Serial is the claimant's number of this claim, by which a Granted may answer it.
	// At most MaxSerial; 0 = none. A re-registration has none.
	Serial uint32
}

// Grant makes the receiver the owner with Conn.Gen. Adopted means the state is
// that of a dead owner (FR11).
type Grant struct {
	Conn    Conn
	Adopted bool
}

// Granted is a Grant of just what was claimed: the receiver owns the connection of its
// claim with this Serial, as that said it. Bound is Conn.Bound of that Grant.
type Granted struct {
	Serial uint32 // at most MaxSerial
	Bound  bool
}

// Redirect tells a claimant that Owner has the connection.
type Redirect struct {
	Key   packet.FlowKey
	Owner NodeID
	Gen   uint32
}

// Query asks a director who owns the connection of Key (either direction).
// When nobody alive does but the director keeps its state, the asker becomes
// the owner (answer: Grant, Adopted).
type Query struct {
	Key packet.FlowKey
}

// Owner answers Query: Owner 0 means there is no such connection.
type Owner struct {
	Key   packet.FlowKey
	Owner NodeID
	Gen   uint32
}

// LastOwner names who owned the connection of an orphan: a node and the tag of its
// incarnation. ID 0: several may have, or nobody knows. Should that node be back in
// the same life, it says what it still owns.
type LastOwner struct {
	ID   NodeID
	Life uint8
}

// Update carries the newest state to the backup owner.
type Update struct {
	Last LastOwner // with ConnOrphan only
	Conn Conn
}

// Kept answers an Update, or a Bind, of a connection of durability sync: what they
// said is stored. Key is theirs; State is that of the Update, 0 for a Bind.
type Kept struct {
	Key   packet.FlowKey
	Gen   uint32
	State uint8 // flowtable.TCPState
}

// Delegate is what an owner says to a node that forwards a direction of its
// connection to it (DESIGN 5): Key, as the direction is received. The lease of a
// grant begins when the receiver asked for it: Stamp is that of its Report.
type Delegate struct {
	Op    DelegateOp
	Key   packet.FlowKey
	ID    uint16 // of the delegation; not with DelegateOffer
	Gen   uint32 // of the connection; DelegateOffer and DelegateGrant
	View  uint32 // tag of the view that it is bound to; DelegateGrant and DelegateRenew
	Stamp uint32 // the same two
	Lease uint32 // ticks of about 1.05 ms; the same two
	Every uint32 // ticks between two ReportUse while packets come; the same two

	// Process is the tag of the owner's process that has granted it, and Revoked how
	// often that has revoked one of the receiver's so far: with DelegateRevoke, this time
	// included. DelegateGrant; DelegateRevoke, where Process is 0, and Revoked does not
	// travel, of what the owner knows nothing of; DelegateRenew has Process alone.
	Process uint32
	Revoked uint32

	In uint8          // logical interface where the direction enters; DelegateGrant
	To packet.FlowKey // the tuple that it leaves with; DelegateGrant

	// Conn.SeqDelta, and whether this is the responder's direction; DelegateGrant. Only
	// with a delta does Reply travel.
	SeqDelta uint32
	Reply    bool
}

// DelegateOp says what a Delegate is.
type DelegateOp uint8

// What an owner says about a delegation.
const (
	DelegateOffer  DelegateOp = 0 // ask me for one
	DelegateGrant  DelegateOp = 1 // it begins
	DelegateRenew  DelegateOp = 2 // it goes on, and by Lease from now on
	DelegateRevoke DelegateOp = 3 // it ends now: say when it has
	DelegateOver   DelegateOp = 4 // its end is known here: forget it
	numDelegateOps            = 5
)

// Report is what a forwarder says to the owner about a delegation of Key. All
// counts are since it began, so that one Report stands for all before it.
type Report struct {
	Op      ReportOp
	Key     packet.FlowKey
	Stamp   uint32 // tick of the sender, comes back in a Delegate; ReportAsk and ReportRenew
	Gen     uint32 // of the connection as the sender knows it; ReportAsk
	View    uint32 // tag of the sender's view; ReportAsk
	ID      uint16 // of the delegation; not with ReportAsk, as all that follow
	Idle    uint32 // ticks since its last packet
	Packets uint64
	Bytes   uint64 // IP total length
	SeqEnd  uint32 // TCP: one past the highest sequence number sent
	Ack     uint32 // TCP: of the last segment, as Window, which is not scaled
	Window  uint16
}

// ReportOp says what a Report is.
type ReportOp uint8

// What a forwarder says about a delegation.
const (
	ReportAsk    ReportOp = 0 // grant me one
	ReportUse    ReportOp = 1 // it is in use
	ReportEnd    ReportOp = 2 // it has ended: nothing is forwarded by it any more
	ReportRenew  ReportOp = 3 // it is in use, and the sender does not know who granted it: renew it by itself
	numReportOps          = 4
)

// Lease renews everything that one node has delegated to another, but what it has
// revoked: the forwarder asks twice a second, whatever the number. The lease of a
// renewal begins when the receiver asked for it: Stamp is that of the LeaseAsk.
type Lease struct {
	Op      LeaseOp
	View    uint32 // tag of the sender's view
	Stamp   uint32 // tick of the asker
	Process uint32 // tag of the owner's process; LeaseAsk: as far as the sender knows, or 0

	// LeaseAsk: all revocations of that process up to this one have been carried out.
	// LeaseRenew: of those up to this one nothing is in force any more.
	Settled uint32
	Revoked uint32 // revocations so far; only who has carried out all may renew; LeaseRenew
	Lease   uint32 // ticks of about 1.05 ms; LeaseRenew
}

// LeaseOp says what a Lease is.
type LeaseOp uint8

// What a forwarder and an owner say about all delegations between them.
const (
	LeaseAsk    LeaseOp = 0 // forwarder -> owner: renew what you have lent to me
	LeaseRenew  LeaseOp = 1 // owner -> forwarder: it goes on
	numLeaseOps         = 2
)

// Close ends the connection everywhere (FR15). Reply is zero, or its second key, of
// which a Close would say the same to the same node.
type Close struct {
	Key   packet.FlowKey
	Reply packet.FlowKey
	Gen   uint32

	// InOrder: it was closed or reset, and the time that this takes is over, so that no
	// packet of it is under way and its second key needs no hold-down (NT5).
	InOrder bool

	Late bool // not sent: it may wait for other messages, nobody goes on from the copy
}

// Gone tells a forwarder to forget its forward entry for Key.
type Gone struct {
	Key packet.FlowKey
}

// Bind registers the second key of a translated connection (DESIGN 4): Key is
// the responder's direction as received, Conn the key under which a director
// keeps the connection. The receiver keeps a stub, ended by a Close of Key.
type Bind struct {
	Key     packet.FlowKey
	Conn    packet.FlowKey
	Gen     uint32
	Timeout uint16    // idle timeout of the connection, seconds
	Flags   uint8     // ConnX
	Last    LastOwner // with ConnOrphan only

	Late bool // not sent: it may wait for other messages, packets with Key find their owner without it
}

// Alias answers a Query for the second key of a connection whose owner has
// died: its director is that of Conn.
type Alias struct {
	Key  packet.FlowKey
	Conn packet.FlowKey
}

// Synced brackets the sender's re-registration for the view with this tag.
// After the end a director may believe that what it does not know does not
// exist; after the end of a full round it forgets what was not confirmed.
type Synced struct {
	View  uint32
	Phase SyncPhase
}

// SyncPhase says which bracket a Synced is.
type SyncPhase uint8

// Phases of a re-registration.
const (
	SyncEnd       SyncPhase = 0 // everything that this view moved is registered
	SyncFullBegin SyncPhase = 1 // from here on every connection is confirmed again
	SyncFullEnd   SyncPhase = 2 // SyncEnd, and all connections were confirmed
	SyncApplied   SyncPhase = 3 // the sender has applied this view
)

// NodeState is what a node says about itself in heartbeats.
type NodeState uint8

// The states of `show cluster info` (MG1).
const (
	StateDisabled NodeState = iota
	StateElection           // looking for a control node
	StateJoining            // asked a control node for admission
	StateInSync             // member of the current view
	StateFenced             // was a member, is not in the newest view
)

// Heartbeat is broadcast every hold/3 (HL1). The control node's says which
// view is current; a member that has an older one asks for it by its own.
type Heartbeat struct {
	From        Member
	State       NodeState
	Term, Epoch uint32 // of the view the sender has applied
	Control     NodeID // of that view
	Alive       uint64 // bit per NodeID: members the sender has heard within the hold time
	Prepared    uint64 // checksum of the configuration that the sender is ready to change to, 0 = none (NT7)
	Down        uint32 // bit per logical interface: monitored, and failed (HL2)
	Narrow      uint64 // bit per NodeID: members that small packets reach and full-sized ones do not (CL3)
	Flags       BeatFlags
}

// BeatFlags are what a heartbeat says with a bit.
type BeatFlags uint8

// The flags of a heartbeat.
const (
	BeatGrace    BeatFlags = 0x01 // the sender has just joined: Down is no reason to remove it yet (HL2)
	BeatDraining BeatFlags = 0x02 // the sender wants no new connections: it is about to leave (EL10)
)

// ElectionRequest is broadcast by a node without a control node (EL1).
type ElectionRequest struct {
	From    Member
	Cluster string
}

// ElectionReply answers it: "a better candidate is here" or "Control rules".
type ElectionReply struct {
	From    Member
	Control NodeID // 0 while there is none
	Term    uint32
	Epoch   uint32
}

// Join asks the control node for admission (EL8 checks ride here).
type Join struct {
	From       Member
	Cluster    string
	Version    string
	DataMTU    uint16
	Interfaces []string // logical names, sorted
	Config     uint64   // checksum of the configuration that it runs, as View.Config
	Prepared   uint64   // of another one that it is ready for, as Heartbeat.Prepared
	Tier       Tier
}

// Tier is how much a node can carry (EL8).
type Tier struct {
	Label       string // given by the operator; empty: none
	CPUs        uint16
	Connections uint32 // that it may own, the size of its flow table
}

// JoinRefused names the check that failed (EL8).
type JoinRefused struct {
	Reason string
}

// ViewMsg publishes a view.
type ViewMsg struct {
	View View
}

// Leave asks the control node to remove the sender at once.
type Leave struct {
	From Member
}

// Removed tells a member that it has to go, or one that is out already why: what
// it does next depends on that (HL3). It is for the life Life of the receiver only.
type Removed struct {
	Life        Incarnation
	Term, Epoch uint32 // of the sender's view
	Cause       Cause
	Reason      string
}

// Cause is why a node is no member.
type Cause uint8

// The causes; each has its own ladder of attempts to come back (HL3).
const (
	CauseNode      Cause = iota // silent, restarted, or fenced by the views of others
	CauseInterface              // a data interface failed that others still have
	CauseLink                   // the control link failed after the node had joined
	CauseFirstLink              // the control link failed at the first join
	CauseOperator               // an operator took it out
	CauseInternal               // an internal error, or a failed deployment
	NumCauses
)

// Order is an operator's decision, said to any member, on its way to the node
// that carries it out. It holds in the view that it names only.
type Order struct {
	Verb        OrderVerb
	Node        NodeID // whom it is about
	Term, Epoch uint32
}

// OrderVerb says what an Order wants.
type OrderVerb uint8

// The orders (EL3, EL10).
const (
	OrderPromote OrderVerb = 1 // Node becomes the control node; said to it by the present one
	OrderRemove  OrderVerb = 2 // Node is taken out and stays out until somebody lets it join
	OrderBreak   OrderVerb = 3 // everybody is taken out: the cluster ends
	OrderDrain   OrderVerb = 4 // Node moves its connections to others, and leaves; said to it by the control node
)

// Probe is padded to Size bytes of inner IP packet (CL3).
type Probe struct {
	ID   uint32
	Size uint16
	From netip.Addr
}

// ProbeReply answers with the size that arrived.
type ProbeReply struct {
	ID   uint32
	Size uint16
}
