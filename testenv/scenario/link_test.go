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
