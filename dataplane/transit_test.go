package dataplane_test

import (
	"net"
	"net/netip"
	"path/filepath"
	"testing"
	"time"

	"cohort/bpf"
	"cohort/dataplane"
	"cohort/dataplane/fib"
	"cohort/dataplane/internal/nstest"
	"cohort/flowtable"
	"cohort/packet"

	"github.com/vishvananda/netlink"
	"github.com/vishvananda/netns"
	"golang.org/x/sys/unix"
)

// transit is a node between a client (10.1.0.50) and a server (10.2.0.50),
// each a kernel of its own, with the smallest event loop that forwards.
type transit struct {
	t   *testing.T
	d   *dataplane.Dataplane
	io  *dataplane.IO
	fib *fib.Table
	cfg dataplane.Config

	client, server netns.NsHandle
}

const inside, outside = 1, 2

func newTransit(t *testing.T) *transit {
	t.Helper()
	nstest.Enter(t)
	tr := &transit{t: t, client: nstest.NewNS(t), server: nstest.NewNS(t)}
	attach := func(ns netns.NsHandle, near, far, node, host, gateway string) {
		_, l := nstest.Veth(t, near, far, 1500)
		nstest.Move(t, l, ns)
		nstest.Up(t, near, node)
		nstest.In(t, ns, func() {
			nstest.Up(t, far, host)
			nstest.GRO(t, far)
			must(t, netlink.RouteAdd(&netlink.Route{Gw: net.ParseIP(gateway)}))
		})
	}
	attach(tr.client, "in0", "eth1", "10.1.0.1/24", "10.1.0.50/24", "10.1.0.1")
	attach(tr.server, "out0", "eth2", "10.2.0.1/24", "10.2.0.50/24", "10.2.0.1")
	nstest.Veth(t, "ccl0", "ccl1", 1654)
	pins := filepath.Join(t.TempDir(), "pins")
	t.Cleanup(func() { _ = unix.Unmount(pins, unix.MNT_DETACH) })
	tr.cfg = dataplane.Config{
		PinDir: pins,
		Interfaces: []dataplane.Interface{
			{ID: inside, Name: "inside", Device: "in0"}, {ID: outside, Name: "outside", Device: "out0"},
		},
		CCL: "ccl0", VTEP: netip.MustParseAddr("10.99.0.1"), VNI: 1, Flows: 100, Forwards: 100, FastPath: true,
	}
	tr.start()
	t.Cleanup(func() { tr.stop(false) })
	return tr
}

func (tr *transit) start() {
	tr.t.Helper()
	var err error
	tr.d, err = dataplane.Open(tr.cfg)
	must(tr.t, err)
	tr.io, err = tr.d.OpenIO(dataplane.IOConfig{})
	must(tr.t, err)
	tr.fib, err = fib.New(fib.Config{
		NextHops: tr.d.NextHops(),
		Interfaces: []fib.Interface{
			{ID: inside, Ifindex: tr.d.Ifindex(inside)}, {ID: outside, Ifindex: tr.d.Ifindex(outside)},
		},
	})
	must(tr.t, err)
	must(tr.t, tr.d.SetLocalAddrs(tr.fib.LocalAddrs()))
	tr.d.RenewLease(dataplane.Now() + int64(time.Hour))
	tr.d.SetView(1, 0, 1)
}

func (tr *transit) stop(keep bool) {
	must(tr.t, tr.fib.Close())
	must(tr.t, tr.io.Close())
	must(tr.t, tr.d.Close(keep))
}

// turn is one turn of the loop: what has a next hop is sent, what waits for
// one is held.
func (tr *transit) turn(held []*dataplane.Frame) []*dataplane.Frame {
	batch := make([]*dataplane.Frame, 32)
	waiting := append(held, batch[:tr.io.Receive(batch)]...)
	held = nil
	for _, f := range waiting {
		nh, _, status := tr.fib.Lookup(packet.Addr(f.IP()[16:20]))
		switch {
		case status == fib.OK:
			tr.io.Transmit(f, nh)
		case status == fib.Unresolved && tr.io.Hold(f):
			held = append(held, f)
		default:
			tr.io.Release(f)
		}
	}
	tr.io.Flush()
	return held
}

