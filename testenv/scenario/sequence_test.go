package scenario

import (
	"fmt"
	"io"
	"net"
	"net/netip"
	"os"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"cohort/packet"
	"cohort/testenv/line"
	"cohort/testenv/netns"
	"cohort/testenv/sniff"
	"cohort/testenv/topology"
	"cohort/testenv/traffic"
)

// numbers are the initial sequence numbers of SYNs at a host, by the client's port.
type numbers struct {
	mu sync.Mutex
	of map[uint16]uint32
	p  packet.Packet
}

func (n *numbers) see(frame []byte, _ bool) {
	if n.p.Parse(frame) != packet.OK || n.p.Proto != packet.ProtoTCP || n.p.Flags&(packet.SYN|packet.ACK) != packet.SYN {
		return
	}
	n.mu.Lock()
	n.of[n.p.Key.SrcPort] = n.p.Seq
	n.mu.Unlock()
}

// atBothEnds listens to the SYNs of client and server until stop.
func atBothEnds(t *testing.T, top *topology.Topology) (sent, got *numbers, stop func()) {
	t.Helper()
	sent, got = &numbers{of: map[uint16]uint32{}}, &numbers{of: map[uint16]uint32{}}
	var taps []*sniff.Tap
	for ns, n := range map[*netns.Namespace]*numbers{top.Clients[0].Namespace: sent, top.Servers[0].Namespace: got} {
		tap, err := sniff.Open(ns, "eth0", n.see)
		must(t, err)
		taps = append(taps, tap)
	}
	return sent, got, func() {
		for _, tap := range taps {
			if lost, err := tap.Close(); err != nil || lost != 0 {
				t.Errorf("a tap lost %d frames: %v", lost, err)
			}
		}
	}
}

// TestFR5_SynAcksAskNobody: connections whose two directions enter at different
// nodes (ECMP). With sequence randomization the server sees other numbers than the
// client sends, and no node asks anybody; without, the numbers are the client's, and
// SYN-ACKs are asked about.
func TestFR5_SynAcksAskNobody(t *testing.T) {
	for _, on := range []bool{true, false} {
		t.Run(fmt.Sprintf("randomization_%v", on), func(t *testing.T) {
			top := formed(t, topology.Config{Nodes: 4, OwnNumbers: !on})
			to := netip.AddrPortFrom(top.Servers[0].Addr, 8080)
			server, err := traffic.ServeEcho(top.Servers[0].Namespace, to)
			must(t, err)
			defer server.Close()
			sent, got, stop := atBothEnds(t, top)
			ctx := within(t, 30*time.Second)
			const n = 60
			for range n {
				c, err := top.Clients[0].Namespace.DialTCP(ctx, to)
				must(t, err)
				_, err = c.Write([]byte("hello"))
				must(t, err)
				_, err = io.ReadFull(c, make([]byte, 5))
				must(t, err)
				must(t, c.Close())
			}
			stop()
			if len(sent.of) != n || len(got.of) != n {
				t.Fatalf("%d SYNs left, %d arrived, want %d", len(sent.of), len(got.of), n)
			}
			kept := 0
			for port, isn := range sent.of {
				if got.of[port] == isn {
					kept++
				}
			}
			queries, led := counter(t, top, "queries_sent"), counter(t, top, "syn_acks_sequenced")
			t.Logf("%d connections: %d numbers kept, %d queries, %d SYN-ACKs led by their number, %d over the link in XDP", n, kept, queries, led, counter(t, top, "forward_ccl"))
			switch {
			case on && (kept != 0 || queries != 0 || led < n/2):
				t.Errorf("want no number kept, no query, and most SYN-ACKs led")
			case !on && (kept != n || queries < n/2 || led != 0):
				t.Errorf("want all numbers kept, and most SYN-ACKs asked about")
			}
		})
	}
}

