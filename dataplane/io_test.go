package dataplane

import (
	"bytes"
	"encoding/binary"
	"errors"
	"net"
	"net/netip"
	"testing"
	"time"

	"cohort/bpf"
	"cohort/ccl/wire"
	"cohort/dataplane/internal/nstest"
	"cohort/flowtable"
	"cohort/packet"
	"cohort/packet/packettest"

	"github.com/cilium/ebpf"
	"golang.org/x/sys/unix"
)

const (
	selfID = wire.NodeID(1)
	peerID = wire.NodeID(2)
	viewID = 77
	hopID  = 5 // the next hop on out0
)

var (
	farMAC = [6]byte{2, 0, 0, 0, 0, 0x99}
	flow   = packet.FlowKey{
		Src: packet.Addr{10, 1, 0, 50}, Dst: packet.Addr{198, 51, 100, 7},
		SrcPort: 4000, DstPort: 53, Proto: packet.ProtoUDP,
	}
)

// node is an open dataplane with its IO.
type node struct {
	*Dataplane
	t  *testing.T
	io *IO
}

// newNode opens the host's dataplane as node 1, in a view with node 2 behind
// ccl1, with a lease and a next hop on out0.
func newNode(t *testing.T, mtu int, cfg IOConfig) *node {
	t.Helper()
	return newNodeOver(t, overIPv4, mtu, cfg)
}

func newNodeOver(t *testing.T, vteps family, mtu int, cfg IOConfig) *node {
	t.Helper()
	h := newHost(t, mtu)
	h.cfg.VTEP = vteps.self
	return startNode(t, h.open(), selfID, cfg)
}

// family is the VTEPs of the two nodes (CL9).
type family struct{ self, peer netip.Addr }

var (
	overIPv4 = family{netip.MustParseAddr("10.99.0.1"), netip.MustParseAddr("10.99.0.2")}
	overIPv6 = family{netip.MustParseAddr("fd00:99::1"), netip.MustParseAddr("fd00:99::2")}
)

// overBoth runs a test with VTEPs of either family.
func overBoth(t *testing.T, test func(t *testing.T, vteps family)) {
	t.Run("ipv4", func(t *testing.T) { test(t, overIPv4) })
	t.Run("ipv6", func(t *testing.T) { test(t, overIPv6) })
}

func startNode(t *testing.T, d *Dataplane, self wire.NodeID, cfg IOConfig) *node {
	t.Helper()
	io, err := d.OpenIO(cfg)
	must(t, err)
	t.Cleanup(func() { must(t, io.Close()) })
	d.RenewLease(Now() + int64(time.Hour))
	d.SetView(viewID, 0, self)
	vteps := overIPv4
	if d.outer == ipv6Len {
		vteps = overIPv6
	}
	must(t, d.SetMembers([]Peer{
		{ID: selfID, VTEP: vteps.self, MAC: [6]byte(nstest.MAC(t, "ccl0")), Incarnation: 1, Self: self == selfID},
		{ID: peerID, VTEP: vteps.peer, MAC: [6]byte(nstest.MAC(t, "ccl1")), Incarnation: 2, Self: self == peerID},
	}))
	if self == selfID {
		out := nstest.Link(t, "out0").Attrs()
		d.NextHops()[hopID].Store(NextHop{
			DMAC: farMAC, SMAC: [6]byte(out.HardwareAddr), Ifindex: uint32(out.Index),
			MTU: uint16(out.MTU), Iface: outside, Flags: NextHopValid,
		})
	}
	return &node{d, t, io}
}

// newPeer opens a second node in the same namespace, whose CCL device is the
// other end of the first one's.
func newPeer(t *testing.T, vteps family, mtu int) *node {
	t.Helper()
	nstest.Veth(t, "b0", "b1", mtu)
	d, err := Open(Config{
		Interfaces: []Interface{{ID: inside, Name: "inside", Device: "b0"}},
		CCL:        "ccl1", VTEP: vteps.peer, VNI: 7, Flows: 10, Forwards: 10, FastPath: true,
	})
	must(t, err)
	t.Cleanup(func() { must(t, d.Close(false)) })
	return startNode(t, d, peerID, IOConfig{})
}

