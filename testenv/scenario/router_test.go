package scenario

import (
	"bytes"
	"fmt"
	"net/netip"
	"os"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"cohort/testenv/netns"
	"cohort/testenv/topology"
	"cohort/testenv/traffic"
)

// TestTR1_Traceroute sees the cluster as one hop between the two routers, with
// every probe on a path of its own.
func TestTR1_Traceroute(t *testing.T) {
	bothPaths(t, topology.Config{}, func(t *testing.T, top *topology.Topology) {
		client, server := top.Clients[0].Namespace, top.Servers[0].Addr
		for _, how := range [][]string{{"-U"}, {"-T", "-p", "80"}, {"-I"}} {
			args := append([]string{"-n", "-w", "3", "-q", "2", "-m", "6"}, append(how, server.String())...)
			out := output(t, client, "traceroute", args...)
			lines := strings.Split(strings.TrimSpace(out), "\n")
			if len(lines) != 5 {
				t.Fatalf("traceroute %v:\n%s\nwant 4 hops", how, out)
			}
			for hop, want := range map[int]string{2: "10.1.0.", 3: "198.51.100.250", 4: server.String()} {
				if !strings.Contains(lines[hop], want) || strings.Contains(lines[hop], "*") {
					t.Errorf("traceroute %v: hop %d is %q, want %s and no star", how, hop, lines[hop], want)
				}
			}
		}
	})
}

// TestTR1_PathMTU sends through a cluster whose outside is narrower than its
// inside: packets that must not be fragmented are answered with the MTU, and a
// TCP transfer finds its way.
func TestTR1_PathMTU(t *testing.T) {
	bothPaths(t, topology.Config{OutsideMTU: 1400}, func(t *testing.T, top *topology.Topology) {
		client, server := top.Clients[0].Namespace, top.Servers[0]
		out := output(t, client, "ping", "-c", "2", "-W", "2", "-M", "do", "-s", "1372", server.Addr.String())
		if !strings.Contains(out, " 2 received") {
			t.Errorf("packets of exactly the MTU:\n%s", out)
		}
		out = output(t, client, "ping", "-c", "2", "-W", "2", "-M", "do", "-s", "1373", server.Addr.String())
		if !strings.Contains(out, "mtu = 1400") && !strings.Contains(out, "mtu=1400") {
			t.Errorf("one byte more:\n%s\nwant an answer that names MTU 1400", out)
		}
		oneWay(t, client, server, 1450)
		if counter(t, top, "extra_fragments") == 0 {
			t.Error("a packet that may be fragmented was not")
		}
		to := netip.AddrPortFrom(server.Addr, 8080)
		echo, err := traffic.ServeEcho(server.Namespace, to)
		if err != nil {
			t.Fatal(err)
		}
		defer echo.Close()
		r := traffic.TCP(within(t, 60*time.Second), client, to, traffic.TCPLoad{Connections: 20, Rounds: 3, Bytes: 20000})
		if err := r.Err(); err != nil {
			t.Error(err)
		}
	})
}

// oneWay sends a datagram without DF, as large as the client's own interface
// takes it, that its receiver must get whole.
func oneWay(t *testing.T, from *netns.Namespace, server *topology.Host, size int) {
	t.Helper()
	to := netip.AddrPortFrom(server.Addr, 9)
	l, err := server.Namespace.ListenPacket("udp4", to.String())
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	c, err := from.DialUDP(to)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	raw, err := c.SyscallConn()
	if err != nil {
		t.Fatal(err)
	}
	err = raw.Control(func(fd uintptr) {
		if err := unix.SetsockoptInt(int(fd), unix.IPPROTO_IP, unix.IP_MTU_DISCOVER, unix.IP_PMTUDISC_INTERFACE); err != nil {
			t.Error(err)
		}
	})
	if err != nil {
		t.Fatal(err)
	}
	sent := bytes.Repeat([]byte("cohort"), size/6)
	if _, err := c.Write(sent); err != nil {
		t.Fatal(err)
	}
	if err := l.SetReadDeadline(time.Now().Add(5 * time.Second)); err != nil {
		t.Fatal(err)
	}
	got := make([]byte, 2*size)
	if n, _, err := l.ReadFrom(got); err != nil || !bytes.Equal(got[:n], sent) {
		t.Errorf("fragmented datagram of %d bytes: %d came, %v", len(sent), n, err)
	}
}

