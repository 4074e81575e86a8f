package traffic

import (
	"encoding/binary"
	"net/netip"
	"testing"

	"cohort/packet"
)

// TestSinkCountsItsOwnRunOnly: packets of sources in all their forms, translated or not,
// are counted and dropped. What others send passes, also if they happened to choose our
// IP identification.
func TestSinkCountsItsOwnRunOnly(t *testing.T) {
	other := netip.MustParseAddr("198.51.100.7")
	change := func(at int, b ...byte) func([]byte) { return func(ip []byte) { copy(ip[at:], b) } }
	after := func(n int) []byte { a := Server.As4(); a[3] += byte(n); return a[:] }
	const src, dst, sport, dport = 12, 16, ipHeader, ipHeader + 2
	port := binary.BigEndian.AppendUint16(nil, ServerPort)
	for name, c := range map[string]struct {
		shape  Shape
		change func(ip []byte)
		from   netip.Addr
		own    bool
	}{
		"request":                 {shape: Shape{}, own: true},
		"UDP":                     {shape: Shape{AllUDP: true}, own: true},
		"answer":                  {shape: Shape{Reply: true}, own: true},
		"answer to a pool":        {shape: Shape{Reply: true, Spread: true, Mapped: mapped}, own: true},
		"the last server":         {shape: Shape{}, change: change(dst, after(maxServers-1)...), own: true},
		"translated":              {shape: Shape{}, change: change(src, other.AsSlice()...), own: true},
		"over the CCL":            {shape: Shape{CCL: &CCLFrame{From: netip.MustParseAddr("10.99.0.2"), To: netip.MustParseAddr("10.99.0.1"), VNI: 7, Node: 2, Iface: 1}}, own: true},
		"from whom it wants":      {shape: Shape{}, change: change(src, other.AsSlice()...), from: other, own: true},
		"from another":            {shape: Shape{}, from: other},
		"another identification":  {shape: Shape{}, change: change(4, 1, 2)},
		"to another address":      {shape: Shape{}, change: change(dst, other.AsSlice()...)},
		"before the first server": {shape: Shape{}, change: change(dst, after(-1)...)},
		"behind the last server":  {shape: Shape{}, change: change(dst, after(maxServers)...)},
		"to another port":         {shape: Shape{}, change: change(dport, 0, 80)},
		"our port at the client":  {shape: Shape{}, change: change(sport, append(port, 0, 80)...)},
		"answer from elsewhere":   {shape: Shape{Reply: true}, change: change(src, other.AsSlice()...)},
		"answer of another port":  {shape: Shape{Reply: true}, change: change(sport, 0, 80)},
		"ping":                    {shape: Shape{}, change: change(9, packet.ProtoICMP)},
		"IP options":              {shape: Shape{}, change: change(0, 0x46)},
	} {
		t.Run(name, func(t *testing.T) {
			c.shape.Flows, c.shape.Flags = 1, ACK
			frame, err := newSource(t, c.shape).One()
			if err != nil {
				t.Fatal(err)
			}
			if c.change != nil {
				c.change(frame[c.shape.l3():])
			}
			k, err := openSink(c.shape.CCL != nil, c.from)
			if err != nil {
				t.Fatal(err)
			}
			defer k.objs.Close()
			verdict, _ := heard(t, k.objs.Sink, frame)
			n, err := k.Taken()
			if err != nil {
				t.Fatal(err)
			}
			if (verdict == xdpDrop) != c.own || (n == 1) != c.own || !c.own && verdict != xdpPass {
				t.Errorf("verdict %d, %d counted, its own: %v", verdict, n, c.own)
			}
		})
	}
}
