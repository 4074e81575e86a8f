package behaviour

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"sync"
	"testing"
	"time"

	"cohort/testenv/topology"
)

// protocolsWithoutPorts has a host behind a pool of ports speak protocols that have
// none. The routers lead them to any node, and one node has the block that serves: no
// packet is lost on the way to it, and no block is asked for (NT3).
func protocolsWithoutPorts(t *testing.T, s *site) {
	leases := counter(t, s.Topology, "leases_in")
	for i := range byte(12) {
		remote, proto := netip.AddrFrom4([4]byte{192, 0, 2, 110 + i}), 50-3*int(i%2) // ESP and GRE
		addAddress(t, s.server, netip.PrefixFrom(remote, 24))
		from, to := rawSocket(t, s.plain, s.plain.Addr, proto), rawSocket(t, s.server, remote, proto)
		var serving sync.WaitGroup
		as := make(map[netip.Addr]bool)
		serving.Go(func() {
			b := make([]byte, 1500)
			for {
				n, peer, err := to.ReadFromIP(b)
				if errors.Is(err, net.ErrClosed) {
					return
				}
				if err == nil {
					addr, _ := netip.AddrFromSlice(peer.IP)
					as[addr.Unmap()] = true
					to.WriteToIP(b[:n], peer)
				}
			}
		})
		for i := range 4 {
			said := fmt.Sprintf("packet %d of protocol %d to %v", i, proto, remote)
			if _, err := from.WriteToIP([]byte(said), &net.IPAddr{IP: remote.AsSlice()}); err != nil {
				t.Fatal(err)
			}
			b := make([]byte, 1500)
			if err := from.SetReadDeadline(time.Now().Add(5 * time.Second)); err != nil {
				t.Fatal(err)
			}
			n, _, err := from.ReadFromIP(b)
			if errors.Is(err, os.ErrDeadlineExceeded) {
				t.Errorf("%s: no answer", said)
				break
			}
			if err != nil || string(b[:n]) != said {
				t.Fatalf("%s: %q, %v", said, b[:n], err)
			}
		}
		from.Close()
		to.Close()
		serving.Wait()
		if len(as) != 1 || !as[egress] {
			t.Errorf("%v, protocol %d: the server saw %v, want %v", remote, proto, as, egress)
		}
	}
	if n := counter(t, s.Topology, "leases_in") - leases; n != 0 {
		t.Errorf("%d blocks were leased", n)
	}
}

func rawSocket(t *testing.T, h *topology.Host, at netip.Addr, proto int) *net.IPConn {
	t.Helper()
	c, err := h.Namespace.ListenPacket(fmt.Sprintf("ip4:%d", proto), at.String())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	return c.(*net.IPConn)
}
