package scenario

import (
	"context"
	"fmt"
	"net/netip"
	"slices"
	"testing"
	"time"

	"cohort/api"
	"cohort/testenv/campaign"
	"cohort/testenv/topology"
	"cohort/testenv/traffic"
)

// lease is for how long a delegate forwards without word of the owner, at most.
const lease = 2500 * time.Millisecond

// delegates are the nodes that forward connections of a port for another node now.
func delegates(t *testing.T, top *topology.Topology, port uint16) (nodes []*topology.Node) {
	t.Helper()
	for _, n := range top.Nodes {
		if !n.On() {
			continue
		}
		_, err := n.API().Conns(t.Context(), api.ConnFilter{Port: port, Role: api.Forwarder}, 0, func(c *api.Conn) error {
			if d := c.DelegatedFrom; d != nil && d.EndsInMS > 0 && !slices.Contains(nodes, n) {
				nodes = append(nodes, n)
			}
			return nil
		})
		must(t, err)
	}
	return nodes
}

// kernelCounter reads what XDP counted at a node, which may be dead.
func kernelCounter(t *testing.T, n *topology.Node, names ...string) (sum uint64) {
	t.Helper()
	all, err := campaign.Counters(n)
	must(t, err)
	for _, name := range names {
		sum += all[name]
	}
	return sum
}

// TestFR11_DESIGN5_ADelegateDies alone, while it forwards a long transfer, translated,
// whose packets enter anywhere: by the power, and with its daemon killed only, when
// its XDP goes on until its lease is over. The transfer goes on, other connections are
// all there, and the owner has counted every packet but those that the delegate had
// not reported.
func TestFR11_DESIGN5_ADelegateDies(t *testing.T) {
	for name, die := range map[string]func(n *topology.Node) error{ // at once: each mostly waits
		"power": func(n *topology.Node) error { _, err := n.PowerOff(); return err },
		"kill":  func(n *topology.Node) error { return n.KillDaemon() },
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			top := formed(t, topology.Config{Nodes: 4, Spray: true, NAT: egress, HoldTime: 2 * time.Second, Timeouts: "{tcp_time_wait: 30s}"})
			client := top.Clients[0].Namespace
			to, echo := netip.AddrPortFrom(top.Servers[0].Addr, 8080), netip.AddrPortFrom(top.Servers[0].Addr, 7)
			const rate, size = 2 << 20, 80 << 20 // ended by Hurry, as soon as all is seen
			server, err := traffic.ServeHTTP(top.Servers[0].Namespace, to, rate)
			must(t, err)
			defer server.Close()
			echoes, err := traffic.ServeEcho(top.Servers[0].Namespace, echo)
			must(t, err)
			defer echoes.Close()
			ctx := within(t, 100*time.Second)
			silent, err := campaign.OpenTalks(ctx, client, echo, campaign.TalksConfig{Connections: 20, Bytes: 64, Every: time.Second, Timeout: 20 * time.Second})
			must(t, err)
			defer silent.Close()
			silent.Silence(true)

			var d traffic.Download
			ended := make(chan error, 1)
			go func() { ended <- d.Run(ctx, client, to, size, 20*time.Second) }()
			eventually(t, ctx, func() bool { return len(delegates(t, top, 8080)) == 3 }, "three delegates")
			victim := delegates(t, top, 8080)[0]
			owner := slices.IndexFunc(top.Nodes, func(n *topology.Node) bool { return len(connsOf(t, n, 'O')) > 0 })
			if owner < 0 {
				t.Fatal("nobody owns the transfer")
			}
			if lent := connsOf(t, top.Nodes[owner], 'O')[0].LentTo; !slices.ContainsFunc(lent, func(l api.Delegation) bool { return l.Node == victim.Name && l.EndsInMS > 0 }) {
				t.Errorf("%s shows %+v, not that %s forwards", top.Nodes[owner].Name, lent, victim.Name)
			}
			// What was delegated before this moment is reported by the time it dies.
			reported := kernelCounter(t, victim, "forward_delegated")
			pause(t, ctx, 1500*time.Millisecond)
			slow, own := counterOf(t, victim, "slow_sent"), packetsOf(t, victim)
			must(t, die(victim))
			died := time.Now()
			must(t, top.WaitFormed(ctx, 3))
			pause(t, ctx, time.Until(died.Add(lease))) // whatever it had taken is over
			underWay(t, ctx, &d, rate)
			server.Hurry()
			if err := <-ended; err != nil {
				t.Fatalf("after %d bytes, longest stall %v: %v", d.Received(), d.Stall(), err)
			}
			unreported := kernelCounter(t, victim, "forward_delegated") - reported
			wantCountedBut(t, ctx, top, victim, unreported+own, slow)
			silent.Silence(false)
			if lost := silent.Finish(); len(lost) != 0 {
				t.Errorf("%d of 20 other connections were lost: %v", len(lost), lost)
			}
			t.Logf("longest stall %v", d.Stall().Round(time.Millisecond))
		})
	}
}

