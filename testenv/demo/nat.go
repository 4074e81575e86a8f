package demo

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net/netip"
	"os/exec"
	"strings"
	"time"

	"cohort/api"
)

// public is the address that the servers see of everybody.
var public = netip.MustParseAddr("203.0.113.10")

// blocks is how many blocks the default size of 512 ports makes of the 64,512
// ports of an address.
const blocks = 126

// shared waits until every node has its share of the public address and says
// who has how many blocks (NT2).
func (s *show) shared(ctx context.Context) error {
	var counts []int
	var parts []string
	var asked error
	err := waitUntil(ctx, 20*time.Second, func() bool {
		if counts, parts, asked = s.shares(ctx); asked != nil {
			return true
		}
		return even(counts, s.cfg.Nodes)
	})
	if err != nil || asked != nil {
		return fmt.Errorf("nat: the %d blocks of %v are not shared evenly by %d nodes: %s: %w",
			blocks, public, s.cfg.Nodes, strings.Join(parts, ", "), errors.Join(err, asked))
	}
	s.say("nat", "one public address, %v, for all: %d blocks of 512 ports: %s", public, blocks, strings.Join(parts, ", "))
	return nil
}

// shares asks one node who has how many blocks.
func (s *show) shares(ctx context.Context) (counts []int, parts []string, err error) {
	pools, err := s.topo.Nodes[0].API().NATPools(ctx)
	if err != nil {
		return nil, nil, err
	}
	if len(pools) != 1 || len(pools[0].Addresses) != 1 || pools[0].Addresses[0].Address != public {
		return nil, nil, fmt.Errorf("the node has other pools than one of %v: %+v", public, pools)
	}
	for _, n := range pools[0].Addresses[0].Nodes {
		counts = append(counts, n.Blocks-n.Frozen)
		parts = append(parts, fmt.Sprintf("%s %d", n.Node, n.Blocks-n.Frozen))
	}
	return counts, parts, nil
}

// even reports whether n nodes have all blocks, and each at most one more than
// another.
func even(counts []int, n int) bool {
	sum, low, high := 0, blocks, 0
	for _, c := range counts {
		sum, low, high = sum+c, min(low, c), max(high, c)
	}
	return len(counts) == n && sum == blocks && high-low <= 1
}

// seen asks the server who is connected to a port, 0 = any.
func (s *show) seen(ctx context.Context, port uint16) (peers []netip.AddrPort, err error) {
	var out bytes.Buffer
	cmd := exec.Command("ss", "-Htn", "state", "established")
	cmd.Stdout, cmd.Stderr = &out, &out
	if err := s.server.Run(ctx, cmd); err != nil {
		return nil, fmt.Errorf("ss: %w: %s", err, strings.TrimSpace(out.String()))
	}
	for line := range strings.Lines(out.String()) {
		ends := strings.Fields(line) // receive queue, send queue, local, peer
		if len(ends) < 4 {
			return nil, fmt.Errorf("ss: %q has no peer", line)
		}
		local, err := netip.ParseAddrPort(ends[2])
		if err != nil {
			return nil, fmt.Errorf("ss: %w", err)
		}
		peer, err := netip.ParseAddrPort(ends[3])
		if err != nil {
			return nil, fmt.Errorf("ss: %w", err)
		}
		if port == 0 || local.Port() == port {
			peers = append(peers, peer)
		}
	}
	return peers, nil
}

// onePublicAddress checks at the server that all connections come from there.
func (s *show) onePublicAddress(ctx context.Context) error {
	peers, err := s.seen(ctx, 0)
	if err != nil {
		return err
	}
	if len(peers) < s.cfg.Idle {
		return fmt.Errorf("nat: the server has %d connections, want %d", len(peers), s.cfg.Idle)
	}
	ports := map[uint16]bool{}
	for _, p := range peers {
		if p.Addr() != public {
			return fmt.Errorf("nat: the server sees a connection from %v, not from %v", p, public)
		}
		ports[p.Port()] = true
	}
	s.say("nat", "the server sees %d connections, all from %v, with %d ports", len(peers), public, len(ports))
	return nil
}

// sameMapping checks that the download looks to the server as its owners say,
// the dead one and its heir.
func sameMapping(peers []netip.AddrPort, before, after *api.Conn) error {
	switch {
	case len(peers) != 1:
		return fmt.Errorf("nat: the server has %d downloads, want one", len(peers))
	case peers[0] != before.MappedSource:
		return fmt.Errorf("nat: the server sees the download from %v, its owner says %v", peers[0], before.MappedSource)
	case after.MappedSource != before.MappedSource || after.Source != before.Source:
		return fmt.Errorf("nat: the download from %v was %v, and is %v with its new owner", before.Source, before.MappedSource, after.MappedSource)
	}
	return nil
}
