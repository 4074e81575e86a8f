package topology

import (
	"testing"
	"time"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/asm"
	"github.com/cilium/ebpf/link"

	"cohort/testenv/netns"
)

// A frame that a node's XDP program redirects must come out of the cable: the
// far ends need a polled ring for that, which a plain veth does not have.
func TestXDPRedirect_ReachesRouters(t *testing.T) {
	for _, mtu := range []int{1500, 9000} {
		top := start(t, Config{Nodes: 1, Mode: Bare, MTU: mtu, Track: patient})
		n := top.Nodes[0]
		// 192 is where servers are, 10 where clients are; both in the first byte.
		relay(t, n.Namespace(), InsideIface, OutsideIface, 192, nexthop{macOf(t, top.out, outsideBridge), mac(2, 1)})
		relay(t, n.Namespace(), OutsideIface, InsideIface, 10, nexthop{macOf(t, top.in, insideBridge), mac(1, 1)})

		server := udpEcho(t, top.Servers[0])
		c, err := top.Clients[0].Namespace.DialUDP(server)
		if err != nil {
			t.Fatal(err)
		}
		defer c.Close()
		ctx := within(t, 30*time.Second)
		for range 100 {
			exchange(t, c, ctx) // the kernel of a bare node forwards nothing
		}
	}
}

// nexthop is the new Ethernet header of a relayed frame.
type nexthop struct{ dst, src []byte }

// relay attaches an XDP program that sends IPv4 packets to first.x.x.x from
// one interface out of another, and passes the rest.
func relay(t *testing.T, ns *netns.Namespace, from, to string, first int32, hop nexthop) {
	t.Helper()
	in, err := ns.Netlink().LinkByName(from)
	if err != nil {
		t.Fatal(err)
	}
	out, err := ns.Netlink().LinkByName(to)
	if err != nil {
		t.Fatal(err)
	}
	code := asm.Instructions{
		asm.LoadMem(asm.R2, asm.R1, 0, asm.Word), // data
		asm.LoadMem(asm.R3, asm.R1, 4, asm.Word), // data_end
		asm.Mov.Reg(asm.R4, asm.R2),
		asm.Add.Imm(asm.R4, 34),
		asm.JGT.Reg(asm.R4, asm.R3, "pass"),
		asm.LoadMem(asm.R4, asm.R2, 12, asm.Half),
		asm.JNE.Imm(asm.R4, 0x0008, "pass"), // IPv4, as loaded on little endian
		asm.LoadMem(asm.R4, asm.R2, 30, asm.Byte),
		asm.JNE.Imm(asm.R4, first, "pass"),
		// 10.1.0.1 is the node itself, pinged by the tracker.
		asm.LoadMem(asm.R4, asm.R2, 31, asm.Byte),
		asm.JEq.Imm(asm.R4, 1, "pass"),
	}
	for i := range 6 {
		code = append(code,
			asm.StoreImm(asm.R2, int16(i), int64(hop.dst[i]), asm.Byte),
			asm.StoreImm(asm.R2, int16(6+i), int64(hop.src[i]), asm.Byte))
	}
	code = append(code,
		asm.Mov.Imm(asm.R1, int32(out.Attrs().Index)),
		asm.Mov.Imm(asm.R2, 0),
		asm.FnRedirect.Call(),
		asm.Return(),
		asm.Mov.Imm(asm.R0, 2).WithSymbol("pass"),
		asm.Return(),
	)
	prog, err := ebpf.NewProgram(&ebpf.ProgramSpec{
		Type: ebpf.XDP, Instructions: code, License: "GPL",
		Flags: 1 << 5, // BPF_F_XDP_HAS_FRAGS, for the jumbo case
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { prog.Close() })
	err = ns.Do(func() error {
		l, err := link.AttachXDP(link.XDPOptions{Program: prog, Interface: in.Attrs().Index, Flags: link.XDPDriverMode})
		if err == nil {
			t.Cleanup(func() { l.Close() })
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
}

func macOf(t *testing.T, ns *netns.Namespace, iface string) []byte {
	t.Helper()
	l, err := ns.Netlink().LinkByName(iface)
	if err != nil {
		t.Fatal(err)
	}
	return l.Attrs().HardwareAddr
}
