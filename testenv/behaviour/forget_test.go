package behaviour

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"time"

	"cohort/api"
	"cohort/testenv/topology"
)

// TestNT5_AForgottenNodesBlocksAreShared switches off one of four nodes and
// says that it is over: its blocks are shared by the rest, also those that
// connections still use, which notice nothing and keep their ports. Then a node of that name comes
// back, empty, and gets its share again.
func TestNT5_AForgottenNodesBlocksAreShared(t *testing.T) {
	top := formed(t, topology.Config{NAT: strings.Replace(patOnly, "{pools", "{hold_down: 1s, pools", 1), Timeouts: "{tcp_closing: 2s, tcp_time_wait: 1s}"})
	m := serveMirror(t, top.Servers[0], 9000)
	a, b, dead := top.Nodes[0], top.Nodes[1], top.Nodes[3]
	var all []*survivor
	used := make(map[netip.AddrPort]bool) // first ports of the dead node's blocks that have connections
	for len(used) == 0 || len(all) < 24 {
		if len(all) == 200 {
			t.Fatal("200 connections use no block of one of four nodes")
		}
		k, mapped := seen(t, top.Clients[0], "tcp", m.at)
		all = append(all, &survivor{k, mapped})
		if x := blockOf(t, a, mapped); x.Holder == dead.Name {
			used[netip.AddrPortFrom(x.Address, x.First)] = true
		}
	}
	ownedBy(t, top, dead, all) // copies are there
	refused := func(n *topology.Node, node, want string) {
		t.Helper()
		_, err := n.API().Forget(t.Context(), node)
		var no api.Refusal
		if !errors.As(err, &no) || !strings.HasPrefix(err.Error(), want) {
			t.Errorf("forget %s: %v, want %s", node, err, want)
		}
	}
	refused(a, dead.Name, dead.Name+" is a member")
	if _, err := dead.PowerOff(); err != nil {
		t.Fatal(err)
	}
	if err := top.WaitFormed(within(t, 30*time.Second), 3); err != nil {
		t.Fatal(err)
	}
	eventually(t, "the routers know", func() bool {
		return !slices.Contains(top.Inside.Live(), dead.Index) && !slices.Contains(top.Outside.Live(), dead.Index)
	})
	live := func(when string) {
		t.Helper()
		for _, s := range all {
			if again, err := s.ask(); err != nil || again != s.mapped {
				t.Fatalf("%s: %v was seen as %v and is as %v, %v", when, s.LocalAddr(), s.mapped, again, err)
			}
		}
	}
	live("after the death")
	if p := egressPool(t, a); p.Blocks.Frozen < 31 || !slices.Equal(p.WaitsFor, []string{dead.Name}) {
		t.Fatalf("%+v: nothing is frozen", p)
	}

	refused(a, "fw-x", "no node of the name fw-x was ever a member; missing: "+dead.Name)
	f, err := a.API().Forget(t.Context(), dead.Name)
	if err != nil || f.Frozen < 31 || f.Held != f.Frozen || len(f.Unaware)+len(f.WaitsFor) > 0 {
		t.Fatalf("%+v, %v", f, err)
	}
	at := time.Now()
	// What has been answered outlives a daemon, and the others have it too. Just
	// now they give each other what has thawed: that must not be lost either.
	for _, n := range []*topology.Node{a, b} {
		if err := n.RestartDaemon(); err != nil {
			t.Fatal(err)
		}
		if err := n.WaitReady(within(t, 20*time.Second)); err != nil {
			t.Fatal(err)
		}
	}
	// What each node holds, when so many are frozen and none are on their way.
	share := func(frozen int) (held []int, ok bool) {
		sum := 0
		for _, n := range top.Nodes {
			if n.On() {
				p := egressPool(t, n)
				held = append(held, p.Here.Held)
				sum += p.Here.Held
				if p.Blocks.Frozen != frozen || p.Blocks.Limbo > 0 {
					return nil, false
				}
			}
		}
		return held, sum == 126-frozen
	}
	defer func() {
		if t.Failed() {
			showBlocks(t, top)
		}
	}()
	eventually(t, "all is shared", func() bool {
		_, ok := share(0)
		return ok && idleElsewhere(t, top) == 0
	})
	t.Logf("%d frozen blocks, %d of them in use, are shared %v after the word, with two daemons killed meanwhile", f.Frozen, len(used), time.Since(at).Round(time.Millisecond))
	if p := egressPool(t, b); p.Why != "" || len(p.WaitsFor) > 0 {
		t.Errorf("frozen because %q, waits for %v", p.Why, p.WaitsFor)
	}
	for x := range used {
		// Its holder knows all that use it; another node only those whose stubs it keeps.
		i := slices.IndexFunc(top.Nodes, func(n *topology.Node) bool { return n.Name == blockOf(t, a, x).Holder })
		if i < 0 || top.Nodes[i] == dead {
			t.Errorf("%v, which connections use: %+v", x, blockOf(t, a, x))
			continue
		}
		if k := blockOf(t, top.Nodes[i], x); k.Uses == 0 || k.State != api.BlockHeld && k.State != api.BlockLeased {
			t.Errorf("%v, which connections use: %+v", x, k)
		}
	}
	live("with blocks shared")
	taken := make(map[netip.AddrPort]bool)
	for _, s := range all {
		taken[s.mapped] = true
	}
	var later []*survivor
	for range 100 {
		k, mapped := seen(t, top.Clients[0], "tcp", m.at)
		later = append(later, &survivor{k, mapped})
		if taken[mapped] {
			t.Errorf("%v has a port that lives on: %v", k.LocalAddr(), mapped)
		}
	}
	for _, s := range append(all, later...) {
		s.Close()
	}
	eventually(t, "42 blocks each", func() bool {
		held, _ := share(0)
		return slices.Equal(held, []int{42, 42, 42})
	})

	// A node of that name that has lost everything.
	if err := dead.PowerOn(); err != nil {
		t.Fatal(err)
	}
	if err := top.WaitFormed(within(t, 60*time.Second), 4); err != nil {
		t.Fatal(err)
	}
	eventually(t, "31, 31, 32 and 32 blocks", func() bool {
		held, ok := share(0)
		return ok && slices.Min(held) == 31 && slices.Max(held) == 32
	})
}

