package scenario

import (
	"context"
	"io"
	"net"
	"net/netip"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"cohort/testenv/netns"
	"cohort/testenv/topology"
)

// signed makes a socket sign and check the segments to and from a peer (RFC 2385).
func signed(peer netip.Addr) func(network, address string, c syscall.RawConn) error {
	sig := unix.TCPMD5Sig{Addr: unix.SockaddrStorage{Family: unix.AF_INET}}
	a := peer.As4()
	copy(sig.Addr.Data[2:], a[:])
	sig.Keylen = uint16(copy(sig.Key[:], "as in BGP"))
	return func(_, _ string, c syscall.RawConn) (err error) {
		inside := c.Control(func(fd uintptr) { err = unix.SetsockoptTCPMD5Sig(int(fd), unix.IPPROTO_TCP, unix.TCP_MD5SIG, &sig) })
		if inside != nil {
			return inside
		}
		return err
	}
}

// TestFR5_SignedConnectionsPass: the kernels at both ends sign their segments with MD5,
// as BGP routers do, and check them. Numbers that are given to others are not given to
// them.
func TestFR5_SignedConnectionsPass(t *testing.T) {
	top := formed(t, topology.Config{Nodes: 3, Spray: true})
	client, server := top.Clients[0], top.Servers[0]
	to := netip.AddrPortFrom(server.Addr, 8080)
	var l net.Listener
	must(t, server.Namespace.Do(func() (err error) {
		l, err = (&net.ListenConfig{KeepAlive: -1, Control: signed(client.Addr)}).Listen(t.Context(), "tcp4", to.String())
		return err
	}))
	served := make(chan error, 1)
	go func() {
		c, err := l.Accept()
		if err == nil {
			_, err = io.Copy(c, c)
			c.Close()
		}
		served <- err
	}()
	sent, got, stop := atBothEnds(t, top)
	ctx := within(t, 30*time.Second)
	c, err := dialSigned(ctx, client.Namespace, to)
	must(t, err)
	must(t, c.SetDeadline(time.Now().Add(20*time.Second)))
	e := newEcho(ctx, c)
	const size = 1 << 20
	go e.send(size)
	go e.receive(size)
	if err := e.wait(); err != nil {
		t.Errorf("after %d of %d bytes: %v", e.received.Load(), size, err)
	}
	must(t, c.Close())
	must(t, l.Close())
	if err := <-served; err != nil {
		t.Error(err)
	}
	stop()
	port := c.LocalAddr().(*net.TCPAddr).AddrPort().Port()
	if sent.of[port] != got.of[port] || got.of[port] == 0 {
		t.Errorf("the client's number is %d, the server got %d", sent.of[port], got.of[port])
	}
	for _, ns := range []*netns.Namespace{client.Namespace, server.Namespace} {
		if after := tcpCounters(t, ns); after["TCPMD5Failure"]+after["TCPMD5NotFound"] != 0 {
			t.Errorf("segments were refused: %d with another signature, %d without", after["TCPMD5Failure"], after["TCPMD5NotFound"])
		}
	}
}

func dialSigned(ctx context.Context, ns *netns.Namespace, to netip.AddrPort) (conn *net.TCPConn, err error) {
	err = ns.Do(func() error {
		c, err := (&net.Dialer{KeepAlive: -1, Control: signed(to.Addr())}).DialContext(ctx, "tcp4", to.String())
		if err == nil {
			conn = c.(*net.TCPConn)
		}
		return err
	})
	return conn, err
}
