package behaviour

import (
	"net/netip"
	"slices"
	"testing"
	"time"

	"cohort/api"
	"cohort/testenv/topology"
)

// survivor is a connection that must not notice the death of its owner.
type survivor struct {
	talk
	mapped netip.AddrPort
}

// TestNT5_MappedPortOutlivesItsOwner switches off a node while its connections
// rest. For one half of them the first packet after that comes from the client,
// for the other half from the server, which knows the mapped port only: whose
// block was the dead node's, so that no arithmetic leads to anybody who has the
// connection in its table. Then a second node dies, which has adopted some.
func TestNT5_MappedPortOutlivesItsOwner(t *testing.T) {
	top := formed(t, topology.Config{NAT: patOnly, HoldTime: 1500 * time.Millisecond})
	m := serveMirror(t, top.Servers[0], 9000)
	var all []*survivor
	for _, network := range transports {
		for range 60 {
			k, mapped := seen(t, top.Clients[0], network, m.at)
			all = append(all, &survivor{k, mapped})
		}
	}
	for round, dead := range []int{2, 0} { // a data node, then the control node
		node := top.Nodes[dead]
		owned := ownedBy(t, top, node, all)
		if len(owned) < 10 {
			t.Fatalf("%s owns %d of %d connections: nothing is tested", node.Name, len(owned), len(all))
		}
		if _, err := node.PowerOff(); err != nil {
			t.Fatal(err)
		}
		if err := top.WaitFormed(within(t, 30*time.Second), len(top.Nodes)-round-1); err != nil {
			t.Fatal(err)
		}
		eventually(t, "the routers know", func() bool {
			return !slices.Contains(top.Inside.Live(), node.Index) && !slices.Contains(top.Outside.Live(), node.Index)
		})
		for i, s := range owned {
			if i%2 == 0 {
				continue
			}
			if err := m.push(s.network, s.mapped); err != nil {
				t.Fatal(err)
			}
			if told, err := s.told(20 * time.Second); err != nil || told != s.mapped {
				t.Fatalf("%s %v, seen as %v: the server's word after the death: %v, %v", s.network, s.LocalAddr(), s.mapped, told, err)
			}
		}
		for _, s := range all {
			if again, err := s.ask(); err != nil || again != s.mapped {
				t.Fatalf("%s %v was seen as %v and is as %v, %v", s.network, s.LocalAddr(), s.mapped, again, err)
			}
		}
		t.Logf("%s died with %d connections", node.Name, len(owned))
	}
	// The ports that live on are not given to anybody else.
	for _, network := range transports {
		used := make(map[netip.AddrPort]bool)
		for _, s := range all {
			if s.network == network {
				used[s.mapped] = true
			}
		}
		for range 200 {
			if k, mapped := seen(t, top.Clients[0], network, m.at); used[mapped] {
				t.Errorf("%s %v has a port that lives on: %v", network, k.LocalAddr(), mapped)
			}
		}
	}
}

// ownedBy returns the connections that a node owns, once every connection has
// one owner and a copy beside it.
func ownedBy(t *testing.T, top *topology.Topology, node *topology.Node, all []*survivor) (owned []*survivor) {
	t.Helper()
	type key struct {
		network string
		client  netip.AddrPort
	}
	eventually(t, "every connection has a copy", func() bool {
		owners, copies := make(map[key]*topology.Node), make(map[key]int)
		for _, n := range top.Nodes {
			if !n.On() {
				continue
			}
			_, err := n.API().Conns(t.Context(), api.ConnFilter{}, 0, func(c *api.Conn) error {
				k := key{c.Protocol, c.Source}
				if c.Roles.Has(api.Owner) {
					owners[k] = n
				}
				if c.Roles.Has(api.Backup) {
					copies[k]++
				}
				return nil
			})
			if err != nil {
				t.Fatal(err)
			}
		}
		owned = owned[:0]
		for _, s := range all {
			k := key{s.network, local(s)}
			if owners[k] == nil || copies[k] != 1 {
				return false
			}
			if owners[k] == node {
				owned = append(owned, s)
			}
		}
		return true
	})
	return owned
}
