package behaviour

import (
	"encoding/binary"
	"errors"
	"net"
	"net/netip"
	"testing"
	"time"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"cohort/packet"
	"cohort/testenv/topology"
)

// allPorts is what one public address has for one remote address and port: 126
// blocks of 512 ports, 1024 to 65535.
const allPorts = 65536 - 1024

// TestNT3_EveryPortOfEveryNodeBeforeRefusal opens connections from one public
// address to one server port until there are none left. All of them meet the
// same node, which has a quarter of the ports: it must lease the blocks of all
// others before it refuses the first, and give out every single port.
func TestNT3_EveryPortOfEveryNodeBeforeRefusal(t *testing.T) {
	top := formed(t, topology.Config{NAT: patOnly, Timeouts: "{udp: 30m, udp_stream: 30m}"})
	onlyThrough(t, top.Inside, top.Nodes[1].Inside)
	s := newStrangers(t, top, 9000)

	s.open(t, allPorts)
	if refused := counter(t, top, "slow_nat_ports"); refused != 0 {
		t.Errorf("%d refused while ports were free", refused)
	}
	ports := make(map[uint16]int)
	for i, at := range s.mapped {
		if at.Addr() != egress || at.Port() < 1024 {
			t.Fatalf("connection %d is seen as %v", i, at)
		}
		if other, taken := ports[at.Port()]; taken {
			t.Fatalf("connections %d and %d are both seen as %v", other, i, at)
		}
		ports[at.Port()] = i
	}
	t.Logf("%d connections, %d ports", len(s.mapped), len(ports))

	// Not one more, and each of these is counted.
	const more = 100
	for i := range more {
		s.send(t, allPorts+i)
	}
	eventually(t, "the refused are counted", func() bool { return counter(t, top, "slow_nat_ports") >= more })
	if n := counter(t, top, "slow_nat_ports"); n != more {
		t.Errorf("%d refused, want %d", n, more)
	}
	// Those that were first go on as they were, and another server port has
	// every port for itself again.
	for i := 0; i < allPorts; i += 997 {
		s.again(t, i)
	}
	if n := s.drain(); n != 0 {
		t.Errorf("%d connections beyond the last port were let through", n)
	}
	other := newStrangers(t, top, 9001)
	other.open(t, 500)
}

// onlyThrough makes a router send to one node what comes from these sources,
// without any of them everything, whatever its tracker says.
func onlyThrough(t *testing.T, r *topology.Router, hop netip.Addr, sources ...netip.Addr) {
	t.Helper()
	const table, priority = 200, 32780 // behind connected networks, before ECMP
	nl := r.Namespace.Netlink()
	everywhere, err := netlink.ParseIPNet("0.0.0.0/0")
	if err != nil {
		t.Fatal(err)
	}
	if err := nl.RouteAdd(&netlink.Route{Dst: everywhere, Gw: hop.AsSlice(), Table: table}); err != nil {
		t.Fatal(err)
	}
	from := []*net.IPNet{nil}
	for i, a := range sources {
		from = append(from[:i], &net.IPNet{IP: a.AsSlice(), Mask: net.CIDRMask(a.BitLen(), a.BitLen())})
	}
	for _, src := range from {
		rule := netlink.NewRule()
		rule.Family, rule.Priority, rule.Table, rule.Src = unix.AF_INET, priority, table, src
		if err := nl.RuleAdd(rule); err != nil {
			t.Fatal(err)
		}
	}
}

// strangers are UDP clients of one server port, as many as there are addresses
// and ports behind the cluster: a raw socket sends for all of them. Number i is
// in the payload, so that the server knows whom it sees.
type strangers struct {
	server *net.UDPConn
	to     netip.AddrPort
	fd     net.PacketConn
	mapped []netip.AddrPort // by number
	seen   int
}

