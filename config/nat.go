package config

import (
	"fmt"
	"net/netip"
	"strings"
	"time"

	"go.yaml.in/yaml/v3"

	"cohort/nat"
	"cohort/packet"
)

// natReader reads the nat section into out. The interfaces are known by then;
// pools are read before rules, wherever they stand.
type natReader struct {
	cluster *Cluster
	p       *problems
	out     *nat.Config

	pools   map[string]poolPlace
	names   []string // of the pools, in the order of the file
	owner   map[packet.Addr]string
	total   int // addresses of the pools up to here
	blocks  int // blocks of the pools up to here
	rules   []natRule
	serving map[string]*natRule // the first rule of each pool
}

// poolPlace is a pool by its place in the file. A pool with a mistake is there
// too, so that rules may name it; its kind is not compared then.
type poolPlace struct {
	line  int
	index int // in Config.Pools, -1 = it has a mistake
}

// readNAT reads the nat section (NT1, NT2, NT8, NT9).
func (c *Cluster) readNAT(v value) {
	c.NAT = nat.Config{HoldDown: nat.DefaultHoldDown, HoldDownMax: nat.DefaultHoldDownMax}
	r := &natReader{
		cluster: c, p: v.p, out: &c.NAT,
		pools: map[string]poolPlace{}, owner: map[packet.Addr]string{}, serving: map[string]*natRule{},
	}
	var rules *value
	v.fields(
		field{"hold_down", false, "hold_down: 2m", func(v value) { r.out.HoldDown = v.duration(0, time.Hour) }},
		field{"hold_down_max", false, "hold_down_max: 1048576", func(v value) { r.out.HoldDownMax = v.number(1024, 1<<24) }},
		field{"pools", false, "pools: {" + poolExample + "}", r.readPools},
		field{"rules", false, "rules: [" + natRuleExample + "]", func(v value) { rules = &v }},
	)
	if rules != nil {
		r.readRules(*rules)
	}
}

const poolExample = "egress: {addresses: [203.0.113.10-203.0.113.11]}"

// readPools reads the pools. Their order numbers the blocks, so it is that of
// the file.
func (r *natReader) readPools(v value) {
	v.pairs(func(key *yaml.Node, content value) {
		switch {
		case key.Value == "interface":
			r.p.add(key.Line, "interface is not a name for a pool", "choose another: a pool never takes an interface's addresses")
			return
		case !isName(key.Value):
			r.p.add(key.Line, fmt.Sprintf("%s is not a name for a pool", quote(key.Value)), "write at most 31 letters, digits, '-', '_' or '.'")
			return
		}
		before := len(r.p.list)
		pool := nat.Pool{Name: key.Value}
		r.readPool(content, &pool)
		place := poolPlace{line: key.Line, index: -1}
		if len(r.p.list) == before {
			place.index = len(r.out.Pools)
			r.out.Pools = append(r.out.Pools, pool)
		}
		r.pools[pool.Name] = place
		r.names = append(r.names, pool.Name)
	})
}

// readPool reads one pool.
func (r *natReader) readPool(v value, pool *nat.Pool) {
	v.example = poolExample
	pool.BlockSize, pool.MaxInbound = nat.DefaultBlockSize, nat.DefaultMaxInbound
	var at written // what only pools of ports have
	ofPorts := func(name, example string, read func(value)) field {
		return field{name, false, example, func(v value) { at.add(name, v); read(v) }}
	}
	var addresses *value
	v.fields(
		field{"addresses", true, "addresses: [203.0.113.10-203.0.113.11]", func(v value) { addresses = &v }},
		field{"type", false, "type: ports", func(v value) {
			if v.choice("ports", "addresses") == "addresses" {
				pool.Kind = nat.PoolAddresses
			}
		}},
		ofPorts("block_size", "block_size: 512", func(v value) { pool.BlockSize = uint16(v.number(nat.MinBlockSize, nat.MaxBlockSize)) }),
		ofPorts("include_reserved", "include_reserved: false", func(v value) { pool.IncludeReserved = v.choice("true", "false") == "true" }),
		ofPorts("max_blocks_per_host", "max_blocks_per_host: 4", func(v value) { pool.MaxBlocksPerHost = v.number(0, nat.MaxUnits) }),
		ofPorts("max_inbound_per_mapping", "max_inbound_per_mapping: 1024", func(v value) { pool.MaxInbound = v.number(0, nat.MaxMaxInbound) }),
	)
	if pool.Kind == nat.PoolAddresses {
		for _, v := range at {
			r.p.add(v.n.Line, v.value.path+" has no meaning for type addresses, whose blocks are whole addresses", "remove it")
		}
		pool.BlockSize, pool.MaxInbound = 0, 0
	}
	if addresses != nil {
		r.readAddresses(*addresses, pool)
	}
}