// TestFR5_SACKIsUnderstoodThroughLossAndDeath: a client sends much through nodes that
// every packet picks anew, over a control link that loses some, so the server's
// acknowledgements are selective ones; the server sends it all back. The owner dies in
// the middle. What arrives is what was sent, and the client's kernel has used every
// selective acknowledgement and refused none.
func TestFR5_SACKIsUnderstoodThroughLossAndDeath(t *testing.T) {
	for _, c := range []struct {
		name          string
		on, ownerOnly bool
	}{{"owner", true, true}, {"delegates", true, false}, {"off", false, true}} {
		t.Run(c.name, func(t *testing.T) {
			top := formed(t, topology.Config{Nodes: 3, HoldTime: time.Second, Spray: true, OwnerOnly: c.ownerOnly, OwnNumbers: !c.on})
			to := netip.AddrPortFrom(top.Servers[0].Addr, 8080)
			server, err := traffic.ServeEcho(top.Servers[0].Namespace, to)
			must(t, err)
			defer server.Close()
			for i, n := range top.Nodes {
				l, err := n.LineCCL(uint64(10 * (i + 1)))
				must(t, err)
				must(t, l.Set(line.AtoB, line.Fault{Loss: 5}))
			}
			sent, got, stop := atBothEnds(t, top)
			ctx := within(t, 80*time.Second)
			client := top.Clients[0].Namespace
			before := tcpCounters(t, client)
			conn, err := client.DialTCP(ctx, to)
			must(t, err)
			defer conn.Close()
			stop()
			port := conn.LocalAddr().(*net.TCPAddr).AddrPort().Port()
			if same := sent.of[port] == got.of[port]; same == c.on {
				t.Errorf("the client's number is %d, the server got %d", sent.of[port], got.of[port])
			}
			e := newEcho(ctx, conn)
			const size = 12 << 20
			go e.send(size)
			go e.receive(size)
			for e.received.Load() < size/4 {
				pause(t, ctx, 20*time.Millisecond)
			}
			at := slices.IndexFunc(top.Nodes, func(n *topology.Node) bool { return len(connsOf(t, n, 'O')) > 0 })
			if at < 0 {
				t.Fatal("nobody owns the connection")
			}
			_, err = top.Nodes[at].PowerOff()
			must(t, err)
			if err := e.wait(); err != nil {
				t.Fatalf("after %d of %d bytes: %v", e.received.Load(), size, err)
			}
			after := tcpCounters(t, client)
			var report []string
			for _, name := range []string{"TCPSackRecovery", "TCPSACKReorder", "TCPSACKDiscard", "TCPSackShifted", "TCPSackMerged", "TCPDSACKRecv", "TCPTimeouts", "TCPChallengeACK"} {
				report = append(report, fmt.Sprintf("%s %d", name, after[name]-before[name]))
			}
			t.Logf("%d bytes back and forth; client: %s", size, strings.Join(report, ", "))
			if after["TCPSACKDiscard"] != before["TCPSACKDiscard"] {
				t.Errorf("selective acknowledgements were refused: %d", after["TCPSACKDiscard"]-before["TCPSACKDiscard"])
			}
			if after["TCPSackRecovery"]+after["TCPSACKReorder"] == before["TCPSackRecovery"]+before["TCPSACKReorder"] {
				t.Errorf("no selective acknowledgement was of use: the test proves nothing")
			}
			if delegated := counter(t, top, "forward_delegated"); c.ownerOnly != (delegated == 0) {
				t.Errorf("%d packets were delegated", delegated)
			}
		})
	}
}

// tcpCounters are those that nstat calls TcpExt, without the prefix.
func tcpCounters(t *testing.T, n *netns.Namespace) map[string]uint64 {
	t.Helper()
	var text []byte
	must(t, n.Do(func() (err error) {
		text, err = os.ReadFile("/proc/thread-self/net/netstat")
		return err
	}))
	lines := strings.Split(string(text), "\n")
	all := map[string]uint64{}
	for i := 0; i+1 < len(lines); i += 2 {
		names, values := strings.Fields(lines[i]), strings.Fields(lines[i+1])
		if len(names) == 0 || names[0] != "TcpExt:" {
			continue
		}
		for j := 1; j < len(names); j++ {
			all[names[j]], _ = strconv.ParseUint(values[j], 10, 64)
		}
	}
	return all
}
