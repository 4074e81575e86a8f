package scenario

import (
	"io"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"cohort/testenv/topology"
	"cohort/testenv/traffic"
)

// TestFR5_TheSettingChangesOnARunningCluster: a reload refuses it by name; the daemons are
// restarted one after the other with it, under traffic that any node may get. Connections
// that are open keep their numbers and lose nothing; new ones are established all the time,
// and in the end all of them have numbers of nodes.
func TestFR5_TheSettingChangesOnARunningCluster(t *testing.T) {
	top := formed(t, topology.Config{Nodes: 3, Spray: true, OwnNumbers: true})
	client := top.Clients[0].Namespace
	to := netip.AddrPortFrom(top.Servers[0].Addr, 8080)
	server, err := traffic.ServeEcho(top.Servers[0].Namespace, to)
	must(t, err)
	defer server.Close()
	ctx := within(t, 90*time.Second)
	sent, got, stop := atBothEnds(t, top)
	open, err := traffic.OpenPool(ctx, client, to, traffic.PoolConfig{Connections: 60, Interval: 100 * time.Millisecond, Timeout: 10 * time.Second})
	must(t, err)
	defer open.Close()
	begun := 60
	kept := func() (n int) { // of all that have begun
		for {
			sent.mu.Lock()
			got.mu.Lock()
			all := len(sent.of) >= begun && len(got.of) >= begun // or the taps are behind
			if all {
				for port, isn := range sent.of {
					if got.of[port] == isn {
						n++
					}
				}
			}
			got.mu.Unlock()
			sent.mu.Unlock()
			if all {
				return n
			}
			pause(t, ctx, 10*time.Millisecond)
		}
	}
	const each = 20
	opens := func() {
		for range each {
			c, err := client.DialTCP(ctx, to)
			must(t, err)
			_, err = c.Write([]byte("hello"))
			must(t, err)
			_, err = io.ReadFull(c, make([]byte, 5))
			must(t, err)
			must(t, c.Close())
			begun++
		}
	}
	opens()
	if n := kept(); n != 60+each {
		t.Fatalf("%d of %d numbers are the client's", n, 60+each)
	}

	file := filepath.Join(top.Dir, "cluster.yaml")
	text, err := os.ReadFile(file)
	must(t, err)
	on := strings.Replace(string(text), "sequence_randomization: false", "sequence_randomization: true", 1)
	if on == string(text) {
		t.Fatalf("the setting is not in %s", text)
	}
	must(t, os.WriteFile(file, []byte(on), 0o644))
	if _, err := top.Nodes[0].API().Reload(ctx); err == nil || !strings.Contains(err.Error(), "tcp.sequence_randomization") {
		t.Errorf("reload: %v", err)
	}
	for _, n := range top.Nodes {
		must(t, n.RestartDaemon())
		must(t, n.WaitReady(ctx))
		must(t, top.WaitFormed(ctx, len(top.Nodes)))
		opens()
	}
	before := kept()
	opens()
	if n := kept() - before; n != 0 || before == 60+4*each {
		t.Errorf("%d of %d numbers are the client's when all nodes have the setting; %d were before", n, each, before)
	}
	more, err := traffic.OpenPool(ctx, client, to, traffic.PoolConfig{Connections: 60, Interval: 100 * time.Millisecond, Timeout: 10 * time.Second, Seed: 1})
	must(t, err)
	defer more.Close()
	begun += 60
	must(t, os.WriteFile(file, text, 0o644))
	for _, n := range top.Nodes { // and back
		must(t, n.RestartDaemon())
		must(t, n.WaitReady(ctx))
		must(t, top.WaitFormed(ctx, len(top.Nodes)))
	}
	before = kept()
	opens()
	if n := kept() - before; n != each {
		t.Errorf("%d of %d numbers are the client's when no node gives any", n, each)
	}
	for what, pool := range map[string]*traffic.Pool{"before the first change": open, "between the two": more} {
		if err := pool.Close().Err(); err != nil {
			t.Errorf("connections that began %s: %v", what, err)
		}
	}
	stop()
}
