package afxdp

import (
	"testing"
	"time"

	"cohort/dataplane/internal/nstest"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

// fill queues so many frames of n bytes.
func fill(t *testing.T, s *Socket, count, n int) {
	t.Helper()
	for i := range count {
		addr, ok := s.umem.Alloc()
		if !ok {
			t.Fatal("no frame left")
		}
		copy(s.umem.Frame(addr), frame(n, byte(i)))
		if s.Transmit([]Desc{{Addr: addr, Len: uint32(n)}}) != 1 {
			t.Fatal("not accepted")
		}
	}
}

// Each call of the kernel ends at a frame that the driver drops, such as for want of a
// carrier. A kick goes on: what it left would come to a peer when nobody knows how old
// it is.
func TestKickLeavesNothingBehindFramesThatTheDriverDrops(t *testing.T) {
	nstest.Enter(t)
	a, b := nstest.Veth(t, "a0", "a1", 1500)
	u := newUmem(t, 1024)
	s := open(t, u, a)
	wire := nstest.OpenWire(t, "a1")
	must(t, netlink.LinkSetDown(b))
	before := u.Available()
	fill(t, s, 100, 64)
	must(t, s.Kick())
	if n := s.Queued(); n != 0 {
		t.Errorf("%d of 100 frames are left", n)
	}
	nstest.Until(t, "all frames come back", func() bool { s.Complete(); return u.Available() == before })

	must(t, netlink.LinkSetUp(b))
	nstest.Until(t, "the carrier is back", func() bool { return nstest.Link(t, "a0").Attrs().RawFlags&unix.IFF_LOWER_UP != 0 })
	fill(t, s, 1, 99)
	must(t, s.Kick())
	if got := wire.Receive(func(b []byte) bool { return b[12] == testType>>8 }); len(got) != 99 {
		t.Errorf("a frame of %d bytes came, want the one since the carrier is back", len(got))
	}
}

// A device that takes no more for now is left alone, and asked again with the next kick.
func TestKickLeavesWhatTheDeviceDoesNotTakeToTheNext(t *testing.T) {
	nstest.Enter(t)
	a, _ := nstest.Veth(t, "a0", "a1", 1500)
	nstest.Lazy(t, "a1", 100*time.Millisecond)
	u := newUmem(t, 1024)
	s := open(t, u, a)
	wire := nstest.OpenWire(t, "a1")
	must(t, unix.SetsockoptInt(wire.FD(), unix.SOL_SOCKET, unix.SO_RCVBUFFORCE, 4<<20))
	fill(t, s, 200, 1500)
	must(t, s.Kick())
	left := s.Queued()
	if left == 0 || left == 200 {
		t.Fatalf("%d of 200 frames are left: the device took none or all, so this tests nothing", left)
	}
	nstest.Until(t, "all leave", func() bool { must(t, s.Kick()); return s.Queued() == 0 })
	for i := range 200 {
		wire.Receive(is(frame(1500, byte(i))))
	}
}
