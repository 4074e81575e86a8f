package wire

import (
	"encoding/binary"
	"net/netip"
	"unicode/utf8"

	"cohort/packet"
)

// Limits of the format. A longer text is cut by Append; configuration refuses
// such names before they get here.
const (
	MaxBody    = 16 << 10 // bytes of one message's body
	MaxString  = 255      // bytes of a name, a serial or a reason
	MaxStrings = 64       // entries of a list of names
)

// The head byte of a flow key. The upper half belongs to the message.
const (
	keyProto = 0x03 // 0 = a byte of its own, else 1 ICMP, 2 TCP, 3 UDP
	keyZone  = 0x04 // a zone byte follows
	keyPorts = 0x08 // four bytes of ports follow
	connFlag = 0x10 // a flags byte follows the interfaces
	connTCP  = 0x20 // a state byte follows the interfaces
	connNAT  = 0x40 // the reply key follows the key: a byte of natX, then what that names
	headMark = 0x80 // Claim: Reregister; Grant: Adopted; Close: InOrder
)

// stateSeq in the state byte: four bytes of SeqDelta follow it.
const stateSeq = 0x80

// What of a translated connection's reply key differs from the reversed key.
const (
	natSrc = 0x01 // address and port of the responder follow
	natDst = 0x02 // mapped address and port of the initiator follow
	bound  = 0x04 // Conn.Bound
)

// protoShort lists the protocols that have a number in the head byte.
var protoShort = [4]uint8{0, packet.ProtoICMP, packet.ProtoTCP, packet.ProtoUDP}

// Append adds one encoded message to b and returns the longer slice. It
// allocates only when b is too small; m does not escape. The message fills its
// length byte afterwards: bodies shorter than 128 bytes (all state messages)
// are written in place, longer ones move by one byte.
func Append(b []byte, m Message) []byte {
	var t Type
	start := len(b)
	b = append(b, 0, 0)
	switch m := m.(type) {
	case Claim:
		t, b = TypeClaim, appendConn(b, &m.Conn, m.Reregister)
		if !m.Reregister {
			b = appendSerial(b, m.Serial)
		}
	case Grant:
		t, b = TypeGrant, appendConn(b, &m.Conn, m.Adopted)
	case Granted:
		t, b = TypeGranted, append(appendSerial(b, m.Serial), flag(m.Bound))
	case Update:
		t, b = TypeUpdate, appendLast(appendConn(b, &m.Conn, false), m.Conn.Flags, m.Last)
	case Redirect:
		t, b = TypeRedirect, appendOwned(b, m.Key, m.Owner, m.Gen)
	case Owner:
		t, b = TypeOwner, appendOwned(b, m.Key, m.Owner, m.Gen)
	case Query:
		t, b = TypeQuery, appendKey(b, m.Key, 0)
	case Gone:
		t, b = TypeGone, appendKey(b, m.Key, 0)
	case Close:
		head := byte(0)
		if m.InOrder {
			head = headMark
		}
		if both := (Conn{Key: m.Key, Reply: m.Reply}); both.Translated() {
			b = appendReply(appendKey(b, m.Key, head|connNAT), &both)
		} else {
			b = appendKey(b, m.Key, head)
		}
		t, b = TypeClose, binary.AppendUvarint(b, uint64(m.Gen))
	case Kept:
		t, b = TypeKept, append(binary.AppendUvarint(appendKey(b, m.Key, 0), uint64(m.Gen)), m.State)
	case Bind:
		b = appendKey(appendKey(b, m.Key, 0), m.Conn, 0)
		b = binary.AppendUvarint(b, uint64(m.Gen))
		b = append(binary.AppendUvarint(b, uint64(m.Timeout)), m.Flags)
		t, b = TypeBind, appendLast(b, m.Flags, m.Last)
	case Alias:
		t, b = TypeAlias, appendKey(appendKey(b, m.Key, 0), m.Conn, 0)
	case Delegate:
		t, b = TypeDelegate, appendDelegate(b, &m)
	case Report:
		t, b = TypeReport, appendReport(b, &m)
	case Lease:
		t, b = TypeLease, appendLease(b, &m)
	case Synced:
		t, b = TypeSynced, append(binary.BigEndian.AppendUint32(b, m.View), byte(m.Phase))
	case Units, GiveUnits, WantUnits, Roster, HostUnits, Rests:
		t, b = appendUnits(b, m)
	default:
		t, b = appendMembership(b, m)
	}
	return closeBody(b, start, t)
}

