package afxdp

import (
	"bytes"
	"errors"
	"fmt"
	"testing"

	"cohort/dataplane/internal/nstest"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/asm"
	"github.com/cilium/ebpf/link"
	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

const (
	jumboMTU  = 9000
	metaLen   = 32
	metaMagic = 0x11223344
	testType  = 0x88b6 // IEEE 802 local experimental 2
)

// redirectAll makes an XDP program that puts 32 bytes of metadata in front of
// every packet of testType and redirects it to socket number queue of xsks;
// everything else goes to the kernel.
func redirectAll(t *testing.T, l netlink.Link, s *Socket) {
	t.Helper()
	xsks, err := ebpf.NewMap(&ebpf.MapSpec{Type: ebpf.XSKMap, KeySize: 4, ValueSize: 4, MaxEntries: 4})
	must(t, err)
	t.Cleanup(func() { xsks.Close() })
	must(t, xsks.Put(uint32(s.Queue()), uint32(s.FD())))
	prog, err := ebpf.NewProgram(&ebpf.ProgramSpec{
		Type:  ebpf.XDP,
		Flags: unix.BPF_F_XDP_HAS_FRAGS,
		Instructions: asm.Instructions{
			asm.Mov.Reg(asm.R6, asm.R1),
			asm.Mov.Imm(asm.R2, -metaLen),
			asm.FnXdpAdjustMeta.Call(),
			asm.JNE.Imm(asm.R0, 0, "pass"),
			asm.LoadMem(asm.R2, asm.R6, 8, asm.Word), // data_meta
			asm.LoadMem(asm.R3, asm.R6, 0, asm.Word), // data
			asm.LoadMem(asm.R4, asm.R6, 4, asm.Word), // data_end
			asm.Mov.Reg(asm.R5, asm.R2),
			asm.Add.Imm(asm.R5, metaLen),
			asm.JGT.Reg(asm.R5, asm.R3, "pass"),
			asm.StoreImm(asm.R2, 0, metaMagic, asm.Word),
			asm.StoreImm(asm.R2, metaLen-4, metaMagic, asm.Word),
			asm.Mov.Reg(asm.R5, asm.R3),
			asm.Add.Imm(asm.R5, 14),
			asm.JGT.Reg(asm.R5, asm.R4, "pass"),
			asm.LoadMem(asm.R5, asm.R3, 12, asm.Half),
			asm.JNE.Imm(asm.R5, testType>>8|testType&0xff<<8, "pass"),
			asm.LoadMem(asm.R2, asm.R6, 16, asm.Word), // rx_queue_index
			asm.LoadMapPtr(asm.R1, xsks.FD()),
			asm.Mov.Imm(asm.R3, 1), // XDP_DROP if the socket is gone
			asm.FnRedirectMap.Call(),
			asm.Return(),
			asm.Mov.Imm(asm.R0, 2).WithSymbol("pass"),
			asm.Return(),
		},
	})
	must(t, err)
	t.Cleanup(func() { prog.Close() })
	x, err := link.AttachXDP(link.XDPOptions{Program: prog, Interface: l.Attrs().Index, Flags: link.XDPDriverMode})
	must(t, err)
	t.Cleanup(func() { x.Close() })
}

func newUmem(t testing.TB, frames int) *Umem {
	t.Helper()
	u, err := NewUmem(UmemConfig{Frames: frames})
	must(t, err)
	t.Cleanup(func() { must(t, u.Close()) })
	return u
}

func open(t testing.TB, u *Umem, l netlink.Link) *Socket {
	t.Helper()
	s, err := u.Open(SocketConfig{Ifindex: l.Attrs().Index, RxSize: 256, TxSize: 256})
	must(t, err)
	return s
}

// frame builds an Ethernet frame of n bytes of testType with a marked payload.
func frame(n int, mark byte) []byte {
	f := make([]byte, n)
	copy(f, []byte{2, 0, 0, 0, 0, 1, 2, 0, 0, 0, 0, 2, testType >> 8, testType & 0xff})
	for i := 14; i < n; i++ {
		f[i] = byte(i) ^ byte(i>>8) ^ mark
	}
	return f
}

func is(want []byte) func([]byte) bool {
	return func(got []byte) bool { return bytes.Equal(got, want) }
}

// receive waits for one packet and returns its descriptors.
func receive(t testing.TB, s *Socket) []Desc {
	t.Helper()
	batch := make([]Desc, 2*MaxParts)
	n := 0
	nstest.Until(t, "a packet on the AF_XDP socket", func() bool {
		n = s.Receive(batch)
		return n > 0
	})
	return batch[:n]
}

func join(u *Umem, parts []Desc) []byte {
	var all []byte
	for _, d := range parts {
		all = append(all, u.Data(d)...)
	}
	return all
}

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func TestReceivesPacketWithMetadataInFront(t *testing.T) {
	nstest.Enter(t)
	a, _ := nstest.Veth(t, "a0", "a1", 1500)
	u := newUmem(t, 1024)
	s := open(t, u, a)
	redirectAll(t, a, s)
	wire := nstest.OpenWire(t, "a1")
	want := frame(200, 7)
	wire.Send(want)
	got := receive(t, s)
	if len(got) != 1 || !bytes.Equal(u.Data(got[0]), want) {
		t.Fatalf("received %d parts, %x", len(got), join(u, got))
	}
	magic := []byte{0x44, 0x33, 0x22, 0x11}
	meta := u.Meta(got[0], metaLen)
	if !bytes.Equal(meta[:4], magic) || !bytes.Equal(meta[metaLen-4:], magic) {
		t.Errorf("metadata %x, want the program's magic at both ends", meta)
	}
	if room := got[0].Addr & uint64(u.FrameSize()-1); room < Headroom {
		t.Errorf("packet starts %d bytes into its frame, want at least %d", room, Headroom)
	}
	u.Free(got[0].Addr)
}

func TestTransmitsToThePeerInBatches(t *testing.T) {
	nstest.Enter(t)
	a, _ := nstest.Veth(t, "a0", "a1", 1500)
	u := newUmem(t, 1024)
	s := open(t, u, a)
	wire := nstest.OpenWire(t, "a1")
	const count = 100 // more than three kicks' worth
	before := u.Available()
	for i := range count {
		addr, ok := u.Alloc()
		if !ok {
			t.Fatal("no frame left")
		}
		n := copy(u.Frame(addr)[Headroom:], frame(64+i, byte(i)))
		if s.Transmit([]Desc{{Addr: addr + Headroom, Len: uint32(n)}}) != 1 {
			t.Fatal("not accepted")
		}
	}
	must(t, s.Kick())
	for i := range count {
		wire.Receive(is(frame(64+i, byte(i))))
	}
	nstest.Until(t, "all frames come back", func() bool { s.Complete(); return u.Available() == before })
}

func TestForwardsBetweenInterfacesWithoutCopy(t *testing.T) {
	nstest.Enter(t)
	a, _ := nstest.Veth(t, "a0", "a1", 1500)
	b, _ := nstest.Veth(t, "b0", "b1", 1500)
	u := newUmem(t, 1024)
	in, out := open(t, u, a), open(t, u, b)
	redirectAll(t, a, in)
	near, far := nstest.OpenWire(t, "a1"), nstest.OpenWire(t, "b1")
	want := frame(900, 3)
	near.Send(want)
	got := receive(t, in)
	if out.Transmit(got) != len(got) {
		t.Fatal("not accepted")
	}
	must(t, out.Kick())
	far.Receive(is(want))
	nstest.Until(t, "the frame comes back", func() bool { out.Complete(); return u.Available() == 1024-512 })
}

func TestPrependsHeaderInHeadroom(t *testing.T) {
	nstest.Enter(t)
	a, _ := nstest.Veth(t, "a0", "a1", 1500)
	u := newUmem(t, 1024)
	s := open(t, u, a)
	redirectAll(t, a, s)
	wire := nstest.OpenWire(t, "a1")
	wire.Send(frame(100, 1))
	d := receive(t, s)[0]
	head := frame(96, 9)
	copy(u.Meta(d, len(head)), head)
	d.Addr, d.Len = d.Addr-uint64(len(head)), d.Len+uint32(len(head))
	s.Transmit([]Desc{d})
	must(t, s.Kick())
	wire.Receive(is(append(head, frame(100, 1)...)))
}

func TestJumboPacketSpansFramesBothWays(t *testing.T) {
	nstest.Enter(t)
	a, _ := nstest.Veth(t, "a0", "a1", jumboMTU)
	u := newUmem(t, 1024)
	s := open(t, u, a)
	if !s.MultiBuffer() {
		t.Skip("kernel before 6.6 has no multi-buffer AF_XDP")
	}
	redirectAll(t, a, s)
	wire := nstest.OpenWire(t, "a1")
	want := frame(8900, 5)
	wire.Send(want)
	got := receive(t, s)
	if len(got) != 3 || !bytes.Equal(join(u, got), want) {
		t.Fatalf("received %d parts with %d bytes, want 3 with 8900", len(got), len(join(u, got)))
	}
	if meta := u.Meta(got[0], metaLen); meta[0] != 0x44 {
		t.Errorf("metadata of a jumbo packet is %x", meta)
	}
	if s.Transmit(got) != 3 {
		t.Fatal("not accepted")
	}
	must(t, s.Kick())
	wire.Receive(is(want))
}

func TestReceiveNeverSplitsAPacket(t *testing.T) {
	nstest.Enter(t)
	a, _ := nstest.Veth(t, "a0", "a1", jumboMTU)
	u := newUmem(t, 1024)
	s := open(t, u, a)
	if !s.MultiBuffer() {
		t.Skip("kernel before 6.6 has no multi-buffer AF_XDP")
	}
	redirectAll(t, a, s)
	wire := nstest.OpenWire(t, "a1")
	wire.Send(frame(100, 1))
	wire.Send(frame(8900, 2))
	nstest.Until(t, "both packets are in the ring", func() bool { return s.rx.ready() == 4 })
	batch := make([]Desc, 3)
	if n := s.Receive(batch); n != 1 {
		t.Fatalf("got %d descriptors, want only the first packet", n)
	}
	u.Free(batch[0].Addr)
	if n := s.Receive(batch); n != 3 {
		t.Fatalf("got %d descriptors, want the whole second packet", n)
	}
}

func TestQueueCanBeBoundAgainAtOnce(t *testing.T) {
	nstest.Enter(t)
	a, _ := nstest.Veth(t, "a0", "a1", 1500)
	for range 5 {
		u, err := NewUmem(UmemConfig{Frames: 512})
		must(t, err)
		s := open(t, u, a)
		must(t, s.Close())
		must(t, s.Close())
		if u.Available() != 512 {
			t.Fatalf("closing the socket left %d of 512 frames", u.Available())
		}
		open(t, u, a) // the same memory registers again
		must(t, u.Close())
		must(t, u.Close())
	}
}

func TestSharedMemorySurvivesItsFirstSocket(t *testing.T) {
	nstest.Enter(t)
	a, _ := nstest.Veth(t, "a0", "a1", 1500)
	b, _ := nstest.Veth(t, "b0", "b1", 1500)
	u := newUmem(t, 2048)
	first, second := open(t, u, a), open(t, u, b)
	must(t, first.Close())
	again := open(t, u, a) // shares with second now
	redirectAll(t, a, again)
	nstest.OpenWire(t, "a1").Send(frame(100, 1))
	got := receive(t, again)
	second.Transmit(got)
	must(t, second.Kick())
}

func TestBusyQueueIsReportedAfterTheDeadline(t *testing.T) {
	nstest.Enter(t)
	a, _ := nstest.Veth(t, "a0", "a1", 1500)
	open(t, newUmem(t, 512), a)
	_, err := newUmem(t, 512).Open(SocketConfig{Ifindex: a.Attrs().Index, BindTimeout: 1})
	if !errors.Is(err, unix.EBUSY) {
		t.Errorf("error %v, want EBUSY", err)
	}
}

func TestFullTransmitRingRefuses(t *testing.T) {
	nstest.Enter(t)
	a, _ := nstest.Veth(t, "a0", "a1", 1500)
	u := newUmem(t, 64)
	s, err := u.Open(SocketConfig{Ifindex: a.Attrs().Index, RxSize: 4, TxSize: 4})
	must(t, err)
	var descs []Desc
	for range 6 {
		addr, _ := u.Alloc()
		descs = append(descs, Desc{Addr: addr, Len: 60})
	}
	if n := s.Transmit(descs); n != 4 {
		t.Errorf("accepted %d, want 4", n)
	}
	if n := s.Transmit(descs[4:]); n != 0 {
		t.Errorf("accepted %d into a full ring", n)
	}
	must(t, s.Kick())
	nstest.Until(t, "room again", func() bool { s.Complete(); return s.Transmit(descs[4:5]) == 1 })
}

func TestNothingIsAllocatedPerPacket(t *testing.T) {
	nstest.Enter(t)
	a, _ := nstest.Veth(t, "a0", "a1", 1500)
	u := newUmem(t, 1024)
	s := open(t, u, a)
	redirectAll(t, a, s)
	wire := nstest.OpenWire(t, "a1")
	batch := make([]Desc, 32)
	f := frame(100, 1)
	moved := 0
	allocs := testing.AllocsPerRun(50, func() {
		if _, err := unix.Write(wire.FD(), f); err != nil {
			t.Error(err)
		}
		n := s.Receive(batch)
		moved += s.Transmit(batch[:n])
		if err := s.Kick(); err != nil {
			t.Error(err)
		}
	})
	if allocs != 0 {
		t.Errorf("%v allocations a packet", allocs)
	}
	if moved == 0 {
		t.Error("no packet moved: the figure says nothing")
	}
}

func TestConfigurationIsChecked(t *testing.T) {
	for _, c := range []UmemConfig{{Frames: 0}, {Frames: 4, FrameSize: 3000}, {Frames: 1 << 40}} {
		if _, err := NewUmem(c); !errors.Is(err, ErrConfig) {
			t.Errorf("%+v: %v", c, err)
		}
	}
	u := newUmem(t, 4)
	if _, err := u.Open(SocketConfig{Ifindex: 1, RxSize: 3}); !errors.Is(err, ErrConfig) {
		t.Errorf("ring of 3: %v", err)
	}
}

func TestFreeingTwicePanics(t *testing.T) {
	u := newUmem(t, 4)
	addr, _ := u.Alloc()
	u.Free(addr + 17) // any address inside the frame
	defer func() {
		if recover() == nil {
			t.Error("second Free did not panic")
		}
	}()
	u.Free(addr)
}

func ExampleUmem() {
	u, err := NewUmem(UmemConfig{Frames: 8, FrameSize: 2048})
	if err != nil {
		fmt.Println(err)
		return
	}
	defer u.Close()
	addr, _ := u.Alloc()
	fmt.Println(u.Available(), len(u.Frame(addr)))
	u.Free(addr)
	fmt.Println(u.Available())
	// Output:
	// 7 2048
	// 8
}