// udp builds a frame of the test flow to in0 with n bytes of payload.
func udp(t *testing.T, n int) []byte {
	t.Helper()
	payload := make([]byte, n)
	for i := range payload {
		payload[i] = byte(i) ^ byte(i>>8)
	}
	return packettest.Build(packettest.Spec{
		Key: flow, Payload: payload, DstMAC: nstest.MAC(t, "in0"), SrcMAC: net.HardwareAddr{2, 0, 0, 0, 0, 1},
	})
}

// receive waits for n frames.
func (n *node) receive(count int) []*Frame {
	n.t.Helper()
	batch := make([]*Frame, count)
	got := 0
	nstest.Until(n.t, "frames from XDP", func() bool {
		got += n.io.Receive(batch[got:])
		return got == count
	})
	return batch
}

// fromWire sends raw to in0 and returns what XDP made of it.
func (n *node) fromWire(raw []byte) *Frame {
	n.t.Helper()
	nstest.OpenWire(n.t, "in1").Send(raw)
	return n.receive(1)[0]
}

func isIP(b []byte) bool { return len(b) > 14 && b[12] == 8 && b[13] == 0 }

func TestPuntedPacketLeavesByItsNextHop(t *testing.T) {
	n := newNode(t, 1500, IOConfig{})
	far := nstest.OpenWire(t, "out1")
	raw := udp(t, 100)
	f := n.fromWire(raw)
	table, err := flowtable.New(n.Table(), n.HashSeed())
	must(t, err)
	h1, tag := table.Hash(flow)
	want := Punt{
		Magic: PuntMagic, Reason: uint8(bpf.PuntMiss), Iface: inside, L3Offset: 14,
		Entry: uint8(selfID), View: viewID, H1: h1, Tag: tag,
	}
	if f.Punt != want {
		t.Errorf("punt %+v, want %+v", f.Punt, want)
	}
	if !bytes.Equal(f.Data, raw) {
		t.Errorf("data %x, want %x", f.Data, raw)
	}
	if d := n.io.Transmit(f, hopID); d != Sent {
		t.Fatal(d)
	}
	n.io.Flush()
	got := far.Receive(isIP)
	if !bytes.Equal(got[:6], farMAC[:]) || !bytes.Equal(got[6:12], nstest.MAC(t, "out0")) || !bytes.Equal(got[14:], raw[14:]) {
		t.Errorf("sent %x", got)
	}
	if s := n.io.Drops()["sent"]; s != 1 {
		t.Errorf("%d counted as sent", s)
	}
}

func TestGenericModePuntsToo(t *testing.T) {
	h := newHost(t, 1500)
	h.cfg.Mode = ModeGeneric
	n := startNode(t, h.open(), selfID, IOConfig{})
	far := nstest.OpenWire(t, "out1")
	raw := udp(t, 100)
	f := n.fromWire(raw)
	if f.Punt.Reason != uint8(bpf.PuntMiss) || !bytes.Equal(f.Data, raw) {
		t.Errorf("punt %+v with %d bytes", f.Punt, len(f.Data))
	}
	if d := n.io.Transmit(f, hopID); d != Sent {
		t.Fatal(d)
	}
	n.io.Flush()
	far.Receive(isIP)
}

func TestEthernetPaddingIsCutOff(t *testing.T) {
	n := newNode(t, 1500, IOConfig{})
	raw := udp(t, 1) // 43 bytes
	f := n.fromWire(append(raw, make([]byte, 60-len(raw))...))
	if len(f.Data) != len(raw) || len(f.IP()) != len(raw)-14 {
		t.Errorf("%d bytes, want the packet's %d", len(f.Data), len(raw))
	}
	n.io.Release(f)
}