// TestTR1_TrafficToTheNodeItself reaches the host: ping and a TCP service on
// every node's own addresses.
func TestTR1_TrafficToTheNodeItself(t *testing.T) {
	top := formed(t, topology.Config{})
	client := top.Clients[0].Namespace
	for _, n := range top.Nodes {
		l, err := n.Namespace().Listen("0.0.0.0:179")
		if err != nil {
			t.Fatal(err)
		}
		accepted := make(chan error, 1)
		go func() {
			c, err := l.Accept()
			if err == nil {
				err = c.Close()
			}
			accepted <- err
		}()
		for _, a := range []netip.Addr{n.Inside} {
			if out := output(t, client, "ping", "-c", "2", "-W", "2", a.String()); !strings.Contains(out, " 2 received") {
				t.Errorf("ping %s at %v:\n%s", n.Name, a, out)
			}
			c, err := client.DialTCP(within(t, 10*time.Second), netip.AddrPortFrom(a, 179))
			if err != nil {
				t.Errorf("tcp to %s at %v: %v", n.Name, a, err)
				l.Close()
			} else {
				c.Close()
			}
			if err := <-accepted; err != nil {
				t.Error(err)
			}
		}
		l.Close()
	}
}

// TestTR1_JumboFrames crosses with a data MTU of 9000, forwarded and not.
func TestTR1_JumboFrames(t *testing.T) {
	bothPaths(t, topology.Config{MTU: 9000, Spray: true}, func(t *testing.T, top *topology.Topology) {
		client, server := top.Clients[0].Namespace, top.Servers[0].Addr
		out := output(t, client, "ping", "-c", "20", "-i", "0.05", "-W", "2", "-M", "do", "-s", "8972", server.String())
		if !strings.Contains(out, "20 received") {
			t.Errorf("pings of 9000 bytes, sprayed:\n%s", out)
		}
	})
}

// TestTR2_DefaultDenyInward lets nothing begin from the outside but what a rule
// allows.
func TestTR2_DefaultDenyInward(t *testing.T) {
	cfg := topology.Config{Rules: []string{"{name: web-in, from: outside, to: inside, protocol: tcp, ports: [8080], action: allow}"}}
	bothPaths(t, cfg, func(t *testing.T, top *topology.Topology) {
		outside, inside := top.Servers[0].Namespace, top.Clients[0]
		for _, port := range []uint16{8080, 8081} {
			echo, err := traffic.ServeEcho(inside.Namespace, netip.AddrPortFrom(inside.Addr, port))
			if err != nil {
				t.Fatal(err)
			}
			defer echo.Close()
		}
		r := traffic.TCP(within(t, 30*time.Second), outside, netip.AddrPortFrom(inside.Addr, 8080), traffic.TCPLoad{Connections: 50})
		if err := r.Err(); err != nil {
			t.Errorf("allowed by rule: %v", err)
		}
		before := counter(t, top, "slow_policy_denied")
		r = traffic.TCP(within(t, 30*time.Second), outside, netip.AddrPortFrom(inside.Addr, 8081), traffic.TCPLoad{Connections: 3, AtOnce: 3, Timeout: 2 * time.Second})
		if r.Done != 0 {
			t.Errorf("%d connections to a port without a rule came through", r.Done)
		}
		if denied := counter(t, top, "slow_policy_denied") - before; denied < 3 {
			t.Errorf("%d packets counted as policy_denied, want at least the 3 SYNs", denied)
		}
		if out := output(t, outside, "ping", "-c", "1", "-W", "1", inside.Addr.String()); !strings.Contains(out, " 0 received") {
			t.Errorf("ping from the outside:\n%s", out)
		}
	})
}

// TestHL5_NoWayAroundTheDataplane looks that the kernel of a node never
// forwards: not while the daemon runs, and not after it is gone for good.
func TestHL5_NoWayAroundTheDataplane(t *testing.T) {
	top := formed(t, topology.Config{HoldTime: time.Second})
	client, server := top.Clients[0].Namespace, top.Servers[0].Addr
	for _, n := range top.Nodes {
		err := n.Namespace().Do(func() error {
			b, err := os.ReadFile("/proc/thread-self/net/snmp")
			if err != nil {
				return err
			}
			if !strings.Contains(string(b), "Ip: 2 ") { // 1 would be "forwarding"
				return fmt.Errorf("the kernel forwards: %.60q", b)
			}
			return nil
		})
		if err != nil {
			t.Errorf("node %s: %v", n.Name, err)
		}
		if err := n.KillDaemon(); err != nil {
			t.Fatal(err)
		}
	}
	ctx := within(t, 20*time.Second)
	for _, r := range []*topology.Router{top.Inside, top.Outside} {
		for i := range top.Nodes {
			if _, err := r.Tracker().Wait(ctx, i, false); err != nil {
				t.Fatalf("a router still sees node %d, whose daemon is dead: %v", i+1, err)
			}
		}
	}
	// Straight at a node, as a router without tracking would.
	for _, n := range top.Nodes {
		if out := output(t, top.Inside.Namespace, "ping", "-c", "1", "-W", "1", n.Inside.String()); !strings.Contains(out, " 0 received") {
			t.Errorf("node %s answers pings on a data interface without a lease:\n%s", n.Name, out)
		}
	}
	if out := output(t, client, "ping", "-c", "1", "-W", "1", server.String()); strings.Contains(out, " 1 received") {
		t.Errorf("a cluster without daemons forwards:\n%s", out)
	}
}
