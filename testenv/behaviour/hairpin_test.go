package behaviour

import (
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

// hairpinMapping lets inside hosts talk by the endpoints that a server outside
// told them, as peer-to-peer programs do.
func hairpinMapping(t *testing.T, s *site) {
	m := serveMirror(t, s.server, 9002)
	peer := func(h *topology.Host) (c *socket) {
		c = open(t, h)
		c.mapped = c.learn(t, m.at)
		return c
	}
	open, closed, other := peer(s.open), peer(s.closed), peer(s.closed)

	// Everybody may send to the open one, and is seen as everywhere.
	for _, from := range []*socket{closed, other} {
		from.send(t, open.mapped, "hello")
		if text, by := open.receive(t); text != "hello" || by != from.mapped {
			t.Fatalf("%q from %v, want it from %v", text, by, from.mapped)
		}
		// By that it has opened its own filter for the open one's address.
		open.send(t, from.mapped, "you too")
		if text, by := from.receive(t); text != "you too" || by != open.mapped {
			t.Fatalf("%q from %v, want it from %v", text, by, open.mapped)
		}
	}
	// A filter that depends on address and port holds for the inside as well,
	// until both have sent.
	before := counter(t, s.Topology, "slow_nat_filtered")
	closed.send(t, other.mapped, "too early")
	eventually(t, "the filter counts", func() bool { return counter(t, s.Topology, "slow_nat_filtered") > before })
	other.send(t, closed.mapped, "through the hole")
	if text, by := closed.receive(t); text != "through the hole" || by != other.mapped {
		t.Errorf("%q from %v, want it from %v", text, by, other.mapped)
	}
	closed.send(t, other.mapped, "and back")
	if text, by := other.receive(t); text != "and back" || by != closed.mapped {
		t.Errorf("%q from %v, want it from %v", text, by, closed.mapped)
	}
	for _, c := range []*socket{open, closed, other} {
		if again := c.learn(t, m.at); again != c.mapped {
			t.Errorf("the mapping was %v and is %v", c.mapped, again)
		}
	}
}

// socket is a UDP socket that talks to everybody.
type socket struct {
	packetConn
	mapped netip.AddrPort
}

// packetConn is what socket needs of a net.UDPConn.
type packetConn interface {
	ReadFromUDPAddrPort([]byte) (int, netip.AddrPort, error)
	WriteToUDPAddrPort([]byte, netip.AddrPort) (int, error)
	SetReadDeadline(time.Time) error
}

func open(t *testing.T, h *topology.Host) *socket {
	t.Helper()
	c, err := h.Namespace.ListenPacket("udp4", netip.AddrPortFrom(h.Addr, 0).String())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	return &socket{packetConn: c.(packetConn)}
}

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
