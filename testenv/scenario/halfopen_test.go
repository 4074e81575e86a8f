package scenario

import (
	"fmt"
	"io"
	"net/netip"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"cohort/testenv/topology"
	"cohort/testenv/traffic"
)

// TestFR5_TR2_AHalfOpenConnectionIsFoundOut: the client's kernel forgets a connection
// that the server keeps, and opens the next one from the same port. The server answers
// with what it expects in the old one, the client resets that, and connects (RFC 9293,
// 3.5.1): whether the cluster still has the old one or not, and with numbers that nodes
// give and those of clients.
func TestFR5_TR2_AHalfOpenConnectionIsFoundOut(t *testing.T) {
	for _, own := range []bool{false, true} {
		t.Run(fmt.Sprintf("randomization_%v", !own), func(t *testing.T) {
			t.Parallel()
			top := formed(t, topology.Config{Nodes: 3, OwnNumbers: own, Timeouts: "{tcp_established: 4s}"})
			to := netip.AddrPortFrom(top.Servers[0].Addr, 8080)
			server, err := traffic.ServeEcho(top.Servers[0].Namespace, to)
			must(t, err)
			defer server.Close()
			ctx := within(t, 60*time.Second)
			known := func() (any bool) {
				for _, n := range top.Nodes {
					any = any || len(connsOf(t, n, 'O')) > 0
				}
				return any
			}
			for i, forgotten := range []bool{true, false} {
				port := uint16(33333 + i)
				for attempt := range 2 {
					begin := time.Now()
					c, err := top.Clients[0].Namespace.DialTCPFrom(within(t, 15*time.Second), port, to)
					if err != nil {
						t.Fatalf("the cluster has forgotten the old one: %v; attempt %d: %v", forgotten, attempt, err)
					}
					t.Logf("forgotten %v, attempt %d: connected after %v", forgotten, attempt, time.Since(begin))
					must(t, c.SetDeadline(time.Now().Add(15*time.Second)))
					_, err = c.Write([]byte("hello"))
					must(t, err)
					_, err = io.ReadFull(c, make([]byte, 5))
					must(t, err)
					if attempt == 1 {
						must(t, c.Close())
						continue
					}
					// A socket under repair goes without a word.
					raw, err := c.SyscallConn()
					must(t, err)
					must(t, raw.Control(func(fd uintptr) { err = unix.SetsockoptInt(int(fd), unix.IPPROTO_TCP, unix.TCP_REPAIR, 1) }))
					must(t, err)
					must(t, c.Close())
					for forgotten && known() {
						pause(t, ctx, 50*time.Millisecond)
					}
				}
			}
		})
	}
}