func TestForwardedPacketReachesTheMemberAsItEntered(t *testing.T) {
	overBoth(t, func(t *testing.T, vteps family) {
		n := newNodeOver(t, vteps, 1700, IOConfig{})
		peer := newPeer(t, vteps, 1700)
		raw := udp(t, 1000)
		f := n.fromWire(raw)
		if d := n.io.Forward(f, peerID, 99); d != Sent {
			t.Fatal(d)
		}
		n.io.Flush()
		g := peer.receive(1)[0]
		p := g.Punt
		if p.From != uint8(selfID) || p.Entry != uint8(selfID) || p.Hops != 1 || p.Iface != inside || p.Gen != 99 || p.Reason != uint8(bpf.PuntMiss) {
			t.Errorf("punt %+v", p)
		}
		if !bytes.Equal(g.IP(), raw[14:]) {
			t.Errorf("packet %x, want %x", g.IP(), raw[14:])
		}
		// Back and forth until the hop limit: entry node and interface stay.
		at, to := peer, n
		for hops := uint8(2); hops <= CCLMaxHops; hops++ {
			dst := selfID
			if to == peer {
				dst = peerID
			}
			if d := at.io.Forward(g, dst, 0); d != Sent {
				t.Fatalf("hop %d: %v", hops, d)
			}
			at.io.Flush()
			g = to.receive(1)[0]
			if g.Punt.Hops != hops || g.Punt.Entry != uint8(selfID) || g.Punt.Iface != inside {
				t.Errorf("hop %d: punt %+v", hops, g.Punt)
			}
			at, to = to, at
		}
		if d := at.io.Forward(g, selfID, 0); d != DropHops {
			t.Errorf("hop %d: %v", CCLMaxHops+1, d)
		}
	})
}

// A fragment reaches the member as it entered, with the ports that its sender knows.
func TestFR10_FragmentsTravelWithTheirPorts(t *testing.T) {
	overBoth(t, func(t *testing.T, vteps family) {
		n := newNodeOver(t, vteps, 1700, IOConfig{})
		peer := newPeer(t, vteps, 1700)
		raw := packettest.Build(packettest.Spec{Key: flow, FragOffset: 800, MoreFragments: true, Payload: make([]byte, 800), DstMAC: nstest.MAC(t, "in0")})
		for _, c := range []struct {
			send func(*Frame) Drop
			gen  uint32
			want bpf.Outcome
		}{
			{func(f *Frame) Drop { return n.io.Forward(f, peerID, 0) }, 0, bpf.PuntFragment},
			{func(f *Frame) Drop { return n.io.ForwardFragment(f, peerID, 0x9c400035) }, 0x9c400035, bpf.PuntLabelled},
		} {
			if d := c.send(n.fromWire(raw)); d != Sent {
				t.Fatal(d)
			}
			n.io.Flush()
			g := peer.receive(1)[0]
			if p := g.Punt; p.Reason != uint8(c.want) || p.Gen != c.gen || p.From != uint8(selfID) || p.Hops != 1 || p.Iface != inside {
				t.Errorf("punt %+v, want %v with %#x", p, c.want, c.gen)
			}
			if !bytes.Equal(g.IP(), raw[14:]) {
				t.Errorf("packet %x, want %x", g.IP(), raw[14:])
			}
			peer.io.Release(g)
		}
	})
}

func TestGoAndXDPMakeTheSameDataFrame(t *testing.T) {
	overBoth(t, func(t *testing.T, vteps family) {
		n := newNodeOver(t, vteps, 1700, IOConfig{})
		link := nstest.OpenWire(t, "ccl1")
		raw := udp(t, 300)
		f := n.fromWire(raw)
		if d := n.io.Forward(f, peerID, 0x01020304); d != Sent {
			t.Fatal(d)
		}
		n.io.Flush()
		byGo := bytes.Clone(link.Receive(func(b []byte) bool {
			inner := n.outer.overhead() - cclHeaderSize
			return len(b) > inner && binary.BigEndian.Uint16(b[inner-2:]) == CCLEtherType
		}))

		table, err := flowtable.New(n.Table(), n.HashSeed())
		must(t, err)
		_, err = table.InsertForward(flowtable.ForwardSlot{Key: flow, Gen: 0x01020304, Owner: uint8(peerID), Incarnation: 2, Iface: inside})
		must(t, err)
		verdict, byXDP := n.runData(raw)
		if verdict != xdpRedirect {
			t.Fatalf("verdict %d, want redirect", verdict)
		}
		if !bytes.Equal(byGo, byXDP) {
			t.Errorf("data frame\n Go  %x\n XDP %x", byGo, byXDP)
		}
	})
}

