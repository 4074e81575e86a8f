package campaign

import (
	"context"
	"fmt"
	"maps"
	"slices"

	"golang.org/x/sync/errgroup"

	"cohort/api"
	"cohort/testenv/topology"
)

// Holders is what every node says about the blocks of one pool, by node in the
// order of the topology.
type Holders [][]api.NATBlock

// TakeHolders asks all nodes.
func TakeHolders(ctx context.Context, top *topology.Topology, pool string) (Holders, error) {
	h := make(Holders, len(top.Nodes))
	var g errgroup.Group
	for i, n := range top.Nodes {
		g.Go(func() (err error) {
			h[i], err = n.API().NATBlocks(ctx, pool)
			return err
		})
	}
	return h, g.Wait()
}

// held reports whether somebody may allocate from the block, as this node says.
func held(b *api.NATBlock) bool { return b.State != api.BlockFrozen && b.State != api.BlockLimbo }

// Own returns what each node says that it may allocate from itself: the holder
// of each block, by first port, in a list in case there is more than one.
func (h Holders) Own(top *topology.Topology) map[uint16][]*topology.Node {
	own := make(map[uint16][]*topology.Node)
	for i, blocks := range h {
		for k := range blocks {
			if b := &blocks[k]; held(b) && b.Holder == top.Nodes[i].Name {
				own[b.First] = append(own[b.First], top.Nodes[i])
			}
		}
	}
	return own
}

// Unfair returns why not all is as it should be with everybody there: all nodes
// say the same, every block is held by the node that should have it, and the
// nodes' shares differ by one at most (NT2). "" is fair.
func (h Holders) Unfair() string {
	if len(h) == 0 || len(h[0]) == 0 {
		return "no blocks"
	}
	shares := make(map[string]int)
	for i, blocks := range h {
		for k := range blocks {
			b := &blocks[k]
			switch {
			case !held(b):
				return fmt.Sprintf("node %d says that block %d is %s", i+1, b.First, b.State)
			case b.Holder != h[0][k].Holder:
				return fmt.Sprintf("node %d says that %s holds block %d, node 1 says %s", i+1, b.Holder, b.First, h[0][k].Holder)
			case b.Holder != b.Target:
				return fmt.Sprintf("%s holds block %d, which should be at %s; node %d counts %d uses", b.Holder, b.First, b.Target, i+1, b.Uses)
			case i == 0:
				shares[b.Holder]++
			}
		}
	}
	few, many := slices.Min(slices.Collect(maps.Values(shares))), slices.Max(slices.Collect(maps.Values(shares)))
	if len(shares) != len(h) || many-few > 1 {
		return fmt.Sprintf("shares of %d nodes: %v", len(shares), shares)
	}
	return ""
}

// Unreturned returns why not all is as it should be with everybody there and traffic
// flowing: as Unfair, but for blocks that may stay, by their holder's own account, with
// another node than the one that should have them: only idle blocks move. stayed is
// how many those are.
func (h Holders) Unreturned(top *topology.Topology, stays func(*api.NATBlock) bool) (stayed int, why string) {
	if len(h) == 0 || len(h[0]) == 0 {
		return 0, "no blocks"
	}
	for k := range h[0] {
		known := false
		for i, blocks := range h {
			b := &blocks[k]
			switch {
			case !held(b):
				return 0, fmt.Sprintf("node %d says that block %d is %s", i+1, b.First, b.State)
			case b.Holder != h[0][k].Holder:
				return 0, fmt.Sprintf("node %d says that %s holds block %d, node 1 says %s", i+1, b.Holder, b.First, h[0][k].Holder)
			case b.Holder != top.Nodes[i].Name:
				continue
			case b.Holder != b.Target && !stays(b):
				return 0, fmt.Sprintf("%s holds block %d, which should be at %s, and counts %d uses", b.Holder, b.First, b.Target, b.Uses)
			case b.Holder != b.Target:
				stayed++
			}
			known = true
		}
		if !known {
			return 0, fmt.Sprintf("%s does not say that it holds block %d", h[0][k].Holder, h[0][k].First)
		}
	}
	return stayed, ""
}

// InUse returns the blocks whose uses a node counts as more than none.
func (h Holders) InUse() (list []string) {
	for i, blocks := range h {
		for k := range blocks {
			if b := &blocks[k]; b.Uses > 0 || b.State == api.BlockHeld && b.Uses == 0 {
				list = append(list, fmt.Sprintf("node %d: block %d has %d uses, %s", i+1, b.First, b.Uses, b.State))
			}
		}
	}
	return list
}
