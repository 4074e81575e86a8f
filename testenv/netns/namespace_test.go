package netns

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"os"
	"os/exec"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

func TestNamespace_IsItsOwn(t *testing.T) {
	n := newTest(t)
	links, err := n.Netlink().LinkList()
	if err != nil {
		t.Fatal(err)
	}
	if len(links) != 1 || links[0].Attrs().Name != "lo" {
		t.Errorf("a new namespace has links %v, want lo alone", links)
	}
	before, err := os.ReadFile("/proc/sys/net/ipv4/ip_default_ttl")
	if err != nil {
		t.Fatal(err)
	}
	if err := n.Sysctl("net/ipv4/ip_default_ttl", "33"); err != nil {
		t.Fatal(err)
	}
	out, err := os.ReadFile("/proc/sys/net/ipv4/ip_default_ttl")
	if err != nil || string(out) != string(before) {
		t.Errorf("the caller's sysctl became %q (%v), want %q", out, err, before)
	}
	var in []byte
	err = n.Do(func() (err error) { in, err = os.ReadFile("/proc/sys/net/ipv4/ip_default_ttl"); return err })
	if err != nil || strings.TrimSpace(string(in)) != "33" {
		t.Errorf("sysctl inside = %q, %v; want 33", in, err)
	}
	if err := n.Sysctl("net/ipv4/no_such_thing", "1"); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("unknown sysctl: %v, want not exist", err)
	}
}

func TestNamespace_NameIsTakenOnce(t *testing.T) {
	n := newTest(t)
	if _, err := New(n.Name()); !errors.Is(err, os.ErrExist) {
		t.Errorf("second namespace of one name: %v, want exists", err)
	}
}

func TestNamespace_CloseIsFinalAndIdempotent(t *testing.T) {
	n := newTest(t)
	for range 2 {
		if err := n.Close(); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := os.Stat(n.Path()); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("name after Close: %v, want gone", err)
	}
	if err := n.Do(func() error { return nil }); !errors.Is(err, ErrClosed) {
		t.Errorf("Do after Close: %v, want ErrClosed", err)
	}
}

func TestSockets_LiveInside(t *testing.T) {
	a, b := newTest(t), newTest(t)
	l, err := a.Listen("127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	addr := l.Addr().(*net.TCPAddr).AddrPort()
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
	defer cancel()
	if _, err := b.DialTCP(ctx, addr); err == nil || !strings.Contains(err.Error(), "refused") {
		t.Errorf("dial from another namespace: %v, want refused", err)
	}
	const conns = 50
	var served sync.WaitGroup
	served.Go(func() {
		for range conns {
			c, err := l.Accept()
			if err != nil {
				t.Error(err)
				return
			}
			served.Go(func() { defer c.Close(); io.Copy(c, c) })
		}
	})
	var dialled sync.WaitGroup
	for range conns {
		dialled.Go(func() {
			c, err := a.DialTCP(ctx, addr)
			if err != nil {
				t.Error(err)
				return
			}
			defer c.Close()
			io.WriteString(c, "hello")
			c.CloseWrite()
			if got, err := io.ReadAll(c); err != nil || string(got) != "hello" {
				t.Errorf("echo = %q, %v", got, err)
			}
		})
	}
	dialled.Wait()
	served.Wait()
}

func TestDialTCP_EndsWithItsContext(t *testing.T) {
	n := newTest(t)
	// A bridge without ports: nobody answers, neither ARP nor SYN.
	br := &netlink.Bridge{LinkAttrs: netlink.LinkAttrs{Name: "b"}}
	subnet := &netlink.Addr{IPNet: &net.IPNet{IP: net.IPv4(10, 9, 9, 1), Mask: net.CIDRMask(24, 32)}}
	nl := n.Netlink()
	if err := errors.Join(nl.LinkAdd(br), nl.AddrAdd(br, subnet), nl.LinkSetUp(br)); err != nil {
		t.Fatal(err)
	}
	addr := netip.MustParseAddrPort("10.9.9.2:80")
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Millisecond)
	defer cancel()
	if _, err := n.DialTCP(ctx, addr); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("dial where nobody answers: %v, want deadline exceeded", err)
	}
	canceled, cancel2 := context.WithCancel(t.Context())
	cancel2()
	if _, err := n.DialTCP(canceled, addr); !errors.Is(err, context.Canceled) {
		t.Errorf("dial with an ended context: %v, want canceled", err)
	}
}

