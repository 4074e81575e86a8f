package scenario

import (
	"bytes"
	"fmt"
	"net"
	"net/netip"
	"strings"
	"testing"
	"time"

	"cohort/packet"
	"cohort/packet/packettest"
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

// TestFR10_HostileFragments sends what only attacks send, and the rest of datagrams whose
// first fragment never comes: each has a name, and nothing of it reaches the server.
func TestFR10_HostileFragments(t *testing.T) {
	t.Parallel()
	top := formed(t, topology.Config{Spray: true})
	client, server := top.Clients[0], top.Servers[0]
	raw, err := client.Namespace.ListenPacket("ip4:255", client.Addr.String())
	if err != nil {
		t.Fatal(err)
	}
	defer raw.Close()
	key := packet.FlowKey{Src: packet.AddrFrom(client.Addr), Dst: packet.AddrFrom(server.Addr), SrcPort: 5000, DstPort: 7007, Proto: packet.ProtoUDP}
	tcp := key
	tcp.Proto = packet.ProtoTCP
	id := uint16(0)
	send := func(list ...packettest.Spec) {
		id++
		for _, s := range list {
			s.ID = id
			if _, err := raw.WriteTo(packettest.Build(s)[packet.EthernetLen:], &net.IPAddr{IP: server.Addr.AsSlice()}); err != nil {
				t.Fatal(err)
			}
		}
	}
	body := make([]byte, 72)
	first := packettest.Spec{Key: key, MoreFragments: true, Payload: body} // 80 bytes
	const each = 10
	for range each {
		send(first, packettest.Spec{Key: key, FragOffset: 64, Payload: body[:8]})          // teardrop
		send(packettest.Spec{Key: tcp, FragOffset: 8, MoreFragments: true, Payload: body}) // the flags
		send(packettest.Spec{Key: key, FragOffset: 65528, Payload: body})                  // ping of death
		send(packettest.Spec{Key: key, FragOffset: 80, Payload: body})                     // no first one
		rest := packettest.Spec{Key: key, FragOffset: 80, MoreFragments: true, Payload: body}
		send(first, rest, rest)
	}
	for name, want := range map[string]uint64{
		"slow_fragment_overlap": each, "slow_tiny_fragment": each, "slow_bad_fragment": each, "slow_fragment_timeout": each, "slow_fragment_duplicate": each,
	} {
		got := uint64(0)
		for end := time.Now().Add(30 * time.Second); got < want && time.Now().Before(end); time.Sleep(50 * time.Millisecond) {
			got = counter(t, top, name)
		}
		// Of a teardrop both parts go if the second was the first to arrive.
		if got < want || got > want && (name != "slow_fragment_overlap" || got > 2*want) {
			t.Errorf("%s is %d, want %d", name, got, want)
		}
	}
	for _, n := range top.Nodes {
		balanced(t, n)
	}
}
