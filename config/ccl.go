package config

import (
	"net/netip"
	"slices"
)

// MaxPeers bounds CCL.Peers: a cluster has at most 63 members.
const MaxPeers = 62

// MTUCheck says what a failed probe of the link's MTU means (CL3).
type MTUCheck string

// The values of ccl.mtu_check.
const (
	MTUEnforce MTUCheck = "enforce" // the node does not join
	MTUWarn    MTUCheck = "warn"    // the node joins and says so
)

// CCL is the node's end of the cluster control link (CL1).
type CCL struct {
	Interface string
	Address   netip.Prefix // VTEP address with its network, IPv4 or IPv6 (CL9)
	VNI       uint32       // 1-16777215; default 1
	Peers     []netip.Addr // sorted, without the node itself; of the same family
	MTUCheck  MTUCheck     // default enforce
}

// read reads the ccl section.
func (c *CCL) read(v value) {
	var peers *value
	v.fields(
		field{"interface", true, "interface: ccl0", func(v value) { c.Interface = v.device() }},
		field{"address", true, exampleVTEP, func(v value) { c.Address = v.vtep() }},
		field{"vni", false, "vni: 1", func(v value) { c.VNI = uint32(v.number(1, 1<<24-1)) }},
		field{"peers", false, examplePeers, func(v value) { peers = &v }},
		field{"mtu_check", false, "mtu_check: enforce", func(v value) {
			c.MTUCheck = MTUCheck(v.choice(string(MTUEnforce), string(MTUWarn)))
		}},
	)
	if peers != nil && c.Address.IsValid() {
		if c.Address.Addr().Is6() {
			peers.example = examplePeersIPv6
		}
		peers.each(c.addPeers)
		slices.SortFunc(c.Peers, netip.Addr.Compare)
		if len(c.Peers) > MaxPeers {
			peers.wrong("has %d addresses, more than %d", len(c.Peers), MaxPeers)
		}
	}
}

// low12 is what a term of the membership keeps of its opener's address.
func low12(a netip.Addr) uint16 {
	return hostPart(a) & 0xfff
}

// addPeers adds an address or a range. The node itself is left out, so that
// every node may have the same range in its file.
func (c *CCL) addPeers(v value) {
	r := v.vtepRange(c.Address)
	if r.Size() > MaxPeers+1 {
		v.wrong("%s has %d addresses, more than a cluster's %d", r, r.Size(), MaxPeers+1)
		return
	}
	if r.Size() == 0 {
		return
	}
	for a := r.First; r.Contains(a); a = a.Next() {
		if !isLinkHost(c.Address, a) {
			v.wrong("%s is not a host of the link's network %s", a, c.Address.Masked())
			return
		}
		if a == c.Address.Addr() {
			continue
		}
		if slices.Contains(c.Peers, a) {
			v.wrong("%s is listed twice", a)
			return
		}
		for _, o := range append([]netip.Addr{c.Address.Addr()}, c.Peers...) {
			if low12(o) == low12(a) {
				v.wrong("%s and %s end in the same 12 bits, by which members are told apart in elections", o, a)
				return
			}
		}
		c.Peers = append(c.Peers, a)
	}
}
