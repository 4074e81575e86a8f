package dataplane

import (
	"bytes"
	"encoding/binary"
	"net/netip"
	"testing"
	"time"

	"cohort/ccl/wire"
	"cohort/dataplane/internal/nstest"
	"cohort/packet"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

const innerMark = 0x88b6 // ethertype of what these tests send inside, IEEE 802 local experimental 2

// inner is what the caller of Tunnel gives: headers, and a body of n bytes.
func inner(n int, mark byte) (header, body []byte) {
	header, body = bytes.Repeat([]byte{mark}, 42), bytes.Repeat([]byte{^mark}, n)
	binary.BigEndian.PutUint16(header[12:], innerMark)
	return header, body
}

// isTunnelled finds such frames.
func (n *node) isTunnelled(b []byte) bool {
	at := n.outer.before() + 12
	return len(b) >= at+2 && binary.BigEndian.Uint16(b[at:]) == innerMark
}

func (n *node) send(body int, mark byte) Drop {
	h, b := inner(body, mark)
	return n.io.Tunnel(peerID, n.peerVTEP(), 0xa0, h, b)
}

func (n *node) peerVTEP() netip.Addr {
	if n.outer == ipv6Len {
		return overIPv6.peer
	}
	return overIPv4.peer
}

// wants compares the totals of Tunnel.
func (n *node) wants(when string, want Tunnelled) {
	n.t.Helper()
	if got := n.io.Tunnelled(); got != want {
		n.t.Errorf("%s: %+v, want %+v", when, got, want)
	}
}

// CL5, CL9: what is inside arrives as it was given, behind headers that are right, also when
// it takes several frames of the ring.
func TestCL5_TunnelledDatagramsArriveWhole(t *testing.T) {
	overBoth(t, func(t *testing.T, vteps family) {
		const mtu = 9198
		n := newNodeOver(t, vteps, mtu, IOConfig{})
		far := nstest.OpenWire(t, "ccl1")
		inside := mtu + ethernetLen - n.outer.before() - 42 // of the largest
		for i, size := range []int{0, 100, 4096 - n.outer.before() - 42, 4097 - n.outer.before() - 42, inside} {
			if why := n.send(size, byte(i)); why != Sent {
				if size > 4000 && why == DropTooBig && !n.io.sockets[0].MultiBuffer() {
					continue // a kernel before 6.6: the caller sends it otherwise
				}
				t.Fatalf("%d bytes: %v", size, why)
			}
			n.io.Flush()
			got := far.Receive(n.isTunnelled)
			h, b := inner(size, byte(i))
			if want := append(h, b...); !bytes.Equal(got[n.outer.before():], want) {
				t.Errorf("%d bytes inside, want %d as they were given", len(got)-n.outer.before(), len(want))
			}
			m := n.memory.members[peerID]
			if c := n.memory.control; !bytes.Equal(got[:6], m.MAC[:]) || !bytes.Equal(got[6:12], c.CCLMAC[:]) {
				t.Errorf("Ethernet % x", got[:14])
			}
			src, dst := got[ethernetLen+12:ethernetLen+16], got[ethernetLen+16:ethernetLen+20]
			if n.outer == ipv6Len {
				src, dst = got[ethernetLen+8:ethernetLen+24], got[ethernetLen+24:ethernetLen+40]
			}
			if !bytes.Equal(src, vteps.self.AsSlice()) || !bytes.Equal(dst, vteps.peer.AsSlice()) {
				t.Errorf("from %x to %x", src, dst)
			}
		}
		if why := n.send(inside+1, 0); why != DropTooBig {
			t.Errorf("one byte more than the link takes: %v", why)
		}
	})
}

// CL5: the traffic class of what is inside stands outside, and lengths and checksum are
// right with any.
func TestCL5_TheTunnelShowsItsTrafficClass(t *testing.T) {
	be := binary.BigEndian
	for _, vtep := range []string{"10.99.0.1", "fd00::1"} {
		o := outerOf(netip.MustParseAddr(vtep))
		c, to := &Control{VNI: 77}, &Member{MAC: [6]byte{2, 0, 0, 0, 0, 9}}
		for _, tos := range []uint8{0, 0xa0, 0xff} {
			b := make([]byte, 128)
			o.tunnel(b, c, to, 5, tos, 300)
			ip := b[ethernetLen:]
			udp := ip[int(o):]
			switch {
			case o == ipv4Len && (ip[1] != tos || packet.Checksum(ip[:ipv4Len]) != 0 || be.Uint16(ip[2:]) != ipv4Len+tunnelLen+300):
				t.Errorf("class %x over IPv4: % x", tos, ip[:ipv4Len])
			case o == ipv6Len && (be.Uint32(ip)>>20 != 0x600|uint32(tos) || be.Uint16(ip[4:]) != tunnelLen+300):
				t.Errorf("class %x over IPv6: % x", tos, ip[:ipv6Len])
			case be.Uint16(udp[2:]) != 4789 || be.Uint16(udp[4:]) != tunnelLen+300 || be.Uint32(udp[12:])>>8 != 77:
				t.Errorf("UDP and VXLAN: % x", udp[:tunnelLen])
			}
		}
	}
}

// What Tunnel does not take is refused by a reason that is counted, so that the caller
// sends it otherwise. A member that has come back with another address has its former one in
// the table until that follows; the present MTU counts, not that of the start (CL3).
func TestCL3_TunnelRefusesWhatIsNotForItsTable(t *testing.T) {
	n := newNode(t, 1700, IOConfig{})
	h, b := inner(1000, 1)
	size := n.outer.before() - ethernetLen + len(h) + len(b)
	other := netip.MustParseAddr("10.99.0.3")
	for _, c := range []struct {
		name string
		id   wire.NodeID
		vtep netip.Addr
		mtu  int
		want Drop
	}{
		{"a member", peerID, overIPv4.peer, size, Sent},
		{"another address under its id", peerID, other, size, DropMember},
		{"this node", selfID, overIPv4.self, size, DropMember},
		{"nobody", 0, overIPv4.peer, size, DropMember},
		{"no id", MaxNodes, overIPv4.peer, size, DropMember},
		{"a link that has become narrow", peerID, overIPv4.peer, size - 1, DropTooBig},
		{"and wide again", peerID, overIPv4.peer, size, Sent},
	} {
		n.SetCCLMTU(c.mtu)
		if why := n.io.Tunnel(c.id, c.vtep, 0, h, b); why != c.want {
			t.Errorf("%s: %v, want %v", c.name, why, c.want)
		}
	}
	n.wants("before a flush", Tunnelled{Member: 4, TooBig: 1})
	n.io.Flush()
	n.wants("after it", Tunnelled{Sent: 2, Member: 4, TooBig: 1})
}

// A device that does not take all for now is come back to: Flush says so. Until all has
// left, nothing new is queued behind it, and what is left is not counted as sent.
func TestCL5_WhatASlowDeviceLeavesIsAskedForAgain(t *testing.T) {
	n := newNode(t, 1700, IOConfig{})
	nstest.Lazy(t, "ccl1", 100*time.Millisecond)
	far := nstest.OpenWire(t, "ccl1")
	must(t, unix.SetsockoptInt(far.FD(), unix.SOL_SOCKET, unix.SO_RCVBUFFORCE, 4<<20))
	const count = 200
	for i := range count {
		if why := n.send(1500, byte(i)); why != Sent {
			t.Fatalf("datagram %d: %v", i, why)
		}
	}
	if !n.io.Flush() {
		t.Fatal("nothing is left: the device took all, and this tests nothing")
	}
	if why := n.send(1500, 0); why != DropQueueFull {
		t.Errorf("behind what is left: %v", why)
	}
	n.wants("with some left", Tunnelled{Full: 1})
	nstest.Until(t, "all leaves", func() bool { return !n.io.Flush() })
	n.wants("with none left", Tunnelled{Sent: count, Full: 1})
	for i := range count {
		if got := far.Receive(n.isTunnelled); got[n.outer.before()] != byte(i) {
			t.Fatalf("datagram %d came in place of %d", got[n.outer.before()], i)
		}
	}
	if why := n.send(1500, 0); why != Sent {
		t.Errorf("with room again: %v", why)
	}
}

// While the CCL is down one batch at most waits in the ring; it leaves first when that is
// up again. Nobody is asked to come again soon.
func TestCL6_OneBatchWaitsForALinkThatIsDown(t *testing.T) {
	n := newNode(t, 1700, IOConfig{})
	ccl := nstest.Link(t, "ccl0")
	must(t, netlink.LinkSetDown(ccl))
	for i := range 3 {
		if why := n.send(100, byte(i)); why != Sent {
			t.Fatalf("datagram %d: %v", i, why)
		}
	}
	for range 2 {
		if n.io.Flush() {
			t.Error("Flush asks to come again soon")
		}
		if why := n.send(100, 9); why != DropQueueFull {
			t.Errorf("after it was found down: %v", why)
		}
	}
	n.wants("down", Tunnelled{Full: 2})
	far := comesUp(t, ccl)
	n.io.Flush()
	if why := n.send(100, 3); why != Sent {
		t.Errorf("up again: %v", why)
	}
	n.io.Flush()
	n.wants("up again", Tunnelled{Sent: 4, Full: 2})
	for i := range 4 {
		if got := far.Receive(n.isTunnelled); got[n.outer.before()] != byte(i) {
			t.Fatalf("datagram %d came in place of %d", got[n.outer.before()], i)
		}
	}
}

// Without a carrier datagrams are lost, as on any link, and none of them comes later.
func TestCL6_NothingWaitsForACarrier(t *testing.T) {
	n := newNode(t, 1700, IOConfig{})
	end := nstest.Link(t, "ccl1")
	must(t, netlink.LinkSetDown(end))
	for i := range 100 {
		if why := n.send(100, byte(i)); why != Sent {
			t.Fatalf("datagram %d: %v", i, why)
		}
	}
	n.io.Flush()
	far := comesUp(t, end)
	if why := n.send(100, 200); why != Sent {
		t.Fatal(why)
	}
	n.io.Flush()
	if got := far.Receive(n.isTunnelled); got[n.outer.before()] != 200 {
		t.Errorf("datagram %d of before came", got[n.outer.before()])
	}
}

// FlushTunnel sends what was queued before, for what goes another way then.
func TestCL5_FlushTunnelSendsWhatWasQueued(t *testing.T) {
	n := newNode(t, 1700, IOConfig{})
	far := nstest.OpenWire(t, "ccl1")
	if why := n.send(100, 1); why != Sent {
		t.Fatal(why)
	}
	n.io.FlushTunnel()
	far.Receive(n.isTunnelled)
	n.wants("flushed", Tunnelled{Sent: 1})
}

func TestTunnelAllocatesNothing(t *testing.T) {
	n := newNode(t, 1700, IOConfig{})
	h, b := inner(1000, 1)
	allocs := testing.AllocsPerRun(60, func() {
		if why := n.io.Tunnel(peerID, overIPv4.peer, 0, h, b); why != Sent {
			t.Error(why)
		}
		n.io.FlushTunnel()
	})
	if allocs != 0 {
		t.Errorf("%v allocations a datagram", allocs)
	}
}

func TestTunnelAfterClose(t *testing.T) {
	n := newNode(t, 1700, IOConfig{})
	if why := n.send(100, 1); why != Sent {
		t.Fatal(why)
	}
	if err := n.io.Close(); err != nil {
		t.Fatal(err)
	}
	n.io.FlushTunnel()
	if n.io.Flush() {
		t.Error("a closed IO has something left")
	}
}

// comesUp sets an end of the control link up, waits for the carrier, and listens at the far one.
func comesUp(t *testing.T, end netlink.Link) *nstest.Wire {
	must(t, netlink.LinkSetUp(end))
	nstest.Until(t, "the carrier is back", func() bool { return nstest.Link(t, "ccl0").Attrs().RawFlags&unix.IFF_LOWER_UP != 0 })
	return nstest.OpenWire(t, "ccl1")
}
