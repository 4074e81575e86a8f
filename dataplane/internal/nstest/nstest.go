// Package nstest gives the tests of dataplane a network namespace each, with
// veth pairs and raw packet sockets. It is only for tests.
//
// The namespace has no name and belongs to the test's thread: when the test
// ends, however it ends, the kernel removes it.
package nstest

import (
	"net"
	"os"
	"runtime"
	"strconv"
	"testing"
	"time"
	"unsafe"

	"github.com/vishvananda/netlink"
	"github.com/vishvananda/netns"
	"golang.org/x/sys/unix"
)

// Wait is how long tests wait for a condition before they fail.
const Wait = 5 * time.Second

// Enter moves the calling test into a fresh network namespace for good. The
// test's goroutine keeps its thread, which dies with it. Subtests run in other
// goroutines: do not use them inside.
func Enter(t testing.TB) netns.NsHandle {
	t.Helper()
	if os.Geteuid() != 0 {
		t.Skip("needs root: makes network namespaces")
	}
	runtime.LockOSThread()
	ns := NewNS(t)
	if err := netns.Set(ns); err != nil {
		t.Fatalf("enter namespace: %v", err)
	}
	return ns
}

// NewNS makes a namespace with lo up and returns to the current one.
func NewNS(t testing.TB) netns.NsHandle {
	t.Helper()
	here, err := netns.Get()
	check(t, err)
	defer here.Close()
	ns, err := netns.New()
	check(t, err)
	lo, err := netlink.LinkByName("lo")
	check(t, err)
	check(t, netlink.LinkSetUp(lo))
	check(t, netns.Set(here))
	t.Cleanup(func() { ns.Close() })
	return ns
}

// In runs f with the calling thread in ns.
func In(t testing.TB, ns netns.NsHandle, f func()) {
	t.Helper()
	here, err := netns.Get()
	check(t, err)
	defer here.Close()
	check(t, netns.Set(ns))
	defer func() { check(t, netns.Set(here)) }()
	f()
}

// Veth makes a pair of interfaces, both here and up, without IPv6 chatter and
// without checksum offload, and returns them.
func Veth(t testing.TB, a, b string, mtu int) (netlink.Link, netlink.Link) {
	t.Helper()
	attrs := netlink.NewLinkAttrs()
	attrs.Name, attrs.MTU = a, mtu
	check(t, netlink.LinkAdd(&netlink.Veth{LinkAttrs: attrs, PeerName: b, PeerMTU: uint32(mtu)}))
	for _, name := range []string{a, b} {
		_ = os.WriteFile("/proc/sys/net/ipv6/conf/"+name+"/disable_ipv6", []byte("1"), 0o644) // may be absent
		NoOffload(t, name)
		check(t, netlink.LinkSetUp(Link(t, name)))
	}
	la, lb := Link(t, a), Link(t, b)
	Until(t, "veth pair is running", func() bool {
		la, lb = Link(t, a), Link(t, b)
		return la.Attrs().RawFlags&unix.IFF_RUNNING != 0 && lb.Attrs().RawFlags&unix.IFF_RUNNING != 0
	})
	return la, lb
}

// Link returns the interface of this name.
func Link(t testing.TB, name string) netlink.Link {
	t.Helper()
	l, err := netlink.LinkByName(name)
	check(t, err)
	return l
}

// Move puts link into ns; it is down afterwards and loses its addresses.
func Move(t testing.TB, l netlink.Link, ns netns.NsHandle) {
	t.Helper()
	check(t, netlink.LinkSetNsFd(l, int(ns)))
}

// Up brings the interface of this name up and gives it addresses.
func Up(t testing.TB, name string, cidrs ...string) netlink.Link {
	t.Helper()
	l := Link(t, name)
	check(t, netlink.LinkSetUp(l))
	for _, c := range cidrs {
		a, err := netlink.ParseAddr(c)
		check(t, err)
		check(t, netlink.AddrAdd(l, a))
	}
	return l
}

// NoOffload turns off transmit checksum and segmentation offload: XDP loses
// partial checksums.
func NoOffload(t testing.TB, name string) {
	t.Helper()
	const ethtoolSTXCSUM, ethtoolSTSO, ethtoolSGSO = 0x17, 0x1f, 0x24
	for _, cmd := range []uint32{ethtoolSTXCSUM, ethtoolSTSO, ethtoolSGSO} {
		ethtool(t, name, cmd, 0)
	}
}

// GRO turns on generic receive offload: a veth without an XDP program needs it
// to receive frames that its peer was redirected.
func GRO(t testing.TB, name string) {
	t.Helper()
	const ethtoolSGRO = 0x2c
	ethtool(t, name, ethtoolSGRO, 1)
}

