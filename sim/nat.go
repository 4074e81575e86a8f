package sim

import (
	"net/netip"

	"cohort/nat"
	"cohort/packet"
)

// mapped is the address of the simulated pool, further another one that some
// configurations have.
var mapped, further = packet.Addr{203, 0, 113, 10}, packet.Addr{203, 0, 113, 11}

// blockSize makes few ports a block, so that units change hands within a run.
const blockSize = 1024

// compileNAT returns the rules of a run, and others that a reload changes to:
// smaller blocks, a further address with blocks that fit no others, and that
// address alone. Everything that goes out is translated, with at most so many
// blocks for a host.
func compileNAT(blocks int) (list []*nat.Rules) {
	for _, p := range []nat.Pool{
		{BlockSize: blockSize, Addresses: []packet.Addr{mapped}},
		{BlockSize: blockSize / 2, Addresses: []packet.Addr{mapped}},
		{BlockSize: 1536, Addresses: []packet.Addr{further, mapped}},
		{BlockSize: blockSize, Addresses: []packet.Addr{further}},
	} {
		p.Name, p.MaxBlocksPerHost = "egress", blocks
		r, err := nat.Compile(nat.Config{
			Pools: []nat.Pool{p},
			Rules: []nat.Rule{{Name: "out", Type: nat.DynamicPAT, From: 1, To: 2, Source: netip.MustParsePrefix("10.0.0.0/8"), Pool: "egress", LogXlates: true}},
		})
		if err != nil {
			panic(err)
		}
		list = append(list, r)
	}
	return list
}

// hostBlocks is NT6: in a view that everybody has settled in, a host has no more
// blocks than it may. Nodes that do not know of each other count apart.
func (k *checker) hostBlocks() {
	if k.w.cfg.Blocks == 0 {
		return
	}
	type side struct {
		host packet.Addr
		tag  uint32
	}
	sums := map[side]int{}
	for _, n := range k.w.nodes {
		if !n.running() || n.tag == 0 {
			continue
		}
		for u := range n.rules().Geometry().Units() {
			if host, ok := n.core.Translator().Ports().HostOf(u); ok {
				s := side{host, n.tag}
				if sums[s]++; sums[s] > k.w.cfg.Blocks && !k.torn {
					k.w.fail("NT6: host %v has %d blocks in the cluster, may have %d", host, sums[s], k.w.cfg.Blocks)
				}
				k.w.result.Blocks = max(k.w.result.Blocks, sums[s])
			}
		}
	}
}

// unitsBack holds when nothing is left: every unit is held by its target again,
// and no port is in use.
func (k *checker) unitsBack() {
	if k.w.setups == nil {
		return
	}
	if !k.sameSetup() {
		k.w.fail("NT7: nodes run different configurations in the end")
		return
	}
	for u := range k.w.nodes[0].rules().Geometry().Units() {
		target := k.w.nodes[0].core.Units().Target(u)
		for _, n := range k.w.nodes {
			switch holds := n.core.Translator().Ports().Held(u); {
			case hosted(n, u):
				k.w.fail("NT6: unit %d of node %d is still a host's", u, n.index+1)
			case n.core.Translator().Ports().Uses(u) != 0:
				k.w.fail("NT5: node %d still counts %d uses of unit %d", n.index+1, n.core.Translator().Ports().Uses(u), u)
			case holds != (n.self == target):
				k.w.fail("NT5: unit %d has not come back to its target, node %d: held by node %d: %v", u, target, n.index+1, holds)
			}
		}
	}
}

// unitsSettled reports whether unitsBack would find nothing.
func (k *checker) unitsSettled() bool {
	if k.w.setups == nil {
		return true
	}
	if !k.sameSetup() {
		return false
	}
	for u := range k.w.nodes[0].rules().Geometry().Units() {
		target := k.w.nodes[0].core.Units().Target(u)
		for _, n := range k.w.nodes {
			p := n.core.Translator().Ports()
			if p.Uses(u) != 0 || hosted(n, u) || p.Held(u) != (n.self == target) {
				return false
			}
		}
	}
	return true
}

// sameSetup reports whether all nodes run the newest file.
func (k *checker) sameSetup() bool {
	for _, n := range k.w.nodes {
		if n.runs != k.w.file {
			return false
		}
	}
	return true
}

// apart reports whether nodes that serve packets do not know of each other: the
// routers know nothing of that and give both sides packets of one connection.
func (k *checker) apart() bool {
	for _, a := range k.w.nodes {
		if !a.powered || a.tag == 0 || k.w.clock.now > a.lease {
			continue
		}
		for _, b := range k.w.nodes {
			if b.powered && b.tag != 0 && b.tag != a.tag && k.w.clock.now <= b.lease && a.members[b.self] != b.members[b.self] {
				return true
			}
		}
	}
	return false
}

func hosted(n *node, unit int) bool {
	_, ok := n.core.Translator().Ports().HostOf(unit)
	return ok
}
