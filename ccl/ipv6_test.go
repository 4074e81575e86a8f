package ccl

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"net/netip"
	"testing"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

func vtepIPv6(i int) netip.Addr {
	return netip.AddrFrom16([16]byte{0xfd, 0, 0, 0x99, 15: byte(i + 1)})
}

func (w *wiring) configIPv6(i int) LinkConfig {
	cfg := LinkConfig{Interface: ccl0, Address: netip.PrefixFrom(vtepIPv6(i), 64), VNI: 77}
	for j := range w.nodes {
		if j != i {
			cfg.Peers = append(cfg.Peers, vtepIPv6(j))
		}
	}
	return cfg
}

// TestCL9_FullMTUCrossesOverIPv6: 1500 + 174 on the link, in one frame without
// extension headers or checksum, under the class of state; one byte more is not
// sent. The device stays for the next run.
func TestCL9_FullMTUCrossesOverIPv6(t *testing.T) {
	const mtu = 1674
	w := newWiring(t, 3, mtu)
	var links []*Link
	for i := range 3 {
		links = append(links, w.mustOpen(i, w.configIPv6(i)))
	}
	if got := links[0].MTU(); got != mtu {
		t.Fatalf("mtu %d, want %d", got, mtu)
	}
	links[0].Broadcast([]byte("to all"))
	by := collect(t, links, func(by [][]got) bool { return len(by[1]) == 1 && len(by[2]) == 1 })
	if want := (got{vtepIPv6(0), "to all"}); by[1][0] != want || by[2][0] != want {
		t.Errorf("got %v", by)
	}
	fd := w.watch("p1")
	full := bytes.Repeat([]byte{0xa5}, mtu-70-udpOverhead)
	links[0].Send(vtepIPv6(1), append(bytes.Clone(full), 1))
	if n := links[0].Counters().SendTooBig; n != 1 {
		t.Errorf("a datagram too large was not refused: %+v", links[0].Counters())
	}
	links[0].Send(vtepIPv6(1), full)
	collect(t, links, func(by [][]got) bool { return len(by[1]) == 1 && by[1][0].data == string(full) })
	frame, seen := make([]byte, 10_000), 0
	for {
		n, _, err := unix.Recvfrom(fd, frame, 0)
		if err != nil {
			break
		}
		if n < 1000 {
			continue // neighbour discovery and the like
		}
		seen++
		ip, udp := frame[14:], frame[54:]
		length := int(binary.BigEndian.Uint16(ip[4:]))
		if n != mtu+14 || length != mtu-40 || ip[6] != unix.IPPROTO_UDP || udp[6]|udp[7] != 0 || binary.BigEndian.Uint16(ip)>>4&0xff != stateTOS {
			t.Errorf("frame of %d bytes: %x", n, frame[:62])
		}
	}
	if seen != 1 {
		t.Errorf("%d frames", seen)
	}
	index := links[0].dev.Attrs().Index
	if err := links[0].Close(); err != nil {
		t.Fatal(err)
	}
	if again := w.mustOpen(0, w.configIPv6(0)); again.dev.Attrs().Index != index {
		t.Error("the device was made anew")
	}
}

// TestCL9_InterfaceIsMadeReadyForIPv6: off before, and deaf to routers after; the
// address stays over a cut and is usable at once.
func TestCL9_InterfaceIsMadeReadyForIPv6(t *testing.T) {
	w := newWiring(t, 1, 1674)
	if err := w.nodes[0].Sysctl("net/ipv6/conf/"+ccl0+"/disable_ipv6", "1"); err != nil {
		t.Fatal(err)
	}
	w.mustOpen(0, w.configIPv6(0))
	w.in(w.nodes[0], func() error {
		l, err := netlink.LinkByName(ccl0)
		if err != nil {
			return err
		}
		if err := netlink.LinkSetDown(l); err != nil {
			return err
		}
		if err := netlink.LinkSetUp(l); err != nil {
			return err
		}
		list, err := netlink.AddrList(l, netlink.FAMILY_V6)
		if err != nil {
			return err
		}
		for _, a := range list {
			if a.IP.Equal(vtepIPv6(0).AsSlice()) && a.Flags&unix.IFA_F_TENTATIVE == 0 {
				return nil
			}
		}
		return fmt.Errorf("after a cut: %v", list)
	})
}

func TestCL9_OneFamilyOnALink(t *testing.T) {
	for _, peer := range []netip.Addr{vtep(1), netip.MustParseAddr("::ffff:10.99.0.2"), vtepIPv6(1).WithZone("eth0")} {
		cfg := LinkConfig{Interface: ccl0, Address: netip.PrefixFrom(vtepIPv6(0), 64), VNI: 1, Peers: []netip.Addr{peer}}
		if err := cfg.check(); err == nil {
			t.Errorf("peer %v of %v was taken", peer, cfg.Address)
		}
	}
	cfg := LinkConfig{Interface: ccl0, Address: netip.PrefixFrom(vtepIPv6(0), 64), VNI: 1, MTU: 1279}
	if err := cfg.check(); err == nil {
		t.Error("mtu 1279 was taken, which IPv6 does not run over")
	}
}