// readAddresses reads the addresses of a pool and compares them with all that
// is known by now (NT10).
func (r *natReader) readAddresses(v value, pool *nat.Pool) {
	before := len(r.p.list)
	v.each(func(v value) {
		s, ok := v.scalar("an address, a range or a network")
		if !ok {
			return
		}
		if s == "interface" {
			interfacePAT(v)
			return
		}
		block, problem := parseAddresses(s)
		switch {
		case problem != "":
			v.wrong("%s", problem)
		case !isUnicast(block.First) || !isUnicast(block.Last):
			v.wrong("%s is not unicast", quote(s))
		case block.Size() > nat.MaxPoolAddresses:
			v.p.add(v.n.Line, fmt.Sprintf("%s %s has %d addresses, more than %d for all pools", v.path, quote(s), block.Size(), nat.MaxPoolAddresses), "use fewer: one address has ports for 64512 connections to each server")
		default:
			r.addAddresses(v, s, block, pool)
		}
	})
	if len(r.p.list) > before {
		return
	}
	perAddress := 1
	if pool.Kind == nat.PoolPorts && pool.BlockSize > 0 {
		perAddress = (lentPorts(pool) + int(pool.BlockSize) - 1) / int(pool.BlockSize)
	}
	r.total += len(pool.Addresses)
	r.blocks += perAddress * len(pool.Addresses)
	switch {
	case r.total > nat.MaxPoolAddresses:
		r.p.add(v.n.Line, fmt.Sprintf("%s: the pools have %d addresses up to here, more than %d", v.path, r.total, nat.MaxPoolAddresses), "use fewer")
	case r.blocks > nat.MaxUnits:
		r.p.add(v.n.Line, fmt.Sprintf("%s: the pools have %d blocks up to here, more than %d", v.path, r.blocks, nat.MaxUnits), "use a larger block_size or fewer addresses")
	}
}

// lentPorts is the number of ports of an address that a pool lends out.
func lentPorts(pool *nat.Pool) int {
	if pool.IncludeReserved {
		return 65535
	}
	return 65536 - 1024
}

// addAddresses adds the addresses of one entry s of the list.
func (r *natReader) addAddresses(v value, s string, block Range, pool *nat.Pool) {
	if own := r.cluster.ownAddress(block); own != "" {
		v.p.add(v.n.Line, fmt.Sprintf("%s %s overlaps %s", v.path, quote(s), own), routed)
		return
	}
	for n := number(block.First); ; n++ {
		a := packet.AddrFrom(addr(n))
		switch other, twice := r.owner[a]; {
		case twice && other == pool.Name:
			v.p.add(v.n.Line, fmt.Sprintf("%s %s is written twice", v.path, a), "remove one of them")
			return
		case twice:
			v.p.add(v.n.Line, fmt.Sprintf("%s %s is in pool %s (line %d) too", v.path, a, other, r.pools[other].line), "give every pool addresses of its own")
			return
		}
		r.owner[a] = pool.Name
		pool.Addresses = append(pool.Addresses, a)
		if n == number(block.Last) {
			return
		}
	}
}

// routed mends an address that packets could not be routed to.
const routed = "use addresses that the routers route to the cluster"

// interfacePAT refuses the address of an interface as a mapped one (NT10).
func interfacePAT(v value) {
	v.p.add(v.n.Line, v.path+" interface is refused: each node has an address of its own there, and a translation must outlive its node", routed)
}

// ownAddress returns which address of an interface lies in the range, "" if
// none does: packets to those are for a node and not for the cluster (NT10).
func (c *Cluster) ownAddress(block Range) string {
	for i := range c.Interfaces {
		f := &c.Interfaces[i]
		if !f.ClusterAddress.IsValid() {
			continue
		}
		network := number(f.ClusterAddress.Masked().Addr())
		last := addr(network | ^uint32(0)>>f.ClusterAddress.Bits())
		switch {
		case block.Contains(f.ClusterAddress.Addr()):
			return fmt.Sprintf("the cluster_address %s of interface %s", f.ClusterAddress.Addr(), f.Name)
		case f.Pool.Size() > 0 && !block.Last.Less(f.Pool.First) && !f.Pool.Last.Less(block.First):
			return fmt.Sprintf("the nodes' addresses %s of interface %s", f.Pool, f.Name)
		case block.Contains(addr(network)):
			return fmt.Sprintf("the network address %s of interface %s", addr(network), f.Name)
		case block.Contains(last):
			return fmt.Sprintf("the broadcast address %s of interface %s", last, f.Name)
		}
	}
	return ""
}

// parseAddresses reads an address, a range, or a network as the range of all
// its addresses.
func parseAddresses(s string) (Range, string) {
	if strings.Contains(s, "-") {
		return parseRange(s)
	}
	p, problem := parseNetwork(s)
	if problem != "" {
		return Range{}, problem
	}
	return rangeOf(p), ""
}

// parseNetwork reads one address or network without host bits.
func parseNetwork(s string) (netip.Prefix, string) {
	if strings.Contains(s, "-") {
		return netip.Prefix{}, quote(s) + " is a range; a rule of nat takes an address or a network"
	}
	list, problem := parseNetworks(s)
	if problem != "" {
		return netip.Prefix{}, problem
	}
	return list[0], ""
}

// rangeOf returns all addresses of a network.
func rangeOf(p netip.Prefix) Range {
	first := number(p.Masked().Addr())
	return Range{addr(first), addr(first | uint32(uint64(1)<<(32-p.Bits())-1))}
}
