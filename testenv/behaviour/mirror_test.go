package behaviour

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
	"strings"
	"sync"
	"testing"
	"time"

	"cohort/testenv/topology"
)

// mirror is a server that tells its clients how it sees them, when they ask and
// when it is told to.
type mirror struct {
	at  netip.AddrPort
	tcp net.Listener
	udp *net.UDPConn

	running sync.WaitGroup
	mu      sync.Mutex // guards conns
	conns   map[netip.AddrPort]net.Conn
}

// serveMirror answers TCP and UDP at a port of a host until the test ends.
func serveMirror(t *testing.T, h *topology.Host, port uint16) *mirror {
	t.Helper()
	m := &mirror{at: netip.AddrPortFrom(h.Addr, port), conns: make(map[netip.AddrPort]net.Conn)}
	var err error
	if m.tcp, err = h.Namespace.Listen(m.at.String()); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(m.close)
	c, err := h.Namespace.ListenPacket("udp4", m.at.String())
	if err != nil {
		t.Fatal(err)
	}
	m.udp = c.(*net.UDPConn)
	m.running.Go(m.accept)
	m.running.Go(m.datagrams)
	return m
}

func (m *mirror) close() {
	m.tcp.Close()
	if m.udp != nil {
		m.udp.Close()
	}
	m.mu.Lock()
	for _, c := range m.conns {
		c.Close()
	}
	m.mu.Unlock()
	m.running.Wait()
}

func (m *mirror) accept() {
	for {
		c, err := m.tcp.Accept()
		if errors.Is(err, net.ErrClosed) {
			return
		}
		if err != nil {
			continue // the peer left before it was accepted
		}
		from := peer(c)
		m.mu.Lock()
		m.conns[from] = c
		m.mu.Unlock()
		m.running.Go(func() {
			b := make([]byte, 1)
			for _, err := c.Read(b); err == nil; _, err = c.Read(b) {
				fmt.Fprintf(c, "%v\n", from)
			}
			c.Close()
			m.mu.Lock()
			delete(m.conns, from)
			m.mu.Unlock()
		})
	}
}

func (m *mirror) datagrams() {
	b := make([]byte, 100)
	for {
		_, from, err := m.udp.ReadFromUDPAddrPort(b)
		if errors.Is(err, net.ErrClosed) {
			return
		}
		if err == nil {
			m.udp.WriteToUDPAddrPort([]byte(from.String()+"\n"), from)
		}
	}
}

// push tells a client how it is seen although it has not asked.
func (m *mirror) push(network string, client netip.AddrPort) error {
	said := []byte(client.String() + "\n")
	if network == "udp" {
		_, err := m.udp.WriteToUDPAddrPort(said, client)
		return err
	}
	m.mu.Lock()
	c := m.conns[client]
	m.mu.Unlock()
	if c == nil {
		return fmt.Errorf("no connection from %v", client)
	}
	_, err := c.Write(said)
	return err
}

// peer is the far end of a connection.
func peer(c net.Conn) netip.AddrPort {
	a := netip.MustParseAddrPort(c.RemoteAddr().String())
	return netip.AddrPortFrom(a.Addr().Unmap(), a.Port())
}

// local is the near end.
func local(c net.Conn) netip.AddrPort {
	a := netip.MustParseAddrPort(c.LocalAddr().String())
	return netip.AddrPortFrom(a.Addr().Unmap(), a.Port())
}

// talk is a client's connection to a mirror.
type talk struct {
	network string
	net.Conn
}

// dial connects a host to a mirror, which may have another address for it.
func dial(t *testing.T, h *topology.Host, network string, to netip.AddrPort) talk {
	t.Helper()
	k := talk{network: network}
	var err error
	if network == "udp" {
		k.Conn, err = h.Namespace.DialUDP(to)
	} else {
		k.Conn, err = h.Namespace.DialTCP(within(t, 30*time.Second), to)
	}
	if err != nil {
		t.Fatalf("%s %s to %v: %v", h.Name, network, to, err)
	}
	t.Cleanup(func() { k.Close() })
	return k
}

// ask returns how the mirror sees this connection. Datagrams are sent up to
// five times.
func (k talk) ask() (netip.AddrPort, error) {
	attempts, patience := 1, 30*time.Second
	if k.network == "udp" {
		attempts, patience = 5, 2*time.Second
	}
	var err error
	for range attempts {
		var seen netip.AddrPort
		if _, err = k.Write([]byte{'?'}); err != nil {
			continue // a datagram: an ICMP error about an earlier one
		}
		if seen, err = k.told(patience); err == nil {
			return seen, nil
		}
	}
	return netip.AddrPort{}, fmt.Errorf("%s %v: %w", k.network, k.LocalAddr(), err)
}

// told waits for what the mirror says.
func (k talk) told(patience time.Duration) (netip.AddrPort, error) {
	k.SetReadDeadline(time.Now().Add(patience))
	var line []byte
	for b := make([]byte, 64); len(line) == 0 || line[len(line)-1] != '\n'; {
		n, err := k.Read(b)
		if err != nil {
			return netip.AddrPort{}, err
		}
		line = append(line, b[:n]...)
	}
	return netip.ParseAddrPort(strings.TrimSpace(string(line)))
}

// seen dials and asks.
func seen(t *testing.T, h *topology.Host, network string, to netip.AddrPort) (k talk, mapped netip.AddrPort) {
	t.Helper()
	k = dial(t, h, network, to)
	mapped, err := k.ask()
	if err != nil {
		t.Fatalf("%s to %v: %v", h.Name, to, err)
	}
	return k, mapped
}

var transports = []string{"tcp", "udp"}