const xdpRedirect = 4

// runData runs the program of the data interfaces on a frame as from in0 and
// returns verdict and frame.
func (n *node) runData(raw []byte) (uint32, []byte) {
	n.t.Helper()
	ctx := struct{ data, dataEnd, dataMeta, ingress, queue, egress uint32 }{
		dataEnd: uint32(len(raw)), ingress: uint32(nstest.Link(n.t, "in0").Attrs().Index),
	}
	opts := &ebpf.RunOptions{Data: raw, DataOut: make([]byte, len(raw)+256), Context: ctx}
	verdict, err := n.programs[0].Run(opts)
	must(n.t, err)
	return verdict, opts.DataOut
}

func TestJumboPacketsGoBothWays(t *testing.T) {
	n := newNode(t, 9000, IOConfig{Jumbos: 1})
	if !n.io.sockets[0].MultiBuffer() {
		t.Skip("kernel before 6.6 has no multi-buffer AF_XDP")
	}
	peer := newPeer(t, overIPv4, 9000)
	far := nstest.OpenWire(t, "out1")
	raw := udp(t, 8900-28)
	for range 3 { // the one buffer comes back every time
		f := n.fromWire(raw)
		if !bytes.Equal(f.Data, raw) {
			t.Fatalf("received %d bytes, want %d", len(f.Data), len(raw))
		}
		if d := n.io.Transmit(f, hopID); d != Sent {
			t.Fatal(d)
		}
		n.io.Flush()
		if got := far.Receive(isIP); !bytes.Equal(got[14:], raw[14:]) {
			t.Fatalf("sent %d bytes, want %d", len(got), len(raw))
		}
	}
	if d := n.io.Forward(n.fromWire(raw), peerID, 0); d != Sent {
		t.Fatal(d)
	}
	n.io.Flush()
	if g := peer.receive(1)[0]; !bytes.Equal(g.IP(), raw[14:]) {
		t.Errorf("peer received %d bytes, want %d", len(g.IP()), len(raw)-14)
	}

	f := n.fromWire(raw) // holds the only buffer
	nstest.OpenWire(t, "in1").Send(raw)
	nstest.Until(t, "the second jumbo packet is dropped", func() bool {
		n.io.Receive(make([]*Frame, 1))
		return n.io.Drops()["no_jumbo"] == 1
	})
	n.io.Release(f)
	n.io.Release(n.fromWire(raw))
}

func TestGeneratedPacketIsInjected(t *testing.T) {
	n := newNode(t, 1500, IOConfig{})
	far := nstest.OpenWire(t, "out1")
	ip := udp(t, 40)[14:]
	if d := n.io.Inject(ip, hopID); d != Sent {
		t.Fatal(d)
	}
	n.io.Flush()
	if got := far.Receive(isIP); !bytes.Equal(got[14:], ip) || !bytes.Equal(got[:6], farMAC[:]) {
		t.Errorf("sent %x", got)
	}
}

func TestHeldFramesAreBoundedAndSentLater(t *testing.T) {
	n := newNode(t, 1500, IOConfig{Hold: 2})
	far := nstest.OpenWire(t, "out1")
	near := nstest.OpenWire(t, "in1")
	for i := range 3 {
		near.Send(udp(t, 100+i))
	}
	fs := n.receive(3)
	if !n.io.Hold(fs[0]) || !n.io.Hold(fs[1]) || !n.io.Hold(fs[1]) || n.io.Hold(fs[2]) {
		t.Fatal("want two of three held")
	}
	if n.io.Held() != 2 || n.io.Drops()["hold_full"] != 1 {
		t.Errorf("%d held, drops %v", n.io.Held(), n.io.Drops())
	}
	n.io.Release(fs[2])
	n.io.Transmit(fs[1], hopID)
	n.io.Transmit(fs[0], hopID)
	n.io.Flush()
	far.Receive(func(b []byte) bool { return len(b) == len(udp(t, 100)) })
	if n.io.Held() != 0 {
		t.Errorf("%d still held", n.io.Held())
	}
}