// udp opens a socket in ns; the runtime's poller serves it from any thread.
func (tr *transit) udp(ns netns.NsHandle, addr string) *net.UDPConn {
	tr.t.Helper()
	var c *net.UDPConn
	nstest.In(tr.t, ns, func() {
		var err error
		c, err = net.ListenUDP("udp4", net.UDPAddrFromAddrPort(netip.MustParseAddrPort(addr)))
		must(tr.t, err)
	})
	tr.t.Cleanup(func() { c.Close() })
	return c
}

// exchange sends one datagram and turns the loop until it arrives.
func (tr *transit) exchange(from, to *net.UDPConn, loop bool) {
	tr.t.Helper()
	_, err := from.WriteToUDP([]byte("hello"), to.LocalAddr().(*net.UDPAddr))
	must(tr.t, err)
	var held []*dataplane.Frame
	nstest.Until(tr.t, "the datagram arrives", func() bool {
		if loop {
			held = tr.turn(held)
		}
		must(tr.t, to.SetReadDeadline(time.Now().Add(time.Millisecond)))
		n, peer, err := to.ReadFromUDPAddrPort(make([]byte, 100))
		if err == nil && (n != 5 || peer.String() != from.LocalAddr().String()) {
			tr.t.Errorf("%d bytes from %v", n, peer)
		}
		return err == nil
	})
}

func (tr *transit) counter(o bpf.Outcome) uint64 {
	tr.t.Helper()
	all, err := tr.d.Counters()
	must(tr.t, err)
	return all[o.String()]
}

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// Neighbours are resolved through the running programs, the first packet waits
// for its neighbour, and once there is an entry no packet comes to Go.
func TestTR1_TransitThroughGoThenThroughXDPThenAcrossARestart(t *testing.T) {
	tr := newTransit(t)
	client, server := tr.udp(tr.client, "10.1.0.50:4000"), tr.udp(tr.server, "10.2.0.50:5000")
	tr.exchange(client, server, true)
	tr.exchange(server, client, true)
	if tr.io.Held() != 0 {
		t.Errorf("%d frames still held", tr.io.Held())
	}

	out, _, s1 := tr.fib.Lookup(packet.Addr{10, 2, 0, 50})
	in, _, s2 := tr.fib.Lookup(packet.Addr{10, 1, 0, 50})
	if s1 != fib.OK || s2 != fib.OK {
		t.Fatal(s1, s2)
	}
	table, err := flowtable.New(tr.d.Table(), tr.d.HashSeed())
	must(t, err)
	key := packet.FlowKey{
		Src: packet.Addr{10, 1, 0, 50}, Dst: packet.Addr{10, 2, 0, 50}, SrcPort: 4000, DstPort: 5000, Proto: packet.ProtoUDP,
	}
	_, err = table.InsertFlow(flowtable.FlowSlot{
		Key: [2]packet.FlowKey{key, key.Reverse()}, NextHop: [2]uint16{out, in}, Iface: [2]uint8{inside, outside}, Timeout: 60,
	})
	must(t, err)
	was := tr.counter(bpf.ForwardOwner)
	tr.exchange(client, server, false) // nobody turns the loop
	tr.exchange(server, client, false)
	if n := tr.counter(bpf.ForwardOwner); n != was+2 {
		t.Errorf("XDP forwarded %d packets, want 2", n-was)
	}

	tr.stop(true) // the daemon is gone
	tr.d = nil
	tr.exchange(client, server, false)
	tr.start()
	if !tr.d.Adopted() {
		t.Errorf("not adopted: %s", tr.d.Rebuilt())
	}
	if nh, _, s := tr.fib.Lookup(packet.Addr{10, 2, 0, 50}); nh != out || s != fib.OK {
		t.Errorf("next hop %d %v after the restart, %d before", nh, s, out)
	}
	tr.exchange(server, client, false)
	if n := tr.counter(bpf.ForwardOwner); n != was+4 {
		t.Errorf("XDP forwarded %d packets, want 4", n-was)
	}
}

func TestTR1_TrafficToTheNodeReachesTheHost(t *testing.T) {
	tr := newTransit(t)
	client := tr.udp(tr.client, "10.1.0.50:4000")
	node, err := net.ListenUDP("udp4", net.UDPAddrFromAddrPort(netip.MustParseAddrPort("10.1.0.1:6000")))
	must(t, err)
	defer node.Close()
	tr.exchange(client, node, false)
	tr.exchange(node, client, false)
	if n := tr.counter(bpf.PassLocal); n != 1 {
		t.Errorf("%d packets were passed as local, want 1", n)
	}
}
