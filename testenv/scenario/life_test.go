package scenario

import (
	"context"
	"slices"
	"strings"
	"testing"
	"time"

	"cohort/api"
	"cohort/testenv/netns"
	"cohort/testenv/topology"
)

// quick is the cluster of a topology of three with short ladders.
const quick = `
interfaces:
  inside:  {device: in0, trust: 100, cluster_address: 10.1.0.254/24, pool: 10.1.0.1-10.1.0.16, targets: 10.1.0.250, pin: {fw-a: 10.1.0.1, fw-b: 10.1.0.2, fw-c: 10.1.0.3}}
  outside: {device: out0, trust: 0, cluster_address: 198.51.100.254/24, pool: 198.51.100.1-198.51.100.16, pin: {fw-a: 198.51.100.1, fw-b: 198.51.100.2, fw-c: 198.51.100.3}}
health:
  hold_time: 1s
  interface_debounce: 500ms
  join_grace: 0s
  rejoin: {interface: {attempts: 30, interval: 1s, variation: 1}, control_link: {interval: 1s}}
limits: {connections: 16384, forwards: 16384}
`

// TestEL7_EL10_HL2_TheLifeOfACluster moves the control role, breaks interfaces and
// links, and takes nodes out, as an operator sees it.
func TestEL7_EL10_HL2_TheLifeOfACluster(t *testing.T) {
	top := formed(t, topology.Config{ClusterYAML: quick})
	a, b, c := top.Nodes[0], top.Nodes[1], top.Nodes[2]
	router := top.Inside.Namespace

	// EL7: the address is where the control node is, before and after a promotion.
	reach(t, router, "10.1.0.254", a)
	if _, err := b.API().Act(t.Context(), api.VerbPromote, c.Name); err != nil {
		t.Fatal(err)
	}
	began := time.Now()
	reach(t, router, "10.1.0.254", c)
	if took := time.Since(began); took > time.Second {
		t.Errorf("EL7: the cluster address follows after %v", took)
	}

	// HL2: a pulled cable takes its node out, by the debounce and not by silence.
	out := leaves(t, top, b, func() error { return b.LinkDown(topology.InsideIface) })
	t.Logf("a node whose interface failed is removed after %v", out)
	if out < 500*time.Millisecond || out >= time.Second {
		t.Errorf("HL2: out %v after its interface failed, want the debounce of 500 ms and less than the hold time of 1 s", out)
	}
	health, err := b.API().Health(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if i := slices.IndexFunc(health.Checks, func(c api.Check) bool { return c.Name == "rejoin" }); i < 0 || health.Checks[i].Next == nil ||
		!strings.HasPrefix(health.Checks[i].Cause, "data interface: ") {
		t.Errorf("HL3: %+v", health.Checks)
	}
	must(t, b.LinkUp(topology.InsideIface))
	must(t, top.WaitFormed(within(t, 20*time.Second), 3))

	// HL6: the link is up, but what is behind it does not answer this node.
	lose := []string{"neigh", "replace", "10.1.0.250", "lladdr", "02:00:00:00:00:99", "dev", topology.InsideIface, "nud", "permanent"}
	out = leaves(t, top, b, func() error { output(t, b.Namespace(), "ip", lose...); return nil })
	t.Logf("a node whose target does not answer is removed after %v", out)
	if out < 2*time.Second {
		t.Errorf("HL6: out after %v, before three probes were lost", out)
	}
	output(t, b.Namespace(), "ip", "neigh", "del", "10.1.0.250", "dev", topology.InsideIface)
	must(t, top.WaitFormed(within(t, 20*time.Second), 3))

	// HL3: a data node that loses its control link is out before its lease would end
	// its forwarding, and comes back when it is mended.
	out = leaves(t, top, b, func() error { return b.LinkDown(topology.CCLIface) })
	t.Logf("a node without its control link is removed after %v", out)
	must(t, b.LinkUp(topology.CCLIface))
	must(t, top.WaitFormed(within(t, 20*time.Second), 3))

	// EL9: all lose the same interface; somebody is always left.
	for _, n := range top.Nodes {
		must(t, n.LinkDown(topology.InsideIface))
	}
	for until := time.Now().Add(2 * time.Second); time.Now().Before(until); { // two debounces and more
		if len(members(t, top)) == 0 {
			t.Fatal("EL9: nobody is left")
		}
	}
	for _, n := range top.Nodes {
		must(t, n.LinkUp(topology.InsideIface))
	}
	must(t, top.WaitFormed(within(t, 20*time.Second), 3))

	// EL10: removed at another node, it is disabled, also after a restart.
	done, err := a.API().Act(t.Context(), api.VerbRemove, b.Name)
	if err != nil || !done.Done {
		t.Fatalf("remove: %+v, %v", done, err)
	}
	must(t, b.RestartDaemon())
	must(t, b.WaitReady(within(t, 20*time.Second)))
	for until := time.Now().Add(time.Second); time.Now().Before(until); { // it would be in by then
		if got := members(t, top); len(got) != 2 || slices.Contains(got, b.Name) {
			t.Fatalf("EL10: members %v after the removal", got)
		}
	}
	if info, err := b.API().Info(t.Context()); err != nil || info.State != "disabled" {
		t.Errorf("EL10: %+v, %v", info, err)
	}
	if done, err := b.API().Act(t.Context(), api.VerbEnable, ""); err != nil || !done.Done {
		t.Fatalf("enable: %+v, %v", done, err)
	}
	must(t, top.WaitFormed(within(t, 20*time.Second), 3))
	if _, err := a.API().Act(t.Context(), api.VerbBreak, ""); err != nil {
		t.Fatal(err)
	}
	if got := members(t, top); len(got) != 0 {
		t.Errorf("EL10: members %v of a cluster that is no more", got)
	}
	if out := output(t, router, "ping", "-c", "1", "-W", "1", "10.1.0.1"); !strings.Contains(out, " 0 received") {
		t.Errorf("HL5: a disabled node answers on a data interface:\n%s", out)
	}
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// members are the nodes that say that they are in sync.
func members(t *testing.T, top *topology.Topology) (names []string) {
	t.Helper()
	for _, n := range top.Nodes {
		if info, err := n.API().Info(t.Context()); err == nil && info.State == "in sync" {
			names = append(names, n.Name)
		}
	}
	return names
}

// leaves does something to a node and says how long it takes until the view of all
// others is without it.
func leaves(t *testing.T, top *topology.Topology, n *topology.Node, do func() error) time.Duration {
	t.Helper()
	began := time.Now()
	must(t, do())
	ctx := within(t, 20*time.Second)
	for _, o := range top.Nodes {
		for o != n {
			info, err := o.API().Info(ctx)
			must(t, err)
			if !slices.ContainsFunc(info.Members, func(m api.Member) bool { return m.Name == n.Name }) {
				break
			}
			pause(t, ctx, 5*time.Millisecond)
		}
	}
	return time.Since(began)
}

// reach waits until an address answers, and is at the node.
func reach(t *testing.T, from *netns.Namespace, address string, n *topology.Node) {
	t.Helper()
	mac := strings.Fields(output(t, n.Namespace(), "ip", "-o", "link", "show", topology.InsideIface) + " link/ether ?")
	want := mac[slices.Index(mac, "link/ether")+1]
	ctx := within(t, 20*time.Second)
	for {
		ping := output(t, from, "ping", "-c", "1", "-W", "0.2", address) // one that is lost on the move says nothing
		at := output(t, from, "ip", "neigh", "show", address)
		if strings.Contains(ping, " 1 received") && strings.Contains(at, want) {
			return
		}
		if ctx.Err() != nil {
			t.Fatalf("%s is not at %s (%s): %s\n%s", address, n.Name, want, at, ping)
		}
		pause(t, ctx, 20*time.Millisecond)
	}
}

func pause(t *testing.T, ctx context.Context, d time.Duration) {
	t.Helper()
	select {
	case <-time.After(d):
	case <-ctx.Done():
		t.Fatal(ctx.Err())
	}
}