// closeBody writes the type and the length in front of the body that starts
// two bytes after start.
func closeBody(b []byte, start int, t Type) []byte {
	b[start] = byte(t)
	n := len(b) - start - 2
	if n < 0x80 {
		b[start+1] = byte(n)
		return b
	}
	var l [binary.MaxVarintLen64]byte
	w := binary.PutUvarint(l[:], uint64(n))
	b = append(b, l[1:w]...) // make room, then move the body up
	copy(b[start+1+w:], b[start+2:start+2+n])
	copy(b[start+1:], l[:w])
	return b
}

func appendMembership(b []byte, m Message) (Type, []byte) {
	switch m := m.(type) {
	case Heartbeat:
		b = appendMember(b, &m.From)
		b = append(b, byte(m.State))
		b = binary.AppendUvarint(b, uint64(m.Term))
		b = binary.AppendUvarint(b, uint64(m.Epoch))
		b = append(b, byte(m.Control))
		b = binary.AppendUvarint(b, m.Alive)
		b = binary.BigEndian.AppendUint64(b, m.Prepared)
		b = binary.AppendUvarint(b, uint64(m.Down))
		b = binary.AppendUvarint(b, m.Narrow)
		return TypeHeartbeat, append(b, byte(m.Flags))
	case ElectionRequest:
		return TypeElectionRequest, appendString(appendMember(b, &m.From), m.Cluster)
	case ElectionReply:
		b = append(appendMember(b, &m.From), byte(m.Control))
		b = binary.AppendUvarint(b, uint64(m.Term))
		return TypeElectionReply, binary.AppendUvarint(b, uint64(m.Epoch))
	case Join:
		b = appendString(appendMember(b, &m.From), m.Cluster)
		b = binary.BigEndian.AppendUint16(appendString(b, m.Version), m.DataMTU)
		b = binary.BigEndian.AppendUint64(appendStrings(b, m.Interfaces), m.Config)
		b = appendString(binary.BigEndian.AppendUint64(b, m.Prepared), m.Tier.Label)
		b = binary.AppendUvarint(b, uint64(m.Tier.CPUs))
		return TypeJoin, binary.AppendUvarint(b, uint64(m.Tier.Connections))
	case JoinRefused:
		return TypeJoinRefused, appendString(b, m.Reason)
	case ViewMsg:
		return TypeView, appendView(b, &m.View)
	case Leave:
		return TypeLeave, appendMember(b, &m.From)
	case Removed:
		b = binary.BigEndian.AppendUint64(b, uint64(m.Life))
		b = binary.AppendUvarint(b, uint64(m.Term))
		b = binary.AppendUvarint(b, uint64(m.Epoch))
		return TypeRemoved, appendString(append(b, byte(m.Cause)), m.Reason)
	case Order:
		b = append(b, byte(m.Verb), byte(m.Node))
		b = binary.AppendUvarint(b, uint64(m.Term))
		return TypeOrder, binary.AppendUvarint(b, uint64(m.Epoch))
	case Beat:
		b = binary.BigEndian.AppendUint64(b, uint64(m.Life))
		b = append(binary.AppendUvarint(b, uint64(m.Stale)), byte(m.Flags))
		b = binary.AppendUvarint(b, uint64(m.Number))
		return TypeBeat, binary.AppendUvarint(binary.AppendUvarint(b, m.Sent), uint64(m.Late))
	case Exposure:
		return TypeExposure, appendExposure(b, &m)
	case Probe:
		b = binary.BigEndian.AppendUint32(b, m.ID)
		return TypeProbe, appendAddr(binary.BigEndian.AppendUint16(b, m.Size), m.From)
	case ProbeReply:
		return TypeProbeReply, binary.BigEndian.AppendUint16(binary.BigEndian.AppendUint32(b, m.ID), m.Size)
	}
	// Naming the type here would let m escape, and every caller allocate.
	panic("wire: append: not a message value of this package")
}

func appendKey(b []byte, k packet.FlowKey, head byte) []byte {
	short := byte(0)
	for i := 1; i < len(protoShort); i++ {
		if protoShort[i] == k.Proto {
			short = byte(i)
		}
	}
	head |= short
	ports := k.SrcPort != 0 || k.DstPort != 0
	if ports {
		head |= keyPorts
	}
	if k.Zone != 0 {
		head |= keyZone
	}
	b = append(b, head)
	if short == 0 {
		b = append(b, k.Proto)
	}
	if k.Zone != 0 {
		b = append(b, k.Zone)
	}
	b = append(b, k.Src[0], k.Src[1], k.Src[2], k.Src[3], k.Dst[0], k.Dst[1], k.Dst[2], k.Dst[3])
	if ports {
		b = append(b, byte(k.SrcPort>>8), byte(k.SrcPort), byte(k.DstPort>>8), byte(k.DstPort))
	}
	return b
}