// packetsOf adds up what a node counts of the connections that it owns.
func packetsOf(t *testing.T, n *topology.Node) (sum uint64) {
	t.Helper()
	_, err := n.API().Conns(t.Context(), api.ConnFilter{Role: api.Owner}, 0, func(c *api.Conn) error {
		sum += c.Packets[0] + c.Packets[1]
		return nil
	})
	must(t, err)
	return sum
}

// wantCountedBut compares what the owners have counted with what all nodes have sent
// out, but so many packets that a dead node took with it. Go had sent slow there.
func wantCountedBut(t *testing.T, ctx context.Context, top *topology.Topology, dead *topology.Node, unknown, slow uint64) {
	t.Helper()
	said := untilCounted(t, ctx, func() (string, bool) {
		var left, counted uint64
		byGo := slow
		for _, n := range top.Nodes {
			left += kernelCounter(t, n, "forward_owner", "forward_owner_ccl", "forward_delegated")
			if n != dead {
				counted += packetsOf(t, n)
				byGo += counterOf(t, n, "slow_sent")
			}
		}
		return fmt.Sprintf("the owners count %d packets; the fast path of all nodes sent %d, of which %d may be unknown, and Go %d", counted, left, unknown, byGo),
			counted+unknown >= left && counted <= left+byGo
	})
	t.Log(said)
}

// TestDESIGN5_MoreConnectionsThanDelegations: what finds no room, where it is lent or
// where it is taken, goes by way of its owner as if there were no delegation. Nothing
// is dropped for it.
func TestDESIGN5_MoreConnectionsThanDelegations(t *testing.T) {
	const room, flows = 16, 60
	top := formed(t, topology.Config{Nodes: 3, Spray: true, NAT: egress, Delegations: room})
	ctx := within(t, 60*time.Second)
	to := netip.AddrPortFrom(top.Servers[0].Addr, 9000)
	v := listen(t, top.Servers[0].Namespace, to, 20*time.Millisecond)
	v.begin(t, top.Clients[0].Namespace, to, flows)
	// A node may be left with room for one more to lend when all others have none to
	// take it, so it is refusals that count.
	eventually(t, ctx, func() bool {
		lent := 0
		for _, n := range top.Nodes {
			tables, err := n.API().Tables(ctx)
			must(t, err)
			lent += tables.Lent
		}
		return lent > (len(top.Nodes)-1)*room && counter(t, top, "delegations_lent_full") > 0 && counter(t, top, "delegations_taken_full") > 0
	}, "no room for more")
	dropped := drops(t, top)
	before, full := waysOf(t, top), counter(t, top, "delegations_lent_full")+counter(t, top, "delegations_taken_full")
	heard := map[*voice]uint64{}
	for _, o := range v.all {
		_, heard[o], _, _ = o.counts()
	}
	pause(t, ctx, 3*time.Second)
	after := waysOf(t, top)
	if now := counter(t, top, "delegations_lent_full") + counter(t, top, "delegations_taken_full"); now == full {
		t.Error("nothing was refused for want of room: nothing was tested")
	}
	if share := float64(after.link-before.link) / float64(after.all-before.all); share < 0.2 || share > 0.9 {
		t.Errorf("%.0f %% of the packets go by way of the owner", 100*share)
	}
	for _, n := range top.Nodes {
		tables, err := n.API().Tables(ctx)
		must(t, err)
		if tables.Lent > room || tables.Delegated > room || tables.MaxDelegations != room {
			t.Errorf("%s has lent %d and taken %d, of %d", n.Name, tables.Lent, tables.Delegated, room)
		}
	}
	for _, o := range v.all {
		if _, now, _, _ := o.counts(); now < heard[o]+20 {
			t.Errorf("flow %d heard %d answers in 3 s", o.id, now-heard[o])
		}
	}
	if now := drops(t, top); now != dropped {
		t.Errorf("%d packets were dropped", now-dropped)
	}
	v.wantOwnPorts(t)
}

