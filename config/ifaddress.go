package config

import (
	"fmt"
	"net/netip"
	"slices"
	"strings"

	"go.yaml.in/yaml/v3"
)

// The addresses of a data interface (EL7): IPv4, and IPv6 beside it where that
// is wanted. A field is one value, or a list with at most one of each family.

// ClusterAddresses returns the cluster addresses that the interface has: that of
// IPv4 first.
func (i *Interface) ClusterAddresses() []netip.Prefix {
	all := make([]netip.Prefix, 0, 2)
	for _, a := range []netip.Prefix{i.ClusterAddress, i.ClusterAddressIPv6} {
		if a.IsValid() {
			all = append(all, a)
		}
	}
	return all
}

// families sorts what a field has by family. A second of one family is refused.
func (v value) families() (ipv4, ipv6 *value) {
	v.each(func(v value) {
		to, name := &ipv4, "IPv4"
		if v.n.Kind == yaml.ScalarNode && strings.Contains(v.n.Value, ":") {
			to, name = &ipv6, "IPv6"
		}
		if *to != nil {
			v.p.add(v.n.Line, fmt.Sprintf("%s has %s and %s, both %s", v.path, quote((*to).n.Value), describe(v.n), name), "keep one of each family")
			return
		}
		*to = &v
	})
	return ipv4, ipv6
}

const exampleBoth = `cluster_address: [10.1.0.254/24, "2001:db8:1::254/64"]`

// readClusterAddress returns false when there was a mistake.
func (i *Interface) readClusterAddress(v value) bool {
	before := len(v.p.list)
	ipv4, ipv6 := v.families()
	if ipv4 != nil {
		i.ClusterAddress = ipv4.hostPrefix()
	}
	if ipv6 != nil {
		ipv6.example = exampleBoth
		i.ClusterAddressIPv6 = parsed(*ipv6, "an address", parseHostPrefixIPv6)
		if ipv4 == nil {
			ipv6.wrong("has %s alone; an interface needs an IPv4 address too", quote(ipv6.n.Value))
		}
	}
	return len(v.p.list) == before
}

// readPool reads the pool, beside cluster addresses without mistakes, and
// returns false when it had one.
func (i *Interface) readPool(v value) bool {
	before := len(v.p.list)
	v.example = "pool: " + poolFor(i.ClusterAddress).String()
	if a := i.ClusterAddressIPv6; a.IsValid() {
		v.example = fmt.Sprintf("pool: [%s, \"%s\"]", poolFor(i.ClusterAddress), poolForIPv6(a))
	}
	ipv4, ipv6 := v.families()
	switch {
	case ipv6 != nil && !i.ClusterAddressIPv6.IsValid():
		ipv6.p.add(ipv6.n.Line, fmt.Sprintf("%s has %s, but cluster_address has no IPv6 address", v.path, quote(ipv6.n.Value)), "remove it, or add one as in "+exampleBoth)
	case ipv6 != nil:
		i.PoolIPv6 = parsed(*ipv6, "an address range", parseRangeIPv6)
		ipv6.checkPool(i.PoolIPv6, i.ClusterAddressIPv6, isHostIPv6)
	case i.ClusterAddressIPv6.IsValid() && len(v.p.list) == before:
		v.wrong("has no IPv6 range beside cluster_address %s", i.ClusterAddressIPv6)
	}
	switch {
	case ipv4 != nil:
		i.Pool = ipv4.addrRange()
		ipv4.checkPool(i.Pool, i.ClusterAddress, isHost)
	case len(v.p.list) == before:
		v.wrong("has no IPv4 range beside cluster_address %s", i.ClusterAddress)
	}
	return len(v.p.list) == before
}

// checkPool compares a pool with the cluster address of its family.
func (v value) checkPool(pool Range, cluster netip.Prefix, isHost func(netip.Prefix, netip.Addr) bool) {
	if pool.Size() == 0 {
		return
	}
	for _, end := range []netip.Addr{pool.First, pool.Last} {
		if !isHost(cluster, end) {
			v.wrong("%s is outside the hosts of cluster_address %s", end, cluster)
			return
		}
	}
	if pool.Contains(cluster.Addr()) {
		v.wrong("%s contains the cluster address %s", pool, cluster.Addr())
	}
}

// poolSize is how many addresses are proposed for a pool.
const poolSize = 16

// poolFor proposes up to 16 addresses beside the cluster address.
func poolFor(cluster netip.Prefix) Range {
	network := number(cluster.Masked().Addr())
	broadcast := network | ^uint32(0)>>cluster.Bits()
	own := number(cluster.Addr())
	if own-network > broadcast-own {
		return Range{addr(network + 1), addr(min(network+poolSize, own-1))}
	}
	return Range{addr(own + 1), addr(min(own+poolSize, broadcast-1))}
}

// poolForIPv6 proposes the first addresses of the network, or those behind the
// cluster address where that is one of them.
func poolForIPv6(cluster netip.Prefix) Range {
	from := func(first netip.Addr) Range {
		r := Range{first, first}
		for next := r.Last.Next(); r.Size() < poolSize && isHostIPv6(cluster, next) && next != cluster.Addr(); next = next.Next() {
			r.Last = next
		}
		return r
	}
	first, behind := cluster.Masked().Addr().Next(), cluster.Addr().Next()
	if near := from(first); first != cluster.Addr() && (near.Size() == poolSize || !cluster.Contains(behind)) {
		return near
	}
	return from(behind)
}

func (i *Interface) readPins(v value) {
	v.pairs(func(key *yaml.Node, content value) {
		if !isName(key.Value) {
			v.p.add(key.Line, fmt.Sprintf("%s is not the name of a node", quote(key.Value)), "write pin: {fw-a: 10.1.0.1}")
			return
		}
		content.example = fmt.Sprintf("%s: %s", key.Value, i.Pool.First)
		pin := Pin{Node: key.Value}
		ipv4, ipv6 := content.families()
		if ipv4 != nil {
			pin.Address = ipv4.address()
			i.checkPin(*ipv4, pin.Address, i.Pool, func(p Pin) netip.Addr { return p.Address })
		}
		switch {
		case ipv6 != nil && i.PoolIPv6.Size() == 0:
			ipv6.wrong("has %s, but the pool has no IPv6 range", quote(ipv6.n.Value))
		case ipv6 != nil:
			ipv6.example = fmt.Sprintf("%s: [%s, \"%s\"]", key.Value, i.Pool.First, i.PoolIPv6.First)
			pin.AddressIPv6 = parsed(*ipv6, "an address", parseAddrIPv6)
			i.checkPin(*ipv6, pin.AddressIPv6, i.PoolIPv6, func(p Pin) netip.Addr { return p.AddressIPv6 })
		}
		if pin.Address.IsValid() || pin.AddressIPv6.IsValid() {
			i.Pins = append(i.Pins, pin)
		}
	})
	slices.SortFunc(i.Pins, func(a, b Pin) int { return strings.Compare(a.Node, b.Node) })
}

// checkPin compares a pinned address with the pool and the pins before it; of
// returns theirs of the same family.
func (i *Interface) checkPin(v value, a netip.Addr, pool Range, of func(Pin) netip.Addr) {
	if !a.IsValid() {
		return
	}
	if !pool.Contains(a) {
		v.wrong("%s is outside the pool %s", a, pool)
	}
	for _, other := range i.Pins {
		if of(other) == a {
			v.p.add(v.n.Line, fmt.Sprintf("%s %s is pinned to %s already", v.path, a, other.Node), "give every node an address of its own")
		}
	}
}