func newStrangers(t *testing.T, top *topology.Topology, port uint16) *strangers {
	t.Helper()
	s := &strangers{to: netip.AddrPortFrom(top.Servers[0].Addr, port)}
	c, err := top.Servers[0].Namespace.ListenPacket("udp4", s.to.String())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	s.server = c.(*net.UDPConn)
	if err := s.server.SetReadBuffer(4 << 20); err != nil {
		t.Fatal(err)
	}
	// Protocol 255 is a raw socket that sends whole packets.
	if s.fd, err = top.Clients[0].Namespace.ListenPacket("ip4:255", "0.0.0.0"); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { s.fd.Close() })
	raw, err := s.fd.(*net.IPConn).SyscallConn()
	if err != nil {
		t.Fatal(err)
	}
	err = raw.Control(func(fd uintptr) {
		if err := unix.SetsockoptInt(int(fd), unix.IPPROTO_IP, unix.IP_HDRINCL, 1); err != nil {
			t.Error(err)
		}
	})
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// source is where number i sends from: ten thousand ports of one host after
// the other, 10.0.1.11 first.
func source(i int) netip.AddrPort {
	return netip.AddrPortFrom(netip.AddrFrom4([4]byte{10, 0, 1, byte(11 + i/10000)}), uint16(20000+i%10000))
}

// send sends one datagram of number i.
func (s *strangers) send(t *testing.T, i int) {
	t.Helper()
	from, to := source(i), s.to
	b := make([]byte, 36)
	b[0], b[8], b[9] = 0x45, 64, packet.ProtoUDP // the kernel fills in length, id and checksum
	copy(b[12:], from.Addr().AsSlice())
	copy(b[16:], to.Addr().AsSlice())
	binary.BigEndian.PutUint16(b[20:], from.Port())
	binary.BigEndian.PutUint16(b[22:], to.Port())
	binary.BigEndian.PutUint16(b[24:], 16)
	binary.BigEndian.PutUint64(b[28:], uint64(i)) // without a checksum of its own
	if _, err := s.fd.WriteTo(b, &net.IPAddr{IP: to.Addr().AsSlice()}); err != nil {
		t.Fatal(err)
	}
}

// receive notes the next datagram and returns its number; -1 when none came in
// time.
func (s *strangers) receive(t *testing.T, patience time.Duration) int {
	t.Helper()
	var b [100]byte
	s.server.SetReadDeadline(time.Now().Add(patience))
	n, from, err := s.server.ReadFromUDPAddrPort(b[:])
	var late net.Error
	switch {
	case errors.As(err, &late) && late.Timeout():
		return -1
	case err != nil || n != 8:
		t.Fatalf("%d bytes, %v", n, err)
	}
	from = netip.AddrPortFrom(from.Addr().Unmap(), from.Port())
	i := int(binary.BigEndian.Uint64(b[:]))
	switch {
	case i >= len(s.mapped):
		t.Fatalf("connection %d, which had to be refused, is seen as %v", i, from)
	case !s.mapped[i].IsValid():
		s.mapped[i] = from
		s.seen++
	case s.mapped[i] != from:
		t.Fatalf("connection %d was seen as %v and is as %v", i, s.mapped[i], from)
	}
	return i
}

// open makes connections 0 to n-1, a few at a time, and repeats what gets lost.
func (s *strangers) open(t *testing.T, n int) {
	t.Helper()
	const window = 256
	s.mapped = make([]netip.AddrPort, n)
	deadline, began := time.Now().Add(60*time.Second), time.Now()
	again := 0
	for first := 0; first < n; first += window {
		last := min(first+window, n)
		for i := first; i < last; i++ {
			s.send(t, i)
		}
		for s.seen < last {
			if s.receive(t, 500*time.Millisecond) >= 0 {
				continue
			}
			if time.Now().After(deadline) {
				t.Fatalf("%d of %d connections in %v", s.seen, n, time.Since(began))
			}
			for i := first; i < last; i++ {
				if !s.mapped[i].IsValid() {
					s.send(t, i)
					again++
				}
			}
		}
	}
	t.Logf("%d connections in %v, %d datagrams repeated", n, time.Since(began).Round(time.Millisecond), again)
}

// again sends on an open connection; receive compares how it is seen.
func (s *strangers) again(t *testing.T, i int) {
	t.Helper()
	for range 20 {
		s.send(t, i)
		if s.receive(t, 500*time.Millisecond) == i {
			return
		}
	}
	t.Fatalf("connection %d is gone", i)
}

// drain reads what is there still and counts it, repetitions included.
func (s *strangers) drain() (n int) {
	var b [100]byte
	for {
		s.server.SetReadDeadline(time.Now().Add(100 * time.Millisecond))
		if _, _, err := s.server.ReadFromUDPAddrPort(b[:]); err != nil {
			return n
		}
		if int(binary.BigEndian.Uint64(b[:])) >= allPorts {
			n++
		}
	}
}