func appendConn(b []byte, c *Conn, mark bool) []byte {
	head := byte(0)
	if mark {
		head |= headMark
	}
	if c.Flags != 0 {
		head |= connFlag
	}
	if c.State != 0 {
		head |= connTCP
	}
	if c.Translated() {
		b = appendReply(appendKey(b, c.Key, head|connNAT), c)
	} else {
		b = appendKey(b, c.Key, head)
	}
	b = append(b, c.In, c.Out)
	switch {
	case c.State == 0:
	case c.SeqDelta != 0:
		b = binary.BigEndian.AppendUint32(append(b, c.State|stateSeq), c.SeqDelta)
	default:
		b = append(b, c.State)
	}
	if c.Flags != 0 {
		b = append(b, c.Flags)
	}
	b = binary.AppendUvarint(b, uint64(c.Gen))
	b = binary.AppendUvarint(b, uint64(c.Rule))
	return binary.AppendUvarint(b, uint64(c.Timeout))
}

// appendReply writes where the reply key differs from the reversed key.
func appendReply(b []byte, c *Conn) []byte {
	r, plain := &c.Reply, c.Key.Reverse()
	at := len(b)
	b = append(b, 0)
	if r.Src != plain.Src || r.SrcPort != plain.SrcPort {
		b[at] |= natSrc
		b = append(b, r.Src[0], r.Src[1], r.Src[2], r.Src[3], byte(r.SrcPort>>8), byte(r.SrcPort))
	}
	if r.Dst != plain.Dst || r.DstPort != plain.DstPort {
		b[at] |= natDst
		b = append(b, r.Dst[0], r.Dst[1], r.Dst[2], r.Dst[3], byte(r.DstPort>>8), byte(r.DstPort))
	}
	if c.Bound && b[at] != 0 {
		b[at] |= bound
	}
	return b
}

func appendOwned(b []byte, k packet.FlowKey, owner NodeID, gen uint32) []byte {
	return binary.AppendUvarint(append(appendKey(b, k, 0), byte(owner)), uint64(gen))
}

func appendString(b []byte, s string) []byte {
	if len(s) > MaxString {
		n := MaxString
		for n > 0 && !utf8.RuneStart(s[n]) {
			n--
		}
		s = s[:n]
	}
	return append(append(b, byte(len(s))), s...)
}

func appendStrings(b []byte, list []string) []byte {
	if len(list) > MaxStrings {
		list = list[:MaxStrings]
	}
	b = append(b, byte(len(list)))
	for _, s := range list {
		b = appendString(b, s)
	}
	return b
}

// appendAddr writes the length (0, 4 or 16) and the address. Zones are local
// to a node and are not sent.
func appendAddr(b []byte, a netip.Addr) []byte {
	switch {
	case a.Is4():
		v := a.As4()
		return append(append(b, 4), v[:]...)
	case a.IsValid():
		v := a.As16()
		return append(append(b, 16), v[:]...)
	}
	return append(b, 0)
}

func appendMember(b []byte, m *Member) []byte {
	b = append(b, byte(m.ID), m.Priority)
	b = binary.BigEndian.AppendUint64(b, uint64(m.Incarnation))
	return appendString(appendString(appendAddr(b, m.VTEP), m.Name), m.Serial)
}

func appendView(b []byte, v *View) []byte {
	b = binary.AppendUvarint(b, uint64(v.Term))
	b = binary.AppendUvarint(b, uint64(v.Epoch))
	b = binary.BigEndian.AppendUint64(b, v.Config)
	b = binary.AppendUvarint(append(b, byte(v.Control)), v.Draining)
	b = append(b, byte(len(v.Members)))
	for i := range v.Members {
		b = appendMember(b, &v.Members[i])
	}
	return b
}

// appendLast adds what only an orphan has.
func appendLast(b []byte, flags uint8, o LastOwner) []byte {
	if flags&ConnOrphan == 0 {
		return b
	}
	return append(b, byte(o.ID), o.Life)
}
