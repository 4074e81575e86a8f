package ccl

import (
	"fmt"
	"net"
	"net/netip"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

var zeroMAC = net.HardwareAddr{0, 0, 0, 0, 0, 0}

// syncPeers makes the device's forwarding and neighbour entries those of peers
// and no others: for each a unicast MAC, one of the all-zero MAC (where the
// kernel replicates broadcast to), and a permanent neighbour.
func syncPeers(link netlink.Link, peers []netip.Addr) error {
	wanted := map[string]netlink.Neigh{}
	for _, p := range peers {
		for _, n := range entries(link.Attrs().Index, p) {
			wanted[entryKey(&n)] = n
		}
	}
	for _, family := range []int{unix.AF_BRIDGE, unix.AF_INET} {
		have, err := netlink.NeighList(link.Attrs().Index, family)
		if err != nil {
			return fmt.Errorf("ccl: device %s: list entries: %w", link.Attrs().Name, err)
		}
		for i := range have {
			n := &have[i]
			n.Family = family
			if _, ok := wanted[entryKey(n)]; ok || !ours(n) {
				continue
			}
			n.LinkIndex = link.Attrs().Index
			if err := netlink.NeighDel(n); err != nil {
				return fmt.Errorf("ccl: device %s: remove %v: %w", link.Attrs().Name, n, err)
			}
		}
		for i := range have {
			delete(wanted, entryKey(&have[i]))
		}
	}
	for _, n := range wanted {
		add := netlink.NeighSet
		if n.HardwareAddr.String() == zeroMAC.String() {
			add = netlink.NeighAppend // several destinations for one MAC
		}
		if err := add(&n); err != nil {
			return fmt.Errorf("ccl: device %s: peer entry %v: %w", link.Attrs().Name, &n, err)
		}
	}
	return nil
}

// ours tells the entries that syncPeers makes from those the kernel keeps by
// itself, such as the neighbour of the broadcast address.
func ours(n *netlink.Neigh) bool {
	return n.Family == unix.AF_BRIDGE || n.State&netlink.NUD_PERMANENT != 0
}

func entries(index int, peer netip.Addr) [3]netlink.Neigh {
	inner := innerAddr(hostPart(peer))
	fdb := netlink.Neigh{
		LinkIndex: index, Family: unix.AF_BRIDGE, State: netlink.NUD_PERMANENT | netlink.NUD_NOARP, Flags: netlink.NTF_SELF,
		IP: peer.AsSlice(), HardwareAddr: innerMAC(peer),
	}
	flood := fdb
	flood.HardwareAddr = zeroMAC
	return [3]netlink.Neigh{fdb, flood, {
		LinkIndex: index, Family: unix.AF_INET, State: netlink.NUD_PERMANENT,
		IP: net.IP(inner[:]), HardwareAddr: innerMAC(peer),
	}}
}

func entryKey(n *netlink.Neigh) string {
	return fmt.Sprintf("%d %v %v", n.Family, n.IP, n.HardwareAddr)
}
