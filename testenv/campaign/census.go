package campaign

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"strings"
	"sync"

	"golang.org/x/sync/errgroup"

	"cohort/api"
	"cohort/testenv/topology"
)

// Key names a connection regardless of direction.
type Key struct {
	Protocol  string
	Low, High netip.AddrPort
}

func newKey(protocol string, a, b netip.AddrPort) Key {
	if b.Compare(a) < 0 {
		a, b = b, a
	}
	return Key{protocol, a, b}
}

// keyOf is the connection of a client's socket.
func keyOf(protocol string, c net.Conn) Key {
	return newKey(protocol, netip.MustParseAddrPort(c.LocalAddr().String()), netip.MustParseAddrPort(c.RemoteAddr().String()))
}

// Holding is what one node holds of a connection.
type Holding struct {
	Node *topology.Node
	api.Conn
}

func (h Holding) String() string {
	return fmt.Sprintf("%s:%s(owner %s, gen %d, %s)", h.Node.Name, h.Roles, h.Owner, h.Gen, h.State)
}

// Census is what all nodes hold, at nearly one moment.
type Census map[Key][]Holding

// TakeCensus asks all nodes that have power and an answering daemon.
func TakeCensus(ctx context.Context, top *topology.Topology, filter api.ConnFilter) (Census, error) {
	return censusOf(ctx, top.Nodes, filter)
}

// censusOf asks these nodes, as TakeCensus does.
func censusOf(ctx context.Context, nodes []*topology.Node, filter api.ConnFilter) (Census, error) {
	all := make(Census)
	var mu sync.Mutex // guards all
	var g errgroup.Group
	for _, n := range nodes {
		if _, err := n.Daemon(); err != nil {
			continue
		}
		g.Go(func() error {
			_, err := n.API().Conns(ctx, filter, 0, func(c *api.Conn) error {
				mu.Lock()
				defer mu.Unlock()
				k := newKey(c.Protocol, c.Source, c.Destination)
				all[k] = append(all[k], Holding{n, *c})
				return nil
			})
			if _, dead := n.Daemon(); errors.Is(dead, topology.ErrNoDaemon) {
				return nil // it died while it was asked
			}
			return err
		})
	}
	return all, g.Wait()
}

// With returns the nodes that hold a connection in a role.
func (c Census) With(k Key, role rune) (nodes []*topology.Node) {
	for _, h := range c[k] {
		if h.Roles.Has(role) {
			nodes = append(nodes, h.Node)
		}
	}
	return nodes
}

// Doubles returns the connections with more than one owner.
func (c Census) Doubles() (keys []Key) {
	for k := range c {
		if len(c.With(k, api.Owner)) > 1 {
			keys = append(keys, k)
		}
	}
	return keys
}

// Unprotected returns those of the given connections that have not exactly one
// owner and one confirmed copy beside it, in words.
func (c Census) Unprotected(keys []Key) (why []string) {
	for _, k := range keys {
		owners, copies := c.With(k, api.Owner), c.With(k, api.Backup)
		if len(owners) != 1 || len(copies) != 1 || owners[0] == copies[0] {
			why = append(why, c.Describe(k))
		}
	}
	return why
}

// Describe says who holds a connection.
func (c Census) Describe(k Key) string {
	var held []string
	for _, h := range c[k] {
		held = append(held, h.String())
	}
	if held == nil {
		held = []string{"nobody"}
	}
	return fmt.Sprintf("%s %v-%v: %s", k.Protocol, k.Low, k.High, strings.Join(held, " "))
}
