package behaviour

import (
	"net"
	"net/netip"
	"testing"
	"time"

	"cohort/testenv/topology"
)

// hairpinStatic reaches an inside host from inside by its public address: it
// must see a public address, and its answers come from where they were asked.
func hairpinStatic(t *testing.T, s *site) {
	serveMirror(t, s.static, 8081)
	serveMirror(t, s.forward, 8080)
	for _, c := range []struct{ network, to string }{
		{"tcp", "203.0.113.80:8081"},
		{"udp", "203.0.113.80:8081"},
		{"tcp", "203.0.113.10:80"},
		{"udp", "203.0.113.10:53"},
	} {
		for from, as := range map[*topology.Host]netip.Addr{s.plain: egress, s.static: netip.MustParseAddr("203.0.113.80")} {
			// A connected socket takes nothing from another address.
			if _, mapped := seen(t, from, c.network, netip.MustParseAddrPort(c.to)); mapped.Addr() != as {
				t.Errorf("%s of %s to %s: seen as %v, want %v (REQ-9a)", c.network, from.Name, c.to, mapped, as)
			}
		}
	}
}

// hairpinMapping lets inside hosts talk to an endpoint that a server outside
// told one of them, as peer-to-peer programs do: whoever sends to it must be
// seen by its own public address there, and the answers come back.
func hairpinMapping(t *testing.T, s *site) {
	m := serveMirror(t, s.server, 9002)
	target := open(t, s.open)
	target.mapped = target.learn(t, m.at)
	talks := func(t *testing.T, from *socket, as func(netip.AddrPort) bool) {
		t.Helper()
		from.send(t, target.mapped, "hello")
		text, seen := target.receive(t)
		if text != "hello" || !as(seen) {
			t.Fatalf("%q from %v (REQ-9a)", text, seen)
		}
		target.send(t, seen, "you too")
		if text, by := from.receive(t); text != "you too" || by != target.mapped {
			t.Fatalf("%q from %v, want it from %v", text, by, target.mapped)
		}
	}
	t.Run("from a port pool", func(t *testing.T) {
		talks(t, open(t, s.plain), func(seen netip.AddrPort) bool { return seen.Addr() == egress })
	})
	t.Run("from a static address", func(t *testing.T) {
		from := open(t, s.static)
		from.mapped = from.learn(t, m.at)
		talks(t, from, func(seen netip.AddrPort) bool { return seen == from.mapped })
	})
	for _, host := range []*topology.Host{s.closed, s.open} {
		t.Run("from a mapping of "+host.Name, func(t *testing.T) {
			from := open(t, host)
			from.mapped = from.learn(t, m.at)
			talks(t, from, func(seen netip.AddrPort) bool { return seen == from.mapped })
			if again := from.learn(t, m.at); again != from.mapped {
				t.Errorf("the mapping was %v and is %v", from.mapped, again)
			}
		})
	}
	// A filter that depends on address and port holds for the inside as well.
	t.Run("filtered", func(t *testing.T) {
		closed := open(t, s.closed)
		closed.mapped = closed.learn(t, m.at)
		before := counter(t, s.Topology, "slow_nat_filtered")
		open(t, s.plain).send(t, closed.mapped, "nobody asked you")
		eventually(t, "the filter counts", func() bool { return counter(t, s.Topology, "slow_nat_filtered") == before+1 })
		if again := closed.learn(t, m.at); again != closed.mapped { // and nothing else was received
			t.Errorf("the mapping was %v and is %v", closed.mapped, again)
		}
	})
	if again := target.learn(t, m.at); again != target.mapped {
		t.Errorf("the mapping was %v and is %v", target.mapped, again)
	}
}

// socket is a UDP socket that talks to everybody.
type socket struct {
	*net.UDPConn
	mapped netip.AddrPort
}

func open(t *testing.T, h *topology.Host) *socket { t.Helper(); return openAt(t, h, 0) }

func openAt(t *testing.T, h *topology.Host, port uint16) *socket {
	t.Helper()
	c, err := h.Namespace.ListenPacket("udp4", netip.AddrPortFrom(h.Addr, port).String())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	return &socket{UDPConn: c.(*net.UDPConn)}
}

func (c *socket) port() uint16 { return local(c).Port() }

func (c *socket) send(t *testing.T, to netip.AddrPort, text string) {
	t.Helper()
	if _, err := c.WriteToUDPAddrPort([]byte(text), to); err != nil {
		t.Fatal(err)
	}
}

func (c *socket) receive(t *testing.T) (text string, from netip.AddrPort) {
	t.Helper()
	b := make([]byte, 100)
	c.SetReadDeadline(time.Now().Add(10 * time.Second))
	n, from, err := c.ReadFromUDPAddrPort(b)
	if err != nil {
		t.Fatalf("the socket seen as %v: %v", c.mapped, err)
	}
	return string(b[:n]), netip.AddrPortFrom(from.Addr().Unmap(), from.Port())
}

// learn asks a mirror how it sees this socket.
func (c *socket) learn(t *testing.T, at netip.AddrPort) netip.AddrPort {
	t.Helper()
	c.send(t, at, "?")
	text, from := c.receive(t)
	if from != at {
		t.Fatalf("an answer from %v, want %v", from, at)
	}
	return netip.MustParseAddrPort(text[:len(text)-1])
}
