package bpf_test

import (
	"encoding/binary"
	"fmt"
	"net/netip"
	"slices"
	"testing"
	"time"

	"cohort/bpf"
	"cohort/bpf/internal/speed"
	"cohort/flowtable"
	"cohort/packet"

	"github.com/cilium/ebpf"
)

// keyOf is the key of connection i, as the generator writes it.
func keyOf(i uint32) packet.FlowKey {
	k := tcpKey
	binary.BigEndian.PutUint32(k.Src[:], 0x0a000000|i)
	var port [2]byte
	binary.NativeEndian.PutUint16(port[:], uint16(i))
	k.SrcPort = binary.BigEndian.Uint16(port[:])
	return k
}

// role is one way through the programs.
type role struct {
	name string
	want bpf.Outcome
	ccl  bool
	over family                  // of the CCL
	fill func(n *node, i uint32) // makes the entries of connection i
}

func ownerOf(n *node, i uint32) { n.addFlow(keyOf(i)) }

func forwarderOf(n *node, i uint32) { n.addForward(keyOf(i), 2) }

// otherOf fills the table with connections that are not the packets'.
func otherOf(n *node, i uint32) {
	k := keyOf(i)
	k.DstPort++
	n.addFlow(k)
}

func sequencedOf(n *node, i uint32) { n.addFlow(keyOf(i), sequenced) }

// repliesOf makes the packets those of the responder: acknowledgements are shifted, and a
// selective one is looked for.
func repliesOf(n *node, i uint32) { n.addFlow(keyOf(i).Reverse(), mirrored) }

func sequencedRepliesOf(n *node, i uint32) { n.addFlow(keyOf(i).Reverse(), mirrored, sequenced) }

// mirrored is a flow that the outside has begun.
func mirrored(f *flowtable.FlowSlot) {
	f.NextHop, f.Iface = [2]uint16{toInside, toOutside}, [2]uint8{outside, inside}
}

// patOf gives connection i a mapped address and port of its own.
func patOf(n *node, i uint32) {
	mapped := netip.AddrFrom4([4]byte{203, 0, 113, byte(i >> 15)})
	n.addFlow(keyOf(i), translated(keyOf(i), mapped, 1024+uint16(i&0x7fff)))
}

// delegatedOf is patOf for a node that another one has lent the direction to.
func delegatedOf(n *node, i uint32) {
	to := keyOf(i)
	to.Src, to.SrcPort = packet.Addr{203, 0, 113, byte(i >> 15)}, 1024+uint16(i&0x7fff)
	n.addDelegation(keyOf(i), to, 2, inside, toOutside)
}

var roles = []role{
	{"owner", bpf.ForwardOwner, false, overIPv4, ownerOf},
	{"forwarder", bpf.ForwardCCL, false, overIPv4, forwarderOf},
	{"forwarder_ipv6", bpf.ForwardCCL, false, overIPv6, forwarderOf},
	{"owner_pat", bpf.ForwardOwner, false, overIPv4, patOf},
	{"delegated_pat", bpf.ForwardDelegated, false, overIPv4, delegatedOf},
	{"owner_sequenced", bpf.ForwardOwner, false, overIPv4, sequencedOf},
	{"owner_replies", bpf.ForwardOwner, false, overIPv4, repliesOf},
	{"owner_sequenced_replies", bpf.ForwardOwner, false, overIPv4, sequencedRepliesOf},
	{"owner_ccl", bpf.ForwardOwnerCCL, true, overIPv4, ownerOf},
	{"owner_ccl_ipv6", bpf.ForwardOwnerCCL, true, overIPv6, ownerOf},
	{"miss", bpf.PuntMiss, false, overIPv4, otherOf},
	{"steered", bpf.ForwardSteered, false, overIPv4, func(n *node, i uint32) {
		if i == 0 { // the packets' destination is translated
			n.put(n.maps.NatAddrs, be32(serverAddr), bpf.NATAddress{FirstPort: 1, LastPort: 65535, BlockSize: 512})
			n.units[0] = 2
		}
		otherOf(n, i)
	}},
}

// BenchmarkRole measures nanoseconds a packet for each role, with the packets
// of that many connections in random order; the generator's own cost is
// subtracted.
func BenchmarkRole(b *testing.B) {
	for _, r := range roles {
		for _, size := range []struct {
			name        string
			connections int
		}{{"1k", 1 << 10}, {"16k", 1 << 14}, {"64k", 1 << 16}, {"1M", 1 << 20}} {
			b.Run(fmt.Sprintf("%s/%s", r.name, size.name), func(b *testing.B) {
				if testing.Short() && size.connections > 1<<16 {
					b.Skip("a million flows")
				}
				newCourse(b, r, size.connections).measure(b)
			})
		}
	}
}

