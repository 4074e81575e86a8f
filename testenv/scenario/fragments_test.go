package scenario

import (
	"bytes"
	"fmt"
	"net/netip"
	"strings"
	"testing"
	"time"

	"cohort/testenv/topology"
)

// TestFR10_Fragments sends datagrams in fragments both ways through a cluster whose routers
// choose a random node for each packet, and which translates the client.
func TestFR10_Fragments(t *testing.T) {
	bothPaths(t, topology.Config{Spray: true, NAT: onePAT}, func(t *testing.T, top *topology.Topology) {
		client, server := top.Clients[0].Namespace, top.Servers[0]
		out := output(t, client, "ping", "-n", "-c", "50", "-i", "0.02", "-W", "5", "-M", "dont", "-s", "4000", server.Addr.String())
		if !strings.Contains(out, " 50 received") {
			t.Errorf("echoes in three fragments:\n%s", out)
		}
		to := netip.AddrPortFrom(server.Addr, 7007)
		l, err := server.Namespace.ListenPacket("udp4", to.String())
		if err != nil {
			t.Fatal(err)
		}
		ended := make(chan struct{})
		go func() {
			defer close(ended)
			for b := make([]byte, 1<<16); ; {
				n, from, err := l.ReadFrom(b)
				if err != nil {
					return
				}
				_, _ = l.WriteTo(b[:n], from)
			}
		}()
		defer func() { l.Close(); <-ended }()
		for _, size := range []int{1473, 8000, 60000} {
			c, err := client.DialUDP(to)
			if err != nil {
				t.Fatal(err)
			}
			sent, got := bytes.Repeat([]byte("cohort "), size/7), make([]byte, 1<<16)
			for i := range 20 {
				sent[0] = byte(i)
				if _, err := c.Write(sent); err != nil {
					t.Fatal(err)
				}
				if err := c.SetReadDeadline(time.Now().Add(5 * time.Second)); err != nil {
					t.Fatal(err)
				}
				if n, err := c.Read(got); err != nil || !bytes.Equal(got[:n], sent) {
					t.Fatalf("datagram %d of %d bytes: %d came back, %v", i, len(sent), n, err)
				}
			}
			c.Close()
		}
		for _, name := range []string{"punt_fragment", "punt_labelled"} {
			if counter(t, top, name) == 0 {
				t.Errorf("%s is 0", name)
			}
		}
		for _, name := range []string{"overlap", "duplicate", "limit", "timeout", "moved"} {
			if n := counter(t, top, fmt.Sprintf("slow_fragment_%s", name)); n != 0 {
				t.Errorf("%d fragments were dropped as slow_fragment_%s", n, name)
			}
		}
		for _, n := range top.Nodes {
			balanced(t, n)
		}
	})
}
