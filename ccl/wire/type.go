package wire

import "fmt"

// TypePadding is what a zero byte between two messages means.
const TypePadding Type = 0

// Message is anything that has a number on the wire. Only the value types of
// this package implement it usefully: Append refuses others by panicking,
// because that is a mistake in the program and not in its input.
type Message interface{ Type() Type }

// Control reports whether the type belongs to the membership class, which is
// never queued behind state messages (CL5).
func (t Type) Control() bool { return t >= TypeHeartbeat }

var typeNames = map[Type]string{
	TypePadding: "padding", TypeClaim: "claim", TypeGrant: "grant", TypeRedirect: "redirect",
	TypeQuery: "query", TypeOwner: "owner", TypeUpdate: "update", TypeClose: "close",
	TypeGone: "gone", TypeSynced: "synced", TypeBind: "bind", TypeAlias: "alias",
	TypeUnits: "units", TypeGiveUnits: "give-units", TypeWantUnits: "want-units", TypeRoster: "roster", TypeHostUnits: "host-units", TypeRests: "rests", TypeKept: "kept", TypeDelegate: "delegate", TypeReport: "report", TypeLease: "lease", TypeGranted: "granted", TypeHeartbeat: "heartbeat",
	TypeElectionRequest: "election-request", TypeElectionReply: "election-reply",
	TypeJoin: "join", TypeJoinRefused: "join-refused", TypeView: "view", TypeLeave: "leave",
	TypeProbe: "probe", TypeProbeReply: "probe-reply", TypeRemoved: "removed", TypeOrder: "order", TypeExposure: "exposure",
	TypeBeat: "beat",
}

// String returns the name used in logs, transcripts and metrics.
func (t Type) String() string {
	if n, ok := typeNames[t]; ok {
		return n
	}
	return fmt.Sprintf("type-%d", uint8(t))
}

// Type implements Message.
func (Claim) Type() Type { return TypeClaim }

// Type implements Message.
func (Grant) Type() Type { return TypeGrant }

// Type implements Message.
func (Granted) Type() Type { return TypeGranted }

// Type implements Message.
func (Redirect) Type() Type { return TypeRedirect }

// Type implements Message.
func (Query) Type() Type { return TypeQuery }

// Type implements Message.
func (Owner) Type() Type { return TypeOwner }

// Type implements Message.
func (Update) Type() Type { return TypeUpdate }

// Type implements Message.
func (Close) Type() Type { return TypeClose }

// Type implements Message.
func (Kept) Type() Type { return TypeKept }

// Type implements Message.
func (Delegate) Type() Type { return TypeDelegate }

// Type implements Message.
func (Report) Type() Type { return TypeReport }

// Type implements Message.
func (Lease) Type() Type { return TypeLease }

// Type implements Message.
func (Gone) Type() Type { return TypeGone }

// Type implements Message.
func (Synced) Type() Type { return TypeSynced }

// Type implements Message.
func (Bind) Type() Type { return TypeBind }

// Type implements Message.
func (Alias) Type() Type { return TypeAlias }

// Type implements Message.
func (Heartbeat) Type() Type { return TypeHeartbeat }

// Type implements Message.
func (ElectionRequest) Type() Type { return TypeElectionRequest }

// Type implements Message.
func (ElectionReply) Type() Type { return TypeElectionReply }

// Type implements Message.
func (Join) Type() Type { return TypeJoin }

// Type implements Message.
func (JoinRefused) Type() Type { return TypeJoinRefused }

// Type implements Message.
func (ViewMsg) Type() Type { return TypeView }

// Type implements Message.
func (Leave) Type() Type { return TypeLeave }

// Type implements Message.
func (Probe) Type() Type { return TypeProbe }

// Type implements Message.
func (ProbeReply) Type() Type { return TypeProbeReply }

// Type implements Message.
func (Removed) Type() Type { return TypeRemoved }

// Type implements Message.
func (Order) Type() Type { return TypeOrder }
