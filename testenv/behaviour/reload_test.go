package behaviour

import (
	"context"
	"encoding/json"
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"cohort/api"
	"cohort/testenv/topology"
)

// otherAddress is what the reload of TestNT7 adds to the pool.
var otherAddress = netip.MustParseAddr("203.0.113.11")

const reloadTimeouts = "{tcp_closing: 2s, tcp_time_wait: 1s, udp: 10s, udp_stream: 10s}"

// natOf is the pool of TestNT7 with these blocks and addresses.
func natOf(size int, addresses string) string {
	return fmt.Sprintf("{hold_down: 1s, pools: {egress: {addresses: [%s], block_size: %d}}, rules: [{name: out, type: dynamic-pat, from: inside, to: outside, source: 10.0.0.0/8, pool: egress}]}", addresses, size)
}

// TestNT7_BlockSizeAndPoolChangeUnderTraffic halves the blocks of a pool and adds
// an address, on four nodes under traffic: no connection is lost or changes its
// mapped port, new ones use the new blocks, and every node has its share of them.
// Before that, files that cannot work change nothing. One node is told by SIGHUP.
func TestNT7_BlockSizeAndPoolChangeUnderTraffic(t *testing.T) {
	small := natOf(512, "203.0.113.10")
	top := formed(t, topology.Config{NAT: small, Timeouts: reloadTimeouts, Clients: 8})
	m := serveMirror(t, top.Servers[0], 9000)
	var all []*survivor
	for i := range 160 {
		k, mapped := seen(t, top.Clients[i%8], transports[i/8%2], m.at)
		all = append(all, &survivor{k, mapped})
	}
	before := infoOf(t, top.Nodes[0])

	file := filepath.Join(top.Dir, "cluster.yaml")
	text, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	write := func(text string) {
		t.Helper()
		if err := os.WriteFile(file, []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	for wrong, says := range map[string]string{
		strings.Replace(string(text), "block_size: 512", "block_size: 5", 1):              "cluster.yaml:",
		strings.Replace(string(text), "udp: 10s", "udp: 11s", 1):                          "timeouts",
		strings.Replace(string(text), small, natOf(512, "203.0.113.10, 203.0.113.10"), 1): "cluster.yaml:",
	} {
		write(wrong)
		for _, n := range top.Nodes {
			if _, err := n.API().Reload(t.Context()); err == nil || !strings.Contains(err.Error(), says) {
				t.Fatalf("%s takes a wrong file: %v, want %q", n.Name, err, says)
			}
		}
	}
	if i := infoOf(t, top.Nodes[0]); i.Config != before.Config || i.Prepared != "" || i.View != before.View {
		t.Fatalf("wrong files have changed something: %+v, before %+v", i, before)
	}

	news := newcomers(t, top, m)
	old := keepAsking(t, all)
	write(strings.Replace(string(text), small, natOf(256, "203.0.113.10-203.0.113.11"), 1))
	for i, n := range top.Nodes {
		if i == 2 {
			daemon, err := n.Daemon()
			if err != nil {
				t.Fatal(err)
			}
			if err := daemon.Signal(unix.SIGHUP); err != nil {
				t.Fatal(err)
			}
			eventually(t, "the signal prepares it", func() bool { return infoOf(t, n).Prepared != "" })
			continue
		}
		r, err := n.API().Reload(t.Context())
		if err != nil || r.State == api.ReloadSame || i < 3 && (r.State != api.ReloadPrepared || len(r.Waiting) < 3-i) {
			t.Fatalf("%s: %+v, %v", n.Name, r, err)
		}
	}
	eventually(t, "all nodes run it", func() bool {
		for _, n := range top.Nodes {
			if i := infoOf(t, n); i.Config == before.Config || i.Prepared != "" {
				return false
			}
		}
		return true
	})
	if r, err := top.Nodes[1].API().Reload(t.Context()); err != nil || r.State != api.ReloadSame {
		t.Errorf("the same file again: %+v, %v", r, err)
	}
	time.Sleep(2 * time.Second) // traffic, not luck: what would break now must show
	t.Logf("running connections: %s", old())
	t.Logf("new connections: %s", news(true))
	// Nodes apply a view one after the other, and take no frame of a later one.
	t.Logf("frames of a view that their receiver had not applied yet: %d", counter(t, top, "drop_bad_view"))
	for _, s := range all {
		if again, err := s.ask(); err != nil || again != s.mapped {
			t.Fatalf("%s %v was seen as %v and is as %v, %v", s.network, s.LocalAddr(), s.mapped, again, err)
		}
	}
	used := map[netip.Addr]int{}
	for i := range 40 {
		k, mapped := seen(t, top.Clients[i%8], transports[i/8%2], m.at)
		used[mapped.Addr()]++
		k.Close()
	}
	if used[egress] == 0 || used[otherAddress] == 0 || len(used) != 2 {
		t.Errorf("new connections leave from %v", used)
	}
	for _, s := range all {
		s.Close()
	}
	var shares string
	defer func() {
		if t.Failed() {
			t.Log(shares)
		}
	}()
	eventually(t, "every node has its share of the new blocks", func() bool {
		for _, n := range top.Nodes {
			pools, err := n.API().NATPools(t.Context())
			shares = fmt.Sprintf("%s: %+v", n.Name, pools)
			if err != nil || len(pools) != 1 || pools[0].BlockSize != 256 || pools[0].Blocks.Held != 2*252 || len(pools[0].Addresses) != 2 {
				return false
			}
			for _, a := range pools[0].Addresses {
				for _, share := range a.Nodes {
					if len(a.Nodes) != 4 || share.Blocks != 63 {
						return false
					}
				}
			}
		}
		return true
	})
	if n := counter(t, top, "nat_conflicts"); n != 0 {
		t.Errorf("%d conflicts of translations (NT4)", n)
	}
}

// TestNT7_DaemonThatFindsAnotherFile restarts a daemon after its file has changed
// and before the others have. It must not serve beside them; they change without
// it, since nobody else is missing, and let it in. Connections go on.
func TestNT7_DaemonThatFindsAnotherFile(t *testing.T) {
	small := natOf(512, "203.0.113.10")
	top := formed(t, topology.Config{NAT: small})
	m := serveMirror(t, top.Servers[0], 9000)
	var all []*survivor
	for i := range 60 {
		k, mapped := seen(t, top.Clients[0], transports[i%2], m.at)
		all = append(all, &survivor{k, mapped})
	}
	lost := len(ownedBy(t, top, top.Nodes[3], all)) // once every connection has a copy
	before := infoOf(t, top.Nodes[0])
	file := filepath.Join(top.Dir, "cluster.yaml")
	text, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(file, []byte(strings.Replace(string(text), small, natOf(256, "203.0.113.10"), 1)), 0o644); err != nil {
		t.Fatal(err)
	}
	late := top.Nodes[3]
	if err := late.RestartDaemon(); err != nil {
		t.Fatal(err)
	}
	eventually(t, "the control node refuses it by its configuration", func() bool {
		h, err := late.API().Health(t.Context())
		for _, c := range h.Checks {
			if err == nil && c.Name == "join" && strings.Contains(c.Cause, "configuration") && h.LeaseMS == 0 {
				return true
			}
		}
		return false
	})
	for _, n := range top.Nodes[:3] {
		if _, err := n.API().Reload(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
	eventually(t, "all nodes run the new file", func() bool {
		for _, n := range top.Nodes {
			if i, err := n.API().Info(t.Context()); err != nil || i.Config == before.Config || len(i.Members) != 4 {
				return false
			}
		}
		return true
	})
	// The late node's connections go on elsewhere, with copies: an orphan's only
	// copy may be in the memory of the process that is replaced next.
	for _, s := range all {
		if again, err := s.ask(); err != nil || again != s.mapped {
			t.Fatalf("%s %v was seen as %v and is as %v, %v", s.network, s.LocalAddr(), s.mapped, again, err)
		}
	}
	ownedBy(t, top, top.Nodes[1], all)
	// A process that is replaced now takes over what the reload has left. What
	// the late node's connections use is frozen, and nothing else.
	thawed := func() bool {
		pools, err := top.Nodes[1].API().NATPools(t.Context())
		return err == nil && len(pools) == 1 && pools[0].BlockSize == 256 && pools[0].Here.Held > 0 &&
			pools[0].Blocks.Limbo == 0 && pools[0].Blocks.Frozen <= lost
	}
	eventually(t, "only blocks in use are frozen", thawed)
	life := func() string {
		i, err := top.Nodes[1].API().Info(t.Context())
		for _, m := range i.Members {
			if err == nil && m.Name == i.Self && i.State == "in sync" && len(i.Members) == 4 {
				return m.Incarnation
			}
		}
		return ""
	}
	eventually(t, "the view is on the disk of the node to be restarted", func() bool {
		var saved struct{ View struct{ Epoch uint32 } }
		b, err := os.ReadFile(filepath.Join(top.Nodes[1].Dir, "state", "membership.json"))
		return err == nil && json.Unmarshal(b, &saved) == nil && saved.View.Epoch == infoOf(t, top.Nodes[1]).Epoch
	})
	was := life() // it stays what it is when its daemon is back within the lease
	if err := top.Nodes[1].RestartDaemon(); err != nil {
		t.Fatal(err)
	}
	eventually(t, "the restarted node is what it was, and no more blocks are frozen", func() bool {
		return life() == was && thawed()
	})
	for _, s := range all {
		if again, err := s.ask(); err != nil || again != s.mapped {
			t.Fatalf("%s %v was seen as %v and is as %v, %v", s.network, s.LocalAddr(), s.mapped, again, err)
		}
	}
}

func infoOf(t *testing.T, n *topology.Node) api.Info {
	t.Helper()
	i, err := n.API().Info(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	return i
}

// keepAsking asks on every connection, one after the other, until the function
// that it returns is called, which says how long the longest answer took. A wrong
// answer, or none, fails the test.
func keepAsking(t *testing.T, all []*survivor) (end func() string) {
	ctx, stop := context.WithCancel(t.Context())
	var running sync.WaitGroup
	var mu sync.Mutex
	asked, longest := 0, time.Duration(0)
	const hands = 8
	for h := range hands {
		running.Go(func() {
			for i := h; ctx.Err() == nil; i = (i + hands) % len(all) {
				s, began := all[i], time.Now()
				again, err := s.ask()
				if err != nil || again != s.mapped {
					t.Errorf("%s %v was seen as %v and is as %v, %v", s.network, s.LocalAddr(), s.mapped, again, err)
					return
				}
				mu.Lock()
				asked, longest = asked+1, max(longest, time.Since(began))
				mu.Unlock()
			}
		})
	}
	return func() string {
		stop()
		running.Wait()
		return fmt.Sprintf("%d answers, the longest took %v", asked, longest.Round(time.Microsecond))
	}
}

// newcomers opens connections, two at a time, until the function that it returns
// is called, which says how long the slowest was until its first answer.
func newcomers(t *testing.T, top *topology.Topology, m *mirror) (end func(fail bool) string) {
	ctx, stop := context.WithCancel(t.Context())
	var running sync.WaitGroup
	var mu sync.Mutex
	opened, refused, longest := 0, 0, time.Duration(0)
	for i, network := range transports {
		running.Go(func() {
			pace := time.NewTicker(5 * time.Millisecond)
			defer pace.Stop()
			for n := i; ctx.Err() == nil; n++ {
				<-pace.C
				began := time.Now()
				k := talk{network: network}
				var err error
				if h := top.Clients[n%8]; network == "udp" {
					k.Conn, err = h.Namespace.DialUDP(m.at)
				} else {
					k.Conn, err = h.Namespace.DialTCP(t.Context(), m.at)
				}
				if err == nil {
					_, err = k.ask()
					k.Close()
				}
				mu.Lock()
				if opened++; err != nil {
					refused++
				}
				longest = max(longest, time.Since(began))
				mu.Unlock()
			}
		})
	}
	return func(fail bool) string {
		stop()
		running.Wait()
		if fail && refused > 0 {
			t.Errorf("%d of %d new connections failed", refused, opened)
		}
		return fmt.Sprintf("%d, %d failed, the slowest took %v to its first answer", opened, refused, longest.Round(time.Microsecond))
	}
}
