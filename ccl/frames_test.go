package ccl

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"net"
	"testing"

	"golang.org/x/sys/unix"
)

// watch opens a packet socket on a switch port.
func (w *wiring) watch(port string) (fd int) {
	w.t.Helper()
	w.in(w.sw, func() error {
		i, err := net.InterfaceByName(port)
		if err != nil {
			return err
		}
		const all = unix.ETH_P_ALL<<8&0xff00 | unix.ETH_P_ALL>>8
		if fd, err = unix.Socket(unix.AF_PACKET, unix.SOCK_RAW|unix.SOCK_CLOEXEC|unix.SOCK_NONBLOCK, all); err != nil {
			return err
		}
		return unix.Bind(fd, &unix.SockaddrLinklayer{Protocol: all, Ifindex: i.Index})
	})
	w.t.Cleanup(func() { unix.Close(fd) })
	return fd
}

// CL2: a datagram that fills the MTU is one frame of MTU bytes behind the
// Ethernet header, with DF outside and inside; one byte more is not sent.
func TestCL2FullMTUCrossesUnfragmented(t *testing.T) {
	for _, mtu := range []int{DefaultMTU, MaxMTU} {
		t.Run(fmt.Sprint(mtu), func(t *testing.T) {
			w := newWiring(t, 2, mtu)
			var links []*Link
			for i := range 2 {
				cfg := w.config(i)
				cfg.MTU = mtu
				links = append(links, w.mustOpen(i, cfg))
			}
			fd := w.watch("p1")
			full := bytes.Repeat([]byte{0xa5}, mtu-VXLANOverhead-udpOverhead)
			links[0].Send(vtep(1), append(bytes.Clone(full), 1))
			if n := links[0].Counters().SendTooBig; n != 1 {
				t.Errorf("a datagram too large was not refused: %+v", links[0].Counters())
			}
			links[0].Send(vtep(1), full)
			by := collect(t, links, func(by [][]got) bool { return len(by[1]) == 1 })
			if by[1][0].data != string(full) {
				t.Error("changed on the way")
			}
			seen := 0
			frame := make([]byte, 10_000)
			for {
				n, _, err := unix.Recvfrom(fd, frame, 0)
				if err != nil {
					break
				}
				if n < 1000 {
					continue // ARP and the like
				}
				seen++
				outer, inner := frame[14:], frame[14+VXLANOverhead:]
				if n != mtu+14 || int(binary.BigEndian.Uint16(outer[2:])) != mtu || int(binary.BigEndian.Uint16(inner[2:])) != mtu-VXLANOverhead {
					t.Errorf("frame of %d bytes", n)
				}
				if outer[6]&0x40 == 0 || inner[6]&0x40 == 0 || outer[6]&0x3f|outer[7]|inner[6]&0x3f|inner[7] != 0 {
					t.Errorf("fragment fields %x outside, %x inside", outer[6:8], inner[6:8])
				}
			}
			if seen != 1 {
				t.Errorf("%d frames", seen)
			}
			// Membership may be larger than the MTU: IP fragments it.
			links[0].SendControl(vtep(1), append(bytes.Clone(full), 1))
			collect(t, links, func(by [][]got) bool { return len(by[1]) == 1 && len(by[1][0].data) == len(full)+1 })
		})
	}
}

// CL5: switches see outside which frames go before data: membership, then state.
func TestCL5ClassesShowOutside(t *testing.T) {
	w := newWiring(t, 2, DefaultMTU)
	a, b := w.mustOpen(0, w.config(0)), w.mustOpen(1, w.config(1))
	fd := w.watch("p1")
	a.Send(vtep(1), []byte("state"))
	a.SendControl(vtep(1), []byte("control"))
	a.Broadcast([]byte("to all"))
	collect(t, []*Link{b}, func(by [][]got) bool { return len(by[0]) == 3 })
	want := map[string]byte{"state": 0xa0, "control": 0xc0, "to all": 0xc0}
	frame := make([]byte, 10_000)
	for {
		n, _, err := unix.Recvfrom(fd, frame, 0)
		if err != nil {
			break
		}
		for text, tos := range want {
			if !bytes.HasSuffix(frame[:n], []byte(text)) {
				continue
			}
			delete(want, text)
			if got := frame[14+1]; got != tos {
				t.Errorf("%q has TOS %#x outside, want %#x", text, got, tos)
			}
		}
	}
	if len(want) > 0 {
		t.Errorf("not seen on the wire: %v", want)
	}
}
