package node

import (
	"net"
	"net/netip"
	"time"

	"github.com/vishvananda/netlink"
	"go.uber.org/zap"
	"golang.org/x/sys/unix"

	"cohort/cluster/membership"
	"cohort/dataplane"
)

// cclNeighbours reads the kernel's neighbours on the control link and confirms
// those of members that answer.
func (n *Node) cclNeighbours() map[netip.Addr][6]byte {
	macs := make(map[netip.Addr][6]byte)
	under, err := net.InterfaceByName(n.cfg.Bootstrap.CCL.Interface)
	if err != nil {
		return macs
	}
	family := netlink.FAMILY_V4
	if n.cfg.Bootstrap.CCL.Address.Addr().Is6() {
		family = netlink.FAMILY_V6
	}
	list, err := netlink.NeighList(under.Index, family)
	if err != nil {
		return macs
	}
	now := dataplane.Now()
	var status *membership.Status // asked for when there is a question
	s := sift(list, func(vtep netip.Addr) bool {
		if status == nil {
			s := n.core.Member().Status(now)
			status = &s
		}
		return answers(status, vtep)
	})
	for _, vtep := range s.absent {
		// Nobody answers for it: no reason to wait 45 s for its vote.
		n.core.Member().Absent(now, vtep)
	}
	for _, e := range s.confirm {
		n.confirm(under.Index, family, e)
	}
	return s.macs
}

// sifted is what the kernel's neighbours of the control link say.
type sifted struct {
	macs    map[netip.Addr][6]byte
	absent  []netip.Addr     // nobody answers ARP or ND there
	confirm []*netlink.Neigh // of list: the kernel doubts them, and need not
}

// sift sorts neighbours; it asks about those that the kernel doubts alone.
func sift(list []netlink.Neigh, answers func(vtep netip.Addr) bool) sifted {
	s := sifted{macs: make(map[netip.Addr][6]byte)}
	for i := range list {
		e := &list[i]
		vtep, ok := netip.AddrFromSlice(e.IP)
		if !ok {
			continue
		}
		vtep = vtep.Unmap()
		if e.State&unix.NUD_FAILED != 0 {
			s.absent = append(s.absent, vtep)
			continue
		}
		if len(e.HardwareAddr) != 6 || e.State&unix.NUD_INCOMPLETE != 0 {
			continue
		}
		s.macs[vtep] = [6]byte(e.HardwareAddr)
		if e.State&doubted != 0 && answers(vtep) {
			s.confirm = append(s.confirm, e)
		}
	}
	return s
}

// doubted are the states in which the kernel asks again for an address, or
// will when it is used.
const doubted = unix.NUD_STALE | unix.NUD_DELAY | unix.NUD_PROBE

// recent is how old the sign of life may be that confirms an address.
const recent = time.Second

// answers reports whether what we send to a member arrives: it is heard, and
// its newest heartbeat says that it hears us.
func answers(s *membership.Status, vtep netip.Addr) bool {
	for i := range s.Peers {
		if p := &s.Peers[i]; p.Addr == vtep {
			return p.Alive && p.HearsUs && p.LastHeard < recent
		}
	}
	return false
}

// confirm tells the kernel what its own ARP, or neighbour discovery, would find
// out: the entry is good as it is. Neither has a DSCP, so on a link full of data
// they are what gets lost, and with them the address that every message needs
// (CL5). An address that is confirmed is not asked for. A member that moves to another one says so by itself, or ceases
// to hear us and is not confirmed any more.
func (n *Node) confirm(under, family int, e *netlink.Neigh) {
	err := netlink.NeighSet(&netlink.Neigh{
		LinkIndex: under, Family: family, State: unix.NUD_REACHABLE, IP: e.IP, HardwareAddr: e.HardwareAddr,
	})
	if err != nil {
		n.log.Warn("neighbour on the control link", zap.Stringer("address", e.IP), zap.Error(err))
	}
}