// course is a node that plays one role, with a generator before its program.
type course struct {
	node *node
	gen  speed.SpeedObjects
	prog *ebpf.Program
	in   []byte
}

func newCourse(t testing.TB, r role, connections int) *course {
	t.Helper()
	return newCourseOf(t, r, connections, from(keyOf(0)))
}

// newCourseOf is newCourse with the first connection's packet.
func newCourseOf(t testing.TB, r role, connections int, first pkt) *course {
	t.Helper()
	needRoot(t)
	c := &course{node: &node{t: t, id: 1, over: r.over}}
	n := c.node
	size := tableSize{flows: connections, forwards: 1}
	if r.want == bpf.ForwardCCL || r.want == bpf.ForwardDelegated {
		size = tableSize{flows: 1, forwards: connections}
	}
	n.load(size, func(s *ebpf.CollectionSpec) { must(t, s.Variables["only_iface"].Set(uint32(inside))) })
	n.configure()
	for i := range uint32(connections) {
		r.fill(n, i)
	}
	c.in, c.prog = unpadded(t, first), n.data
	l3 := uint32(14)
	if r.ccl {
		c.in, c.prog, l3 = r.over.carries(2, 1, c.in).bytes(t), n.ccl, uint32(r.over.payload())
	}

	spec, err := speed.LoadSpeed()
	must(t, err)
	must(t, spec.Variables["connections"].Set(uint32(connections)))
	must(t, spec.Variables["frame_len"].Set(uint32(len(c.in))))
	must(t, spec.Variables["l3_off"].Set(l3))
	must(t, spec.LoadAndAssign(&c.gen, nil))
	t.Cleanup(func() { c.gen.Close() })
	headers := make([]byte, overIPv6.payload()) // the longer
	copy(headers, c.in)
	n.put(c.gen.Headers, uint32(0), headers)
	return c
}

// run sends packets of random connections through the program, or through the
// generator alone. It returns the time of one, as the kernel measured it (the
// system call itself takes milliseconds), and what the counters say.
func (c *course) run(prog *ebpf.Program, packets int) (each time.Duration, counted map[bpf.Outcome]uint64) {
	n := c.node
	n.t.Helper()
	n.put(c.gen.Subject, uint32(0), uint32(prog.FD()))
	before := n.counters()
	_, each, err := c.gen.Generate.Benchmark(c.in, packets, nil)
	must(n.t, err)
	counted = n.counters()
	for o, v := range before {
		counted[o] -= v
	}
	return each, counted
}

// measure alternates between the generator alone and with the program. What it
// reports is the best of all chunks, since neighbours on the same machine only
// ever add, and the median, which shows how much they did.
func (c *course) measure(b *testing.B) {
	const chunk = 1 << 18
	c.run(c.prog, chunk) // warm up
	var own, all []time.Duration
	for b.Loop() {
		each, _ := c.run(c.gen.Nothing, chunk)
		own = append(own, each)
		each, _ = c.run(c.prog, chunk)
		all = append(all, each)
	}
	slices.Sort(own)
	slices.Sort(all)
	b.ReportMetric(float64(own[0]), "ns-generator/packet")
	b.ReportMetric(float64(all[0]-own[0]), "ns/packet")
	b.ReportMetric(float64(all[len(all)/2]-own[len(own)/2]), "ns-median/packet")
	b.ReportMetric(0, "ns/op") // a chunk is no unit
}

// TestRolesMeasureWhatTheySay: each packet of a benchmark leaves by the outcome
// of its role, however often the generator undid and repeated it.
func TestRolesMeasureWhatTheySay(t *testing.T) {
	const packets = 5000
	for _, r := range roles {
		t.Run(r.name, func(t *testing.T) {
			c := newCourse(t, r, 100)
			_, got := c.run(c.prog, packets)
			for o, v := range got {
				if o != r.want && v != 0 {
					t.Errorf("%d packets left as %v", v, o)
				}
			}
			if got[r.want] < packets { // an interrupted run starts over
				t.Errorf("%d of %d packets left as %v", got[r.want], packets, r.want)
			}
		})
	}
}