// ethtool sets one of the old-style switches; drivers without it are fine.
func ethtool(t testing.TB, name string, cmd, on uint32) {
	t.Helper()
	fd, err := unix.Socket(unix.AF_INET, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
	check(t, err)
	defer unix.Close(fd)
	value := [2]uint32{cmd, on}
	var req struct {
		name [unix.IFNAMSIZ]byte
		data unsafe.Pointer
		_    [16]byte
	}
	copy(req.name[:], name)
	req.data = unsafe.Pointer(&value)
	_, _, e := unix.Syscall(unix.SYS_IOCTL, uintptr(fd), unix.SIOCETHTOOL, uintptr(unsafe.Pointer(&req)))
	if e != 0 && e != unix.EOPNOTSUPP {
		t.Fatalf("ethtool %#x on %s: %v", cmd, name, e)
	}
}

// Until waits for a condition.
func Until(t testing.TB, what string, cond func() bool) {
	t.Helper()
	for deadline := time.Now().Add(Wait); !cond(); time.Sleep(time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("waited %v in vain: %s", Wait, what)
		}
	}
}

// Wire is a raw packet socket: it sends and sees whole Ethernet frames.
type Wire struct {
	t  testing.TB
	fd int
}

// OpenWire opens a packet socket on the interface of this name.
func OpenWire(t testing.TB, name string) *Wire {
	t.Helper()
	const ethPAll = 0x0300 // htons(ETH_P_ALL)
	fd, err := unix.Socket(unix.AF_PACKET, unix.SOCK_RAW|unix.SOCK_CLOEXEC, ethPAll)
	check(t, err)
	t.Cleanup(func() { unix.Close(fd) })
	check(t, unix.Bind(fd, &unix.SockaddrLinklayer{Protocol: ethPAll, Ifindex: Link(t, name).Attrs().Index}))
	return &Wire{t, fd}
}

// Send puts one frame on the wire.
func (w *Wire) Send(frame []byte) {
	w.t.Helper()
	_, err := unix.Write(w.fd, frame)
	check(w.t, err)
}

// Receive returns the next frame that arrived from the peer and satisfies ok.
func (w *Wire) Receive(ok func([]byte) bool) []byte {
	w.t.Helper()
	if f := w.Try(Wait, ok); f != nil {
		return f
	}
	w.t.Fatalf("no matching frame within %v", Wait)
	return nil
}

// Try is Receive with its own patience; nil when nothing came.
func (w *Wire) Try(patience time.Duration, ok func([]byte) bool) []byte {
	w.t.Helper()
	buf := make([]byte, 65536)
	for deadline := time.Now().Add(patience); ; {
		left := time.Until(deadline)
		if left <= 0 {
			return nil
		}
		fds := []unix.PollFd{{Fd: int32(w.fd), Events: unix.POLLIN}}
		if n, _ := unix.Poll(fds, int(left.Milliseconds())+1); n == 0 {
			return nil
		}
		n, from, err := unix.Recvfrom(w.fd, buf, 0)
		if err != nil {
			continue
		}
		if ll, is := from.(*unix.SockaddrLinklayer); is && ll.Pkttype == unix.PACKET_OUTGOING {
			continue
		}
		if ok == nil || ok(buf[:n]) {
			return buf[:n:n]
		}
	}
}

// MAC returns the hardware address of the interface of this name.
func MAC(t testing.TB, name string) net.HardwareAddr { return Link(t, name).Attrs().HardwareAddr }

func check(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// FD is the socket's descriptor.
func (w *Wire) FD() int { return w.fd }

// Lazy makes a veth take what its peer sends it only every so often. Meanwhile that
// fills the ring between the two and its senders' buffers, as a slow device does.
func Lazy(t testing.TB, name string, every time.Duration) {
	t.Helper()
	GRO(t, name) // without it, or an XDP program, there is no ring
	sys := t.TempDir()
	check(t, unix.Mount("sysfs", sys, "sysfs", unix.MS_NOSUID|unix.MS_NODEV|unix.MS_NOEXEC, "")) // of this namespace
	defer func() { check(t, unix.Unmount(sys, 0)) }()
	for file, value := range map[string]int64{"gro_flush_timeout": every.Nanoseconds(), "napi_defer_hard_irqs": 1 << 30} {
		check(t, os.WriteFile(sys+"/class/net/"+name+"/"+file, []byte(strconv.FormatInt(value, 10)), 0o644))
	}
}