// idleElsewhere counts the blocks that their holders do not use and other nodes should
// have: how many are in use, and whose target is another, is chance.
func idleElsewhere(t *testing.T, top *topology.Topology) (n int) {
	t.Helper()
	for _, node := range top.Nodes {
		if !node.On() {
			continue
		}
		blocks, err := node.API().NATBlocks(t.Context(), "egress")
		if err != nil {
			t.Fatal(err)
		}
		for _, b := range blocks {
			if b.Holder == node.Name && b.Target != node.Name && b.Uses == 0 {
				n++
			}
		}
	}
	return n
}

// egressPool is the port pool as a node sees it.
func egressPool(t *testing.T, n *topology.Node) api.NATPool {
	t.Helper()
	pools, err := n.API().NATPools(t.Context())
	if err != nil || len(pools) != 1 {
		t.Fatalf("pools of %s: %v, %v", n.Name, pools, err)
	}
	return pools[0]
}

// blockOf is the block of a mapped port as a node sees it.
func blockOf(t *testing.T, n *topology.Node, mapped netip.AddrPort) api.NATBlock {
	t.Helper()
	blocks, err := n.API().NATBlocks(t.Context(), "egress")
	if err != nil {
		t.Fatal(err)
	}
	i := slices.IndexFunc(blocks, func(b api.NATBlock) bool {
		return b.Address == mapped.Addr() && b.First <= mapped.Port() && mapped.Port() <= b.Last
	})
	if i < 0 {
		t.Fatalf("no block has %v", mapped)
	}
	return blocks[i]
}

// showBlocks logs why blocks are where they are, for a test that failed: what
// each node knows of those that nobody holds, which lives are members, and what
// happened to each.
func showBlocks(t *testing.T, top *topology.Topology) {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.WithoutCancel(t.Context()), 10*time.Second)
	defer cancel()
	for _, n := range top.Nodes {
		if !n.On() {
			t.Logf("%s is off", n.Name)
			continue
		}
		info, err := n.API().Info(ctx)
		if err != nil {
			t.Logf("%s: %v", n.Name, err)
			continue
		}
		var members []string
		for _, m := range info.Members {
			members = append(members, m.Name+" life "+m.Incarnation)
		}
		t.Logf("%s: view %s by %s: %s", n.Name, info.View, info.Control, strings.Join(members, ", "))
		pools, err := n.API().NATPools(ctx)
		for _, p := range pools {
			t.Logf("%s: %+v, holds %d itself, frozen because %q, waits for %v", n.Name, p.Blocks, p.Here.Held, p.Why, p.WaitsFor)
		}
		blocks, err2 := n.API().NATBlocks(ctx, "egress")
		for _, b := range blocks {
			if b.State == api.BlockFrozen || b.State == api.BlockLimbo {
				t.Logf("%s: %s %d is %s, last %q, %d uses known here, for %s, then %s", n.Name, b.Address, b.First, b.State, b.Holder, b.Uses, b.Target, b.Backup)
			}
		}
		history, err3 := n.API().History(ctx)
		for _, e := range history {
			t.Logf("%s: %s %s %s", n.Name, e.Time.Format("15:04:05.000"), e.To, e.Cause)
		}
		counters, err4 := n.API().Counters(ctx)
		var said []string
		for _, c := range counters {
			if c.Kind == "nat" && c.Value != 0 {
				said = append(said, fmt.Sprintf("%s %d", c.Name, c.Value))
			}
		}
		t.Logf("%s: since its daemon's start: %s", n.Name, strings.Join(said, ", "))
		if err := errors.Join(err, err2, err3, err4); err != nil {
			t.Logf("%s: %v", n.Name, err)
		}
	}
}
