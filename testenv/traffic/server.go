package traffic

import (
	"context"
	"errors"
	"io"
	"net"
	"net/netip"
	"sync"

	"cohort/testenv/netns"
)

// Server is a running service inside a namespace.
type Server struct {
	Addr netip.AddrPort

	listener io.Closer
	mu       sync.Mutex // guards conns and closed
	conns    map[net.Conn]bool
	closed   bool
	running  sync.WaitGroup
	hurry    chan struct{} // closed: no rate any more; nil where there never is one
	hurried  sync.Once
}

// ServeEcho answers TCP connections with the bytes they send, until Close.
func ServeEcho(n *netns.Namespace, addr netip.AddrPort) (*Server, error) {
	l, err := n.Listen(addr.String())
	if err != nil {
		return nil, err
	}
	s := &Server{Addr: l.Addr().(*net.TCPAddr).AddrPort(), listener: l, conns: make(map[net.Conn]bool)}
	s.running.Go(func() { s.accept(l) })
	return s, nil
}

func (s *Server) accept(l net.Listener) {
	for {
		c, err := l.Accept()
		if errors.Is(err, net.ErrClosed) {
			return
		}
		if err != nil {
			continue // the peer left before it was accepted
		}
		if !s.track(c, true) {
			c.Close()
			return
		}
		s.running.Go(func() {
			io.Copy(c, c)
			c.Close()
			s.track(c, false)
		})
	}
}

// track notes a connection; false once the server is closed.
func (s *Server) track(c net.Conn, open bool) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if open && !s.closed {
		s.conns[c] = true
	} else {
		delete(s.conns, c)
	}
	return !s.closed
}

// EachTCP calls visit for every open connection of ServeEcho.
func (s *Server) EachTCP(visit func(*net.TCPConn)) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for c := range s.conns {
		if tcp, ok := c.(*net.TCPConn); ok {
			visit(tcp)
		}
	}
}

// ServeUDPEcho answers datagrams with themselves, until Close.
func ServeUDPEcho(n *netns.Namespace, addr netip.AddrPort) (*Server, error) {
	c, err := n.ListenPacket("udp4", addr.String())
	if err != nil {
		return nil, err
	}
	u := c.(*net.UDPConn)
	u.SetReadBuffer(4 << 20) // bursts of short exchanges
	s := &Server{Addr: u.LocalAddr().(*net.UDPAddr).AddrPort(), listener: u}
	s.running.Go(func() {
		b := make([]byte, 65536)
		for {
			k, from, err := u.ReadFromUDPAddrPort(b)
			if errors.Is(err, net.ErrClosed) {
				return
			}
			if err == nil {
				u.WriteToUDPAddrPort(b[:k], from)
			}
		}
	})
	return s, nil
}

// Close ends the service and its connections and waits for both. Idempotent.
func (s *Server) Close() error {
	s.mu.Lock()
	s.closed = true
	for c := range s.conns {
		c.Close()
	}
	s.mu.Unlock()
	err := s.listener.Close()
	s.running.Wait()
	if errors.Is(err, net.ErrClosed) {
		return nil
	}
	return err
}

// watchContext closes c when the context ends, so that no read or write
// outlives it; stop must be called.
func watchContext(ctx context.Context, c io.Closer) (stop func() bool) {
	return context.AfterFunc(ctx, func() { c.Close() })
}
