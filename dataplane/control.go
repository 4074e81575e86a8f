package dataplane

import (
	"errors"
	"fmt"
	"net/netip"
	"sync/atomic"
	"unsafe"

	"cohort/ccl/wire"
	"cohort/packet"
)

// RenewLease lets the node forward until deadline (see Now). Past it XDP drops
// everything on data interfaces (HL5). 0 ends the lease at once.
func (d *Dataplane) RenewLease(deadline int64) {
	atomic.StoreUint64(&d.memory.control.Lease, uint64(max(deadline, 0)))
}

// Lease returns the deadline in force; after adoption, that of the daemon
// before.
func (d *Dataplane) Lease() int64 { return int64(atomic.LoadUint64(&d.memory.control.Lease)) }

// SetView tells XDP the current view and the one before, whose data frames it
// still accepts; tag 0 fences the node. A change of self is made behind the
// fence, so that no frame carries a mixture.
func (d *Dataplane) SetView(tag, prev uint32, self wire.NodeID) {
	c := d.memory.control
	if tag == 0 || c.Self != uint8(self) {
		atomic.StoreUint32(&c.View, 0)
	}
	c.Self = uint8(self)
	atomic.StoreUint32(&c.PrevView, prev)
	atomic.StoreUint32(&c.View, tag)
}

// View returns what SetView wrote last, by this daemon or the one before.
func (d *Dataplane) View() (tag, prev uint32, self wire.NodeID) {
	c := d.memory.control
	return atomic.LoadUint32(&c.View), atomic.LoadUint32(&c.PrevView), wire.NodeID(c.Self)
}

// Peer is how a cluster node is reached.
type Peer struct {
	ID          wire.NodeID
	VTEP        netip.Addr
	MAC         [6]byte // of its CCL interface, or of the router towards it
	Incarnation wire.Incarnation
	Self        bool
}

// SetMembers makes peers the members that data frames go to and come from; all
// others are gone at once. A member whose address or incarnation changes is
// dead for XDP while its entry is written.
func (d *Dataplane) SetMembers(peers []Peer) error {
	var want [MaxNodes]Member
	for _, p := range peers {
		if p.ID == 0 || int(p.ID) >= MaxNodes || !p.VTEP.IsValid() || outerOf(p.VTEP) != d.outer {
			return fmt.Errorf("%w: member %d at %v", ErrConfig, p.ID, p.VTEP)
		}
		m := Member{VTEP: p.VTEP.As16(), MAC: p.MAC, Flags: MemberAlive, Incarnation: p.Incarnation.Tag()}
		if p.Self {
			m.Flags |= MemberSelf
		}
		want[p.ID] = m
	}
	for id := range want {
		d.memory.members[id].set(want[id])
	}
	return nil
}

// set writes the entry word by word; one holds the flags, so that the member is
// not alive while the others change.
func (m *Member) set(v Member) {
	if *m == v {
		return
	}
	const flags = int(unsafe.Offsetof(m.Flags) / 4)
	to := (*[flags + 1]uint32)(unsafe.Pointer(m))
	from := (*[flags + 1]uint32)(unsafe.Pointer(&v))
	atomic.StoreUint32(&to[flags], 0)
	for i := range flags {
		atomic.StoreUint32(&to[i], from[i])
	}
	atomic.StoreUint32(&to[flags], from[flags])
}

// SetLocalAddrs makes addrs, of both families, the addresses whose traffic
// belongs to the host: at most 1,024 of each. Only the difference touches the
// maps. A family that fails does not keep the other from its addresses.
func (d *Dataplane) SetLocalAddrs(addrs []netip.Addr) error {
	want, want6 := make(map[[4]byte]uint32, len(addrs)), make(map[[16]byte]uint32)
	for _, a := range addrs {
		if a = a.Unmap(); a.Is4() {
			want[packet.AddrFrom(a)] = 1
		} else {
			want6[a.As16()] = 1
		}
	}
	err := errors.Join(setKeys(d.maps["local_addrs"], want), setKeys(d.maps["local_addrs6"], want6))
	if err != nil {
		return fmt.Errorf("dataplane: local addresses: %w", err)
	}
	return nil
}

// SetInterface tells XDP a data interface's MAC and MTU after the kernel
// changed them.
func (d *Dataplane) SetInterface(id uint8, mac [6]byte, mtu int) {
	i := &d.memory.ifaces[id]
	i.MAC, i.MTU = mac, uint16(min(mtu, 65535))
}

// SetCCLMTU tells the IO the largest packet that the control link takes now, outer header
// included. Until it is called that is what the interface had when it was opened. XDP looks
// at the interface itself.
func (d *Dataplane) SetCCLMTU(mtu int) { d.cclMTU = mtu }

// SetFastPath switches XDP forwarding on or off; off, every packet goes to Go.
func (d *Dataplane) SetFastPath(on bool) {
	d.cfg.FastPath = on
	d.setFlags()
}
