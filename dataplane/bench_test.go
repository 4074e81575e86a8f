package dataplane

import (
	"net/netip"
	"testing"
	"time"

	"cohort/dataplane/internal/nstest"

	"golang.org/x/sys/unix"
)

// BenchmarkSlowPathForward is a packet's way through Go: out of an AF_XDP
// socket, next hop, into another. The generator's cost is not counted.
func BenchmarkSlowPathForward(b *testing.B) {
	nstest.Enter(b)
	h := benchHost(b)
	near := nstest.OpenWire(b, "in1")
	raw := make([]byte, 0, 128)
	raw = append(raw, nstest.MAC(b, "in0")...)
	raw = append(raw, 2, 0, 0, 0, 0, 1, 8, 0)
	raw = append(raw, 0x45, 0, 0, 50, 0, 0, 0, 0, 64, 17, 0, 0, 10, 1, 0, 50, 198, 51, 100, 7, 15, 160, 0, 53, 0, 30, 0, 0)
	raw = append(raw, make([]byte, 22)...)
	batch := make([]*Frame, 64)
	b.ReportAllocs()
	b.ResetTimer()
	for done := 0; done < b.N; {
		b.StopTimer()
		for range 64 {
			if _, err := unix.Write(near.FD(), raw); err != nil {
				b.Fatal(err)
			}
		}
		b.StartTimer()
		n := h.Receive(batch)
		for _, f := range batch[:n] {
			h.Transmit(f, hopID)
		}
		h.Flush()
		done += n
	}
	if d := h.Drops(); d["sent"] == 0 {
		b.Fatal(d)
	}
}

func benchHost(b *testing.B) *IO {
	b.Helper()
	for _, name := range []string{"in", "out", "ccl"} {
		nstest.Veth(b, name+"0", name+"1", 1500)
	}
	d, err := Open(Config{
		Interfaces: []Interface{{ID: inside, Device: "in0"}, {ID: outside, Device: "out0"}},
		CCL:        "ccl0", VTEP: netip.MustParseAddr("10.99.0.1"), Flows: 10, Forwards: 10, FastPath: true,
	})
	must(b, err)
	b.Cleanup(func() { must(b, d.Close(false)) })
	io, err := d.OpenIO(IOConfig{})
	must(b, err)
	b.Cleanup(func() { must(b, io.Close()) })
	d.RenewLease(Now() + int64(time.Hour))
	d.SetView(1, 0, 1)
	d.NextHops()[hopID].Store(NextHop{DMAC: farMAC, MTU: 1500, Iface: outside, Flags: NextHopValid})
	return io
}
