package flowtable

import (
	"errors"

	"cohort/packet"
)

// ErrNoAddress reports a Backup whose two addresses are 0.0.0.0. No packet of such a
// connection is forwarded.
var ErrNoAddress = errors.New("flowtable: backup without addresses")

// PackedKey is a FlowKey without its padding.
type PackedKey struct {
	Src, Dst         packet.Addr
	SrcPort, DstPort uint16
	Proto, Zone      uint8
}

// Pack returns the packed form of k.
func Pack(k packet.FlowKey) PackedKey {
	return PackedKey{Src: k.Src, Dst: k.Dst, SrcPort: k.SrcPort, DstPort: k.DstPort, Proto: k.Proto, Zone: k.Zone}
}

// Unpack returns the FlowKey.
func (p PackedKey) Unpack() packet.FlowKey {
	return packet.FlowKey{Src: p.Src, Dst: p.Dst, SrcPort: p.SrcPort, DstPort: p.DstPort, Proto: p.Proto, Zone: p.Zone}
}

// Canonical is packet.FlowKey.Canonical.
func (p PackedKey) Canonical() (packet.FlowKey, bool) { return p.Unpack().Canonical() }

// Backup is what a node keeps of a connection that another node owns, as its
// director or its backup owner: what is given to a BackupStore, which packs it.
type Backup struct {
	Key         PackedKey // of the initiator's direction
	Owner       uint8     // node id; of an orphan (Flags), of the last one, 0 = unknown
	Incarnation uint8     // low byte of the owner's incarnation tag
	Gen         uint32    // ownership generation that was granted
	State       uint8     // TCPState
	In, Out     uint8     // logical interfaces of the initiator and the responder
	Flags       uint8
	Rule        uint16
	Timeout     uint16 // idle timeout, seconds
	Confirmed   uint32 // tick of the owner's last confirmation
}

// tuple is a key without protocol and zone.
type tuple struct {
	src, dst         packet.Addr
	srcPort, dstPort uint16
}

func tupleOf(k *packet.FlowKey) tuple { return tuple{k.Src, k.Dst, k.SrcPort, k.DstPort} }

func (t tuple) reverse() tuple { return tuple{t.dst, t.src, t.dstPort, t.srcPort} }

func (t tuple) key(proto, zone uint8) packet.FlowKey {
	return packet.FlowKey{Src: t.src, Dst: t.dst, SrcPort: t.srcPort, DstPort: t.dstPort, Proto: proto, Zone: zone}
}