func TestFramesOutsideAreBounded(t *testing.T) {
	n := newNode(t, 1500, IOConfig{Ring: 512})
	near := nstest.OpenWire(t, "in1")
	raw := udp(t, 10)
	for range maxBatch + 20 {
		near.Send(raw)
	}
	fs := n.receive(maxBatch)
	one := make([]*Frame, 1)
	if got := n.io.Receive(one); got != 0 {
		t.Fatalf("received %d frames with %d outside", got, maxBatch)
	}
	for _, f := range fs {
		n.io.Release(f)
	}
	fs = n.receive(20)
	for _, f := range fs {
		n.io.Release(f)
	}
}

func TestEveryDropOfTheSlowPathHasItsReason(t *testing.T) {
	n := newNode(t, 1500, IOConfig{})
	raw := udp(t, 1400)
	hop := n.NextHops()[hopID]
	drop := func(want Drop, act func(f *Frame) Drop) {
		t.Helper()
		was := n.io.Drops()[want.String()]
		n.io.Flush() // a new batch
		if got := act(n.fromWire(raw)); got != want || n.io.Drops()[want.String()] != was+1 {
			t.Errorf("dropped as %v, want %v; %v", got, want, n.io.Drops())
		}
	}
	transmit := func(f *Frame) Drop { return n.io.Transmit(f, hopID) }
	drop(DropNextHop, func(f *Frame) Drop { return n.io.Transmit(f, 0) })
	drop(DropNextHop, func(f *Frame) Drop { return n.io.Transmit(f, 6) })
	small := hop
	small.MTU = 1000
	n.NextHops()[hopID].Store(small)
	drop(DropTooBig, transmit)
	elsewhere := hop
	elsewhere.Iface = 9
	n.NextHops()[hopID].Store(elsewhere)
	drop(DropPort, transmit)
	n.NextHops()[hopID].Store(hop)
	drop(DropMember, func(f *Frame) Drop { return n.io.Forward(f, selfID, 0) })
	drop(DropMember, func(f *Frame) Drop { return n.io.Forward(f, 9, 0) })
	drop(DropMember, func(f *Frame) Drop { return n.io.Forward(f, 200, 0) })
	drop(DropHops, func(f *Frame) Drop {
		f.Punt.From, f.Punt.Hops = 3, CCLMaxHops
		return n.io.Forward(f, peerID, 0)
	})
	raw = udp(t, 1472) // the CCL's MTU is 1500 here: 66 bytes too little
	drop(DropTooBig, func(f *Frame) Drop { return n.io.Forward(f, peerID, 0) })
	drop(DropLease, func(f *Frame) Drop { n.RenewLease(0); return transmit(f) })
	n.RenewLease(Now() + int64(time.Hour))
	drop(DropLease, func(f *Frame) Drop { n.SetView(0, 0, selfID); return transmit(f) })
	n.SetView(viewID, 0, selfID)
	n.io.Flush()
	if d := n.io.Transmit(n.fromWire(raw), hopID); d != Sent {
		t.Errorf("after all that: %v", d)
	}
	if Drop(200).String() != "drop_200" {
		t.Error("unknown reasons must not panic")
	}
}

func TestWhatTheKernelDropsForWantOfRoomIsCounted(t *testing.T) {
	n := newNode(t, 1500, IOConfig{Ring: 16})
	near := nstest.OpenWire(t, "in1")
	for range 20 { // nobody receives
		near.Send(udp(t, 10))
	}
	nstest.Until(t, "the four that found no room are counted", func() bool {
		d := n.io.Drops()
		return d["kernel_no_frame"]+d["kernel_ring_full"] == 4
	})
	for _, f := range n.receive(16) {
		n.io.Release(f)
	}
}

