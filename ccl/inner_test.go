package ccl

import (
	"bytes"
	"encoding/binary"
	"net/netip"
	"testing"

	"golang.org/x/sys/unix"

	"cohort/packet"
)

// CL5: what Inner says of a state datagram is what the kernel writes before it, so a peer's
// socket takes one that was sent beside the kernel's stack as it takes any other.
func TestCL5_InnerIsWhatTheKernelWrites(t *testing.T) {
	w := newWiring(t, 2, DefaultDataMTU+Allowance)
	links := []*Link{w.mustOpen(0, w.config(0)), w.mustOpen(1, w.config(1))}
	payload := []byte("what the kernel sends, and what is sent beside it")

	var tap int
	device := links[1].dev.Attrs().Index
	w.in(w.nodes[1], func() (err error) { tap, err = packetSocket(device); return err })
	defer unix.Close(tap)
	links[0].Send(vtep(1), payload)
	frame := make([]byte, 2048)
	n := 0
	for n < InnerLen || !bytes.Equal(frame[InnerLen:n], payload) { // others' frames, such as of IPv6
		var err error
		if n, _, err = unix.Recvfrom(tap, frame, 0); err != nil {
			t.Fatalf("the kernel's frame: %v", err)
		}
	}
	ours := make([]byte, InnerLen)
	if !links[0].Inner(ours, vtep(1), len(payload)) {
		t.Fatal("there is nothing to be sent")
	}
	if packet.Checksum(ours[14:34]) != 0 {
		t.Errorf("the checksum of % x is wrong", ours[14:34])
	}
	for _, b := range [][]byte{ours, frame} { // the kernel numbers its packets, and sums their data
		binary.BigEndian.PutUint16(b[18:], 0)
		binary.BigEndian.PutUint16(b[24:], 0)
		binary.BigEndian.PutUint16(b[40:], 0)
	}
	if !bytes.Equal(ours, frame[:InnerLen]) {
		t.Errorf("inner headers\n% x, the kernel's are\n% x", ours, frame[:InnerLen])
	}

	var out int
	w.in(w.nodes[0], func() (err error) { out, err = packetSocket(links[0].dev.Attrs().Index); return err })
	defer unix.Close(out)
	links[0].Inner(ours, vtep(1), len(payload))
	if _, err := unix.Write(out, append(ours, payload...)); err != nil {
		t.Fatal(err)
	}
	collect(t, links, func(by [][]got) bool {
		return len(by[1]) == 2 && by[1][1] == got{vtep(0), string(payload)}
	})
	if links[0].Inner(ours, netip.MustParseAddr("10.99.0.9"), 100) {
		t.Error("an address that is no peer's is taken")
	}
}

// packetSocket sees and sends whole frames of an interface of the calling namespace.
func packetSocket(ifindex int) (int, error) {
	all := uint16(unix.ETH_P_ALL<<8 | unix.ETH_P_ALL>>8)
	fd, err := unix.Socket(unix.AF_PACKET, unix.SOCK_RAW|unix.SOCK_CLOEXEC, int(all))
	if err != nil {
		return -1, err
	}
	if err := unix.Bind(fd, &unix.SockaddrLinklayer{Protocol: all, Ifindex: ifindex}); err != nil {
		return -1, err
	}
	return fd, unix.SetsockoptTimeval(fd, unix.SOL_SOCKET, unix.SO_RCVTIMEO, &unix.Timeval{Sec: 5})
}
