package scenario

import (
	"strings"
	"testing"
	"time"

	"cohort/testenv/topology"
)

// TestCL3_LinkThatDropsLargePacketsIsNotJoined makes one switch port of the
// control link too small after the cluster has formed: the node behind it may
// not come back, and it says why with the sizes.
func TestCL3_LinkThatDropsLargePacketsIsNotJoined(t *testing.T) {
	top := formed(t, topology.Config{HoldTime: time.Second})
	last := top.Nodes[2]
	if err := last.KillDaemon(); err != nil {
		t.Fatal(err)
	}
	ctx := within(t, 40*time.Second)
	if err := top.WaitFormed(ctx, 2); err != nil {
		t.Fatal(err)
	}
	narrow(t, top, last.Name, 1000)
	if err := last.StartDaemon(); err != nil {
		t.Fatal(err)
	}
	if err := last.WaitReady(ctx); err != nil {
		t.Fatal(err)
	}
	began := time.Now()
	cause := ""
	for cause == "" {
		h, err := last.API().Health(ctx)
		if err != nil {
			t.Fatalf("no MTU verdict: %v", err)
		}
		for _, c := range h.Checks {
			if c.Name == "control link mtu" && !c.OK {
				cause = c.Cause
			}
		}
	}
	t.Logf("after %v: %s", time.Since(began).Round(time.Millisecond), cause)
	for _, size := range []string{"1654", "827"} { // configured and failing; passing
		if !strings.Contains(cause, size) {
			t.Errorf("the error %q does not name %s", cause, size)
		}
	}
	for _, n := range top.Nodes[:2] {
		i, err := n.API().Info(ctx)
		if err != nil {
			t.Fatal(err)
		}
		if len(i.Members) != 2 {
			t.Errorf("%s has %d members, want the two whose link is whole", n.Name, len(i.Members))
		}
	}
	if i, err := last.API().Info(ctx); err != nil || i.State == "in sync" {
		t.Errorf("the node behind the narrow port is %q (%v)", i.State, err)
	}
}

// badPortAtTheStart is a topology of three that does not wait long for who is silent.
const badPortAtTheStart = `
interfaces:
  inside:  {device: in0, trust: 100, cluster_address: 10.1.0.254/24, pool: 10.1.0.1-10.1.0.16, pin: {fw-a: 10.1.0.1, fw-b: 10.1.0.2, fw-c: 10.1.0.3}}
  outside: {device: out0, trust: 0, cluster_address: 198.51.100.254/24, pool: 198.51.100.1-198.51.100.16, pin: {fw-a: 198.51.100.1, fw-b: 198.51.100.2, fw-c: 198.51.100.3}}
health: {hold_time: 1s, election_timeout: 8s}
limits: {connections: 16384, forwards: 16384}
`

// TestCL3_HL3_ABadPortAtTheStartCostsItsNodeAlone starts all nodes after a loss of power,
// and the switch port of the best one carries small packets only. The others are a
// cluster without it.
func TestCL3_HL3_ABadPortAtTheStartCostsItsNodeAlone(t *testing.T) {
	t.Parallel()
	top := formed(t, topology.Config{ClusterYAML: badPortAtTheStart})
	for _, n := range top.Nodes {
		_, err := n.PowerOff()
		must(t, err)
	}
	bad := top.Nodes[0]
	must(t, bad.PowerOn())
	narrow(t, top, bad.Name, 1000)
	for _, n := range top.Nodes[1:] {
		must(t, n.PowerOn())
	}
	ctx := within(t, 40*time.Second)
	for _, n := range top.Nodes[1:] {
		must(t, n.WaitReady(ctx))
		for members := 0; members != 2; pause(t, ctx, 20*time.Millisecond) {
			info, err := n.API().Info(ctx)
			if err != nil {
				t.Fatalf("%s is no member of a cluster of two: %v", n.Name, err)
			}
			members = len(info.Members)
		}
	}
	if info, err := bad.API().Info(ctx); err != nil || info.State == "in sync" {
		t.Errorf("the node behind the bad port is %q (%v)", info.State, err)
	}
}

// narrow lowers the MTU of a node's port on the control link's switch.
func narrow(t *testing.T, top *topology.Topology, node string, mtu int) {
	t.Helper()
	links, err := top.Switch.Netlink().LinkList()
	if err != nil {
		t.Fatal(err)
	}
	var names []string
	for _, l := range links {
		names = append(names, l.Attrs().Name)
		if strings.Contains(l.Attrs().Name, node) && l.Attrs().MTU == 1654 {
			if err := top.Switch.Netlink().LinkSetMTU(l, mtu); err != nil {
				t.Fatal(err)
			}
			return
		}
	}
	t.Fatalf("no port of %s on the switch: %v", node, names)
}