func TestUDP_LivesInside(t *testing.T) {
	n := newTest(t)
	s, err := n.ListenPacket("udp4", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	c, err := n.DialUDP(s.LocalAddr().(*net.UDPAddr).AddrPort())
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	if _, err := c.Write([]byte("x")); err != nil {
		t.Fatal(err)
	}
	s.SetReadDeadline(time.Now().Add(10 * time.Second))
	var b [8]byte
	k, from, err := s.ReadFrom(b[:])
	if err != nil || k != 1 || netip.MustParseAddrPort(from.String()) != c.LocalAddr().(*net.UDPAddr).AddrPort() {
		t.Errorf("read %d bytes from %v: %v", k, from, err)
	}
}

func TestStart_RunsInside(t *testing.T) {
	n := newTest(t)
	cmd := exec.Command("readlink", "/proc/self/ns/net")
	var out strings.Builder
	cmd.Stdout = &out
	if err := n.Run(t.Context(), cmd); err != nil {
		t.Fatal(err)
	}
	var want string
	err := n.Do(func() (err error) { want, err = os.Readlink("/proc/thread-self/ns/net"); return err })
	if err != nil || strings.TrimSpace(out.String()) != want {
		t.Errorf("command ran in %q, want %q (%v)", out.String(), want, err)
	}
}

func TestProcess_WaitKillsTheGroupWhenItsContextEnds(t *testing.T) {
	n := newTest(t)
	p, err := n.Start(exec.Command("sh", "-c", "sleep 600 & wait"))
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if err := p.Wait(ctx); !errors.Is(err, context.Canceled) {
		t.Errorf("Wait = %v, want canceled", err)
	}
	eventually(t, "the group is dead", func() bool { return len(inside(t, n)) == 0 })
}

func TestKill_ReachesDetachedChildren(t *testing.T) {
	n := newTest(t)
	p, err := n.Start(exec.Command("sh", "-c", "setsid sleep 600 & wait"))
	if err != nil {
		t.Fatal(err)
	}
	eventually(t, "shell and its child run", func() bool { return len(inside(t, n)) == 2 })
	if err := n.Kill(); err != nil {
		t.Fatal(err)
	}
	select {
	case <-p.Done():
	default:
		t.Error("Kill returned before the process was waited for")
	}
	eventually(t, "nobody is left inside", func() bool { return len(inside(t, n)) == 0 })
	if err := n.Run(t.Context(), exec.Command("true")); err != nil {
		t.Errorf("the namespace is unusable after Kill: %v", err)
	}
}

// A person's `ip netns` and ours get along, whoever is first on a machine.
func TestNamespace_IPNetnsBesideIt(t *testing.T) {
	newTest(t) // proves root
	cmd := exec.Command(os.Args[0])
	cmd.Env = append(os.Environ(), childRole+"=fresh")
	cmd.SysProcAttr = &syscall.SysProcAttr{Unshareflags: syscall.CLONE_NEWNS}
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
}

// onFreshMachine is the child of TestNamespace_IPNetnsBesideIt, with mounts of its own.
func onFreshMachine() error {
	if err := unix.Mount("none", "/run", "tmpfs", 0, ""); err != nil {
		return err
	}
	n, err := New("cohort-fresh")
	if err != nil {
		return err
	}
	if out, err := exec.Command("ip", "netns", "add", "a-person").CombinedOutput(); err != nil {
		return fmt.Errorf("ip netns add: %w: %s", err, out)
	}
	if err := n.Close(); err != nil {
		return err
	}
	if out, err := exec.Command("ip", "netns", "del", "a-person").CombinedOutput(); err != nil {
		return fmt.Errorf("ip netns del: %w: %s", err, out)
	}
	left, err := os.ReadDir(Dir)
	if err == nil && len(left) > 0 {
		err = fmt.Errorf("%s is left", left[0].Name())
	}
	return err
}
