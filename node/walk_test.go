package node

import (
	"context"
	"fmt"
	"slices"
	"testing"

	"cohort/api"
	"cohort/ccl/wire"
	"cohort/flowtable"
	"cohort/packet"
)

func TestAVisitEndsInTime(t *testing.T) {
	now, batches := int64(0), 0
	clock := func() int64 { return now }
	more := visit(clock, func() bool { now += visitFor / 4; batches++; return true })
	if !more || batches != 4 {
		t.Errorf("%d batches of a quarter of the time, more = %v", batches, more)
	}
	if batches = 0; visit(clock, func() bool { batches++; return batches < 3 }) || batches != 3 {
		t.Errorf("%d batches, want the 3 that there are", batches)
	}
}

// conns lists what a node shows, without mappings.
func (n *testNode) conns(f api.ConnFilter) (list []api.Conn) {
	n.c.t.Helper()
	err := provider{n.Node}.Conns(context.Background(), f, func(c *api.Conn) bool {
		list = append(list, *c)
		return true
	})
	if err != nil {
		n.c.t.Fatal(err)
	}
	return list
}

func TestEveryConnectionIsShownOnce(t *testing.T) {
	c := newTestCluster(t, 1)
	want := 3*visitBatch + 5
	for i := range want {
		c.nodes[0].core.Packet(c.now, packetOf(udp(packet.Addr{10, 1, 0, byte(i)}, 5000)))
	}
	seen := map[string]int{}
	for _, one := range c.nodes[0].conns(api.ConnFilter{}) {
		seen[one.Source.String()]++
	}
	if len(seen) != want {
		t.Errorf("%d connections shown, want %d", len(seen), want)
	}
	for source, n := range seen {
		if n != 1 {
			t.Errorf("%s is shown %d times", source, n)
		}
	}
	got := 0
	err := provider{c.nodes[0].Node}.Conns(context.Background(), api.ConnFilter{}, func(*api.Conn) bool { got++; return got < 7 })
	if err != nil || got != 7 {
		t.Errorf("visited %d (%v), want to stop at 7", got, err)
	}
}

func TestFR3_TranslatedConnectionsShowBothTuplesAndRoles(t *testing.T) {
	c := newTestCluster(t, 4)
	for i := range 16 {
		c.send(i%4, udp(packet.Addr{10, 1, 0, byte(i)}, 5000))
		c.send(i%4, udp(packet.Addr{10, 2, 0, byte(i)}, 5000)) // through a mapping
	}
	owners, mapped := map[string]int{}, map[string]string{}
	var roles []string
	backups, copies := map[string]string{}, map[string][]string{}
	for i, n := range c.nodes {
		lines := map[string]int{}
		for _, one := range n.conns(api.ConnFilter{}) {
			roles = append(roles, string(one.Roles))
			if one.Destination.Port() != 53 {
				t.Errorf("a mapping is shown as a connection: %+v", one)
			}
			if one.Roles == "F" {
				continue
			}
			s := one.Source.String()
			if lines[s]++; lines[s] > 1 {
				t.Errorf("a node shows %s twice, the second time as %s", s, one.Roles)
			}
			switch {
			case one.Roles.Has(api.Owner):
				owners[s]++
				backups[s] = one.Backup
			case one.Roles.Has(api.Backup):
				copies[s] = append(copies[s], fmt.Sprintf("fw-%c", 'a'+i))
			}
			m := one.MappedSource.String()
			if mapped[s] == "" {
				mapped[s] = m
			}
			if m != mapped[s] || !one.MappedSource.IsValid() || one.MappedDestination.IsValid() {
				t.Errorf("%s: %s shows %v, others %v", one.Roles, s, m, mapped[s])
			}
		}
	}
	if len(owners) != 32 {
		t.Errorf("%d connections, want 32", len(owners))
	}
	for s, n := range owners {
		if n != 1 {
			t.Errorf("%s has %d owners", s, n)
		}
	}
	for _, r := range []string{"O", "OD", "DB", "B", "S", "DBS"} {
		if !slices.Contains(roles, r) {
			t.Errorf("no node is %s for any connection: %v", r, roles)
		}
	}
	for source, name := range backups {
		if !slices.Contains(copies[source], name) {
			t.Errorf("%s: the owner says that %q has the copy, but %v have", source, name, copies[source])
		}
	}
}

func TestCensusCountsByPool(t *testing.T) {
	c := newTestCluster(t, 1)
	for i := range visitBatch + 3 {
		c.send(0, udp(packet.Addr{10, 1, 0, byte(i)}, 5000))
	}
	c.send(0, udp(packet.Addr{10, 2, 0, 9}, 5000))
	c.send(0, udp(packet.Addr{10, 3, 0, 9}, 5000))
	c.send(0, udp(packet.Addr{10, 1, 8, 80}, 5000)) // static: no pool's
	n := c.nodes[0]
	if got := n.census.count(0); got != 0 {
		t.Errorf("%d before the first round", got)
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error)
	go func() { done <- n.census.run(ctx, n.Node) }()
	waitFor(t, func() bool { return n.census.count(0) > 0 })
	cancel()
	if err := <-done; err != nil {
		t.Error(err)
	}
	for pool, want := range []int{visitBatch + 3, 1, 1} {
		if got := n.pools()[pool].Here.Xlates; got != want {
			t.Errorf("pool %d has %d translations, want %d", pool, got, want)
		}
	}
}

// A connection that has ended is shown by nobody, although its key may not be
// given out again yet.
func TestNT4_TombsAreNotShown(t *testing.T) {
	c := newTestCluster(t, 1)
	n := c.nodes[0]
	k := udp(packet.Addr{10, 1, 0, 5}, 5000)
	reply := k.Reverse()
	reply.Dst = packet.Addr{203, 0, 113, 10}
	for _, flags := range []uint8{wire.ConnTomb, 0} {
		if err := n.stubs.PutPair(flowtable.Backup{Key: flowtable.Pack(reply), Flags: flags}, k); err != nil {
			t.Fatal(err)
		}
		want := 0
		if flags == 0 {
			want = 1
		}
		if got := len(n.conns(api.ConnFilter{})); got != want {
			t.Errorf("%d connections with flags %#x, want %d", got, flags, want)
		}
		if got := len(n.lines(api.XlateFilter{})); got != want {
			t.Errorf("%d translations with flags %#x, want %d", got, flags, want)
		}
	}
}