// drops are the packets that all nodes have dropped, whatever for.
func drops(t *testing.T, top *topology.Topology) (sum uint64) {
	t.Helper()
	for _, n := range top.Nodes {
		list, err := n.API().Counters(t.Context())
		must(t, err)
		for _, c := range list {
			if c.Kind == api.KindDrop {
				sum += c.Value
			}
		}
	}
	return sum
}

// TestNT4_DESIGN5_ADelegateBeyondAOneWayLink: one direction of its link is cut, and
// the view stands: the hold time is longer than a lease. A delegate that is deaf hears
// of no renewal, one that is mute cannot ask. Both stop when the lease is over, by the
// clock alone. Meanwhile flows end and others begin in a pool so small that these get
// ports of those: none may be used by two at once.
//
// Most of the time of "mute" is the wait for ports, which passes after the link is mended.
// A flow idles out, leaves a tomb on its port for the settle time (cluster/ownership/tomb.go;
// ownership.Config.SettleTime, which node sets to health.hold_time, 3 s at least), and
// hold_down follows.
func TestNT4_DESIGN5_ADelegateBeyondAOneWayLink(t *testing.T) {
	const (
		cutFor   = lease + time.Second
		holdTime = 2 * cutFor // the view stands, however late this machine mends the link; and a port's tomb
		idle     = "5s"       // two leases: what ends sooner is not lent
	)
	const few = "{hold_down: 1s, pools: {egress: {addresses: 203.0.113.10, block_size: 64, max_blocks_per_host: 3}}, rules: [{name: out, type: dynamic-pat, from: inside, to: outside, source: 10.0.0.0/8, pool: egress}]}"
	for name, cut := range map[string]topology.Direction{"deaf": topology.ToNode, "mute": topology.FromNode} {
		t.Run(name, func(t *testing.T) {
			top := formed(t, topology.Config{Nodes: 3, Spray: true, NAT: few, HoldTime: holdTime, Timeouts: "{udp: " + idle + ", udp_stream: " + idle + "}"})
			ctx := within(t, 60*time.Second)
			client, to := top.Clients[0].Namespace, netip.AddrPortFrom(top.Servers[0].Addr, 9000)
			v := listen(t, top.Servers[0].Namespace, to, 40*time.Millisecond)
			v.begin(t, client, to, 90)
			eventually(t, ctx, func() bool { return len(delegates(t, top, 9000)) == 3 }, "all are delegates")
			pause(t, ctx, time.Second)
			x := top.Nodes[2]
			info, err := x.API().Info(ctx)
			must(t, err)
			must(t, x.CutCCL(cut))
			begin := time.Now()
			for _, o := range v.all[:75] {
				o.silence()
			}
			more := 60
			if name == "mute" { // the host has 192 ports: they take what becomes free, as soon as it does
				more = 120
			}
			late := v.begin(t, client, to, more)
			// What a look finds was forwarded after the look before it had begun, however
			// late this machine came to look.
			last, looked, seen := begin, begin, kernelCounter(t, x, "forward_delegated")
			atCut := seen
			for time.Since(begin) < cutFor {
				pause(t, ctx, 50*time.Millisecond)
				looks := time.Now()
				if now := kernelCounter(t, x, "forward_delegated"); now != seen {
					last, seen = looked, now
				}
				looked = looks
			}
			switch over := last.Sub(begin); {
			case seen == atCut:
				t.Error("it forwarded nothing after the cut: nothing was tested")
			case over > lease+200*time.Millisecond:
				t.Errorf("it forwards by itself %v after the cut; a lease lasts %v", over, lease)
			default:
				t.Logf("%d packets by delegation until %v after the cut", seen-atCut, over.Round(10*time.Millisecond))
			}
			if now, err := x.API().Info(ctx); err != nil || now.View != info.View {
				t.Errorf("the view was %s and is %s (%v): it is not the lease that ended this", info.View, now.View, err)
			}
			must(t, x.MendCCL(cut))
			eventually(t, ctx, func() bool {
				return !slices.ContainsFunc(late, func(o *voice) bool { _, heard, _, _ := o.counts(); return heard < 5 })
			}, "all late flows are answered")
			reused := v.wantOwnPorts(t)
			if t.Logf("%d ports went from one flow to another; all flows were answered %v after the cut", reused, time.Since(begin).Round(10*time.Millisecond)); name == "mute" && reused == 0 {
				t.Error("none: nothing was tested")
			}
		})
	}
}
