package scenario

import (
	"context"
	"fmt"
	"net/netip"
	"slices"
	"testing"
	"time"

	"cohort/api"
	"cohort/testenv/topology"
	"cohort/testenv/traffic"
)

const egress = "{pools: {egress: {addresses: 203.0.113.10}}, rules: [{name: out, type: dynamic-pat, from: inside, to: outside, source: 10.0.0.0/8, pool: egress}]}"

// ways are the packets that were forwarded, by all nodes.
type ways struct{ link, all uint64 }

func waysOf(t *testing.T, top *topology.Topology) (w ways) {
	t.Helper()
	for _, name := range []string{"forward_ccl", "forward_steered"} { // once each, where it entered
		w.link += counter(t, top, name)
	}
	w.all = w.link
	for _, name := range []string{"forward_owner", "forward_delegated"} {
		w.all += counter(t, top, name)
	}
	return w
}

// TestDESIGN5_LinkShareOfALongTransfer: a translated TCP connection whose packets
// enter at any of four nodes, each at a node of its own. In the steady state they
// leave where they enter. With forwarding: owner-only three in four cross the link.
// Then its owner dies, and later another node: it goes on, byte by byte.
func TestDESIGN5_LinkShareOfALongTransfer(t *testing.T) {
	for name, ownerOnly := range map[string]bool{"delegate": false, "owner-only": true} {
		t.Run(name, func(t *testing.T) {
			top := formed(t, topology.Config{Nodes: 4, Spray: true, NAT: egress, OwnerOnly: ownerOnly})
			client := top.Clients[0].Namespace
			to := netip.AddrPortFrom(top.Servers[0].Addr, 8080)
			const rate = 2 << 20
			server, err := traffic.ServeHTTP(top.Servers[0].Namespace, to, rate)
			must(t, err)
			defer server.Close()
			ctx := within(t, 100*time.Second)
			const size = int64(rate * 40) // ended by Hurry, as soon as all is seen
			var d traffic.Download
			ended := make(chan error, 1)
			go func() { ended <- d.Run(ctx, client, to, size, 20*time.Second) }()
			if !ownerOnly {
				eventually(t, ctx, func() bool { return len(delegates(t, top, to.Port())) == 3 }, "three delegates")
			}
			underWay(t, ctx, &d, rate) // what was on its way then has left
			before := waysOf(t, top)
			pause(t, ctx, lease+time.Second) // each was renewed or is over
			after := waysOf(t, top)
			share := float64(after.link-before.link) / float64(after.all-before.all)
			t.Logf("%d packets, %.2f %% of them over the link", after.all-before.all, 100*share)
			switch {
			case after.all-before.all < 3500:
				t.Errorf("only %d packets", after.all-before.all)
			case ownerOnly && (share < 0.6 || counter(t, top, "forward_delegated") != 0):
				t.Errorf("%.1f %% over the link, %d delegated, although only the owner forwards", 100*share, counter(t, top, "forward_delegated"))
			case !ownerOnly && share > 0.02:
				t.Errorf("%.1f %% of the packets cross the link, want at most 2 %%", 100*share)
			}
			if !ownerOnly {
				killOwnerThenAnother(t, ctx, top, &d)
			}
			server.Hurry()
			if err := <-ended; err != nil {
				t.Fatalf("after %d bytes, longest stall %v: %v", d.Received(), d.Stall(), err)
			}
			t.Logf("longest stall %v", d.Stall().Round(time.Millisecond))
			if !ownerOnly {
				return
			}
			wantAllCounted(t, ctx, top, size)
		})
	}
}

// killOwnerThenAnother waits each time for another owner, and then for more than what
// was on its way.
func killOwnerThenAnother(t *testing.T, ctx context.Context, top *topology.Topology, d *traffic.Download) {
	t.Helper()
	at := ownerOf(t, ctx, top)
	for range 2 {
		if _, err := top.Nodes[at].PowerOff(); err != nil {
			t.Fatal(err)
		}
		// Delegates go on while the dead owner is being noticed: until then nobody owns it.
		at = ownerOf(t, ctx, top)
		underWay(t, ctx, d, 3<<20)
	}
}