func TestWaitingPacketsMakeADescriptorReadable(t *testing.T) {
	n := newNode(t, 1500, IOConfig{})
	var fds []unix.PollFd
	for _, fd := range n.io.FDs() {
		fds = append(fds, unix.PollFd{Fd: int32(fd), Events: unix.POLLIN})
	}
	if len(fds) != 3 {
		t.Fatalf("%d descriptors, want one a device", len(fds))
	}
	if ready, err := unix.Poll(fds, 0); err != nil || ready != 0 {
		t.Fatalf("%d ready before any packet, %v", ready, err)
	}
	nstest.OpenWire(t, "in1").Send(udp(t, 10))
	if ready, err := unix.Poll(fds, int(nstest.Wait.Milliseconds())); err != nil || ready != 1 {
		t.Fatalf("%d ready, %v", ready, err)
	}
	n.io.Release(n.receive(1)[0])
}

func TestHL5_WithoutTheDaemonsSocketsXDPDropsWhatItWouldPunt(t *testing.T) {
	n := newNode(t, 1500, IOConfig{})
	must(t, n.io.Close())
	must(t, n.io.Close())
	nstest.OpenWire(t, "in1").Send(udp(t, 10))
	nstest.Until(t, "the packet is dropped", func() bool {
		all, err := n.Counters()
		must(t, err)
		return all[bpf.DropNoSlowPath.String()] == 1
	})
}

func TestEndingAFrameTwicePanics(t *testing.T) {
	n := newNode(t, 1500, IOConfig{})
	f := n.fromWire(udp(t, 10))
	n.io.Release(f)
	defer func() {
		if recover() == nil {
			t.Error("second Release did not panic")
		}
	}()
	n.io.Release(f)
}

func TestSlowPathAllocatesNothingPerPacket(t *testing.T) {
	n := newNode(t, 1500, IOConfig{})
	near := nstest.OpenWire(t, "in1")
	raw, batch := udp(t, 100), make([]*Frame, 32)
	moved := 0
	allocs := testing.AllocsPerRun(60, func() {
		if _, err := unix.Write(near.FD(), raw); err != nil {
			t.Error(err)
		}
		for _, f := range batch[:n.io.Receive(batch)] {
			moved++
			if moved%2 == 0 {
				n.io.Transmit(f, hopID)
			} else {
				n.io.Forward(f, peerID, 1)
			}
		}
		n.io.Flush()
	})
	if allocs != 0 {
		t.Errorf("%v allocations a packet", allocs)
	}
	if s := n.io.Drops()["sent"]; s == 0 || int(s) != moved {
		t.Errorf("%d received, %d sent: the figure says nothing", moved, s)
	}
}

func TestMalformedPuntsAreRefused(t *testing.T) {
	good := func() *Frame {
		f := &Frame{buf: make([]byte, 256), start: 100, Punt: Punt{L3Offset: 14}}
		copy(f.buf[114:], []byte{0x45, 0, 0, 40})
		return f
	}
	for name, c := range map[string]struct {
		spoil  func(*Frame)
		length int
	}{
		"no room for IP":     {func(*Frame) {}, 33},
		"IPv6":               {func(f *Frame) { f.buf[114] = 0x60 }, 100},
		"longer than bytes":  {func(f *Frame) { f.buf[117] = 200 }, 100},
		"shorter than IP":    {func(f *Frame) { f.buf[117] = 19 }, 100},
		"offset in Ethernet": {func(f *Frame) { f.Punt.L3Offset = 13 }, 100},
		"offset past end":    {func(f *Frame) { f.Punt.L3Offset = 90 }, 100},
	} {
		f := good()
		c.spoil(f)
		if f.trim(c.length) {
			t.Errorf("%s: accepted as %d bytes", name, len(f.Data))
		}
	}
	if f := good(); !f.trim(60) || len(f.Data) != 54 {
		t.Error("a good one was refused")
	}
	for _, b := range [][]byte{nil, make([]byte, 31), make([]byte, 32)} {
		if _, ok := parsePunt(b); ok {
			t.Errorf("metadata of %d bytes without the magic was accepted", len(b))
		}
	}
}

func TestIOConfigurationIsChecked(t *testing.T) {
	for _, c := range []IOConfig{{Ring: -1}, {Hold: -1}, {Jumbos: -1}, {Queues: -1}} {
		if _, err := (&Dataplane{}).OpenIO(c); !errors.Is(err, ErrConfig) {
			t.Errorf("%+v: %v", c, err)
		}
	}
}