// ownerOf waits until a living node owns the transfer, and says which.
func ownerOf(t *testing.T, ctx context.Context, top *topology.Topology) (at int) {
	t.Helper()
	eventually(t, ctx, func() bool {
		at = slices.IndexFunc(top.Nodes, func(n *topology.Node) bool { return n.On() && len(connsOf(t, n, 'O')) > 0 })
		return at >= 0
	}, "somebody owns the transfer")
	return at
}

// underWay waits until so many bytes more have come.
func underWay(t *testing.T, ctx context.Context, d *traffic.Download, bytes int64) {
	t.Helper()
	got := d.Received()
	eventually(t, ctx, func() bool { return d.Received() >= got+bytes }, "the transfer goes on")
}

func connsOf(t *testing.T, n *topology.Node, role rune) (list []api.Conn) {
	t.Helper()
	_, err := n.API().Conns(t.Context(), api.ConnFilter{Port: 8080, Protocol: "tcp", Role: role}, 0, func(c *api.Conn) error {
		list = append(list, *c)
		return nil
	})
	must(t, err)
	return list
}

// wantAllCounted compares what the owner has counted with what the endpoints have
// exchanged, and with what all nodes have sent out.
func wantAllCounted(t *testing.T, ctx context.Context, top *topology.Topology, size int64) {
	t.Helper()
	untilCounted(t, ctx, func() (string, bool) {
		for _, n := range top.Nodes {
			for _, c := range connsOf(t, n, 'O') {
				left := counter(t, top, "forward_owner") + counter(t, top, "forward_owner_ccl") + counter(t, top, "forward_delegated")
				counted, slow := c.Packets[0]+c.Packets[1], counter(t, top, "slow_sent")
				return fmt.Sprintf("the owner counts %d packets, the fast path of all nodes sent %d and Go %d; %d bytes of answers to %d of content", counted, left, slow, c.Bytes[1], size),
					counted >= left && counted <= left+slow && c.Bytes[1] >= uint64(size)
			}
		}
		return "nobody owns the transfer any more", false
	})
}

// untilCounted waits until what was counted is right, and is so 2 s later too: FIN,
// revocation and the last reports of delegates come after the last byte, one of which
// might count something twice. It returns what was said last.
func untilCounted(t *testing.T, ctx context.Context, counts func() (said string, right bool)) string {
	t.Helper()
	for end := time.Now().Add(8 * time.Second); ; pause(t, ctx, 100*time.Millisecond) {
		said, right := counts()
		if right {
			pause(t, ctx, 2*time.Second)
			said, right = counts()
		}
		if right {
			return said
		}
		if time.Now().After(end) {
			t.Fatal(said)
		}
	}
}

// TestFR15_DESIGN5_DelegationsAreCountedAndEnd: what delegates forward is in the owner's
// counters, and when the connection has closed nothing of it is left on any node.
func TestFR15_DESIGN5_DelegationsAreCountedAndEnd(t *testing.T) {
	t.Parallel() // half a minute of it is the time of forward entries that nobody uses
	top := formed(t, topology.Config{Nodes: 4, Spray: true, NAT: egress, Timeouts: "{tcp_time_wait: 20s}"})
	client := top.Clients[0].Namespace
	to := netip.AddrPortFrom(top.Servers[0].Addr, 8080)
	server, err := traffic.ServeHTTP(top.Servers[0].Namespace, to, 4<<20)
	must(t, err)
	defer server.Close()
	ctx := within(t, 100*time.Second)
	size := int64(20 << 20)
	var d traffic.Download
	must(t, d.Run(ctx, client, to, size, 20*time.Second))
	if counter(t, top, "forward_delegated") < 5000 {
		t.Errorf("only %d packets were delegated", counter(t, top, "forward_delegated"))
	}
	wantAllCounted(t, ctx, top, size)
	if all, beside := counter(t, top, "link_state_segments"), counter(t, top, "link_sent_beside"); beside < all*9/10 {
		t.Errorf("%d of %d datagrams of state took the way of packets", beside, all)
	}
	within := time.Now().Add(60 * time.Second)
	for left := 1; left != 0; pause(t, ctx, 200*time.Millisecond) {
		left = 0
		for _, n := range top.Nodes {
			tables, err := n.API().Tables(ctx)
			must(t, err)
			left += tables.Owned + tables.Copies + tables.Forwards + tables.Stubs
		}
		if time.Now().After(within) {
			t.Fatalf("%d entries are left", left)
		}
	}
}
