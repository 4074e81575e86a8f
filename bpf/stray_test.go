package bpf_test

import (
	"bytes"
	"encoding/binary"
	"net/netip"
	"testing"

	"cohort/bpf"
)

// ipv6 is an Ethernet frame with an IPv6 packet: headers are extension headers,
// of which the first byte of each names its own type; last is what follows them.
func ipv6(to netip.Addr, last byte, body []byte, headers ...[]byte) []byte {
	b := make([]byte, 54)
	copy(b[0:], []byte{0x33, 0x33, 0, 0, 0, 1})
	copy(b[6:], clientMAC[:])
	binary.BigEndian.PutUint16(b[12:], 0x86dd)
	b[14], b[21] = 0x60, 255
	copy(b[22:], netip.MustParseAddr("fe80::11").AsSlice())
	copy(b[38:], to.AsSlice())
	next := 20
	for _, h := range headers {
		b[next] = h[0]
		next = len(b)
		b = append(append(b, 0), h[1:]...)
	}
	b[next] = last
	b = append(b, body...)
	binary.BigEndian.PutUint16(b[18:], uint16(len(b)-54))
	return b
}

// option is an extension header of 8 bytes and 8 for each of more.
func option(typ byte, more int) []byte {
	b := make([]byte, 8+8*more)
	b[0], b[1] = typ, byte(more)
	return b
}

// fragment is the header of a fragment at an offset.
func fragment(offset uint16) []byte {
	b := []byte{44, 0, 0, 1, 0, 0, 0, 9}
	binary.BigEndian.PutUint16(b[2:], offset|1)
	return b
}

// TestCL1_VXLANOverIPv6BelongsOnTheLink: a CCL over IPv6 has a socket that listens
// on every address of the host, so nobody may reach it from a data interface,
// however deep he hides the port. What keeps a link alive passes.
func TestCL1_VXLANOverIPv6BelongsOnTheLink(t *testing.T) {
	udp := func(port uint16) []byte {
		b := make([]byte, 16)
		binary.BigEndian.PutUint16(b, 4000)
		binary.BigEndian.PutUint16(b[2:], port)
		return b
	}
	vxlan, all := udp(bpf.CCLPort), netip.MustParseAddr("ff02::1")
	own := netip.MustParseAddr("fe80::1")
	solicit := make([]byte, 24)
	solicit[0] = 135
	options := func(n int) (list [][]byte) {
		for range n {
			list = append(list, option(60, 0))
		}
		return list
	}
	for _, c := range []struct {
		name string
		in   []byte
		want bpf.Outcome
	}{
		{"to_everybody", ipv6(all, 17, vxlan), bpf.DropStrayVxlan},
		{"to_this_node", ipv6(own, 17, vxlan), bpf.DropStrayVxlan},
		{"hop_by_hop", ipv6(all, 17, vxlan, option(0, 0)), bpf.DropStrayVxlan},
		{"long_options", ipv6(all, 17, vxlan, option(0, 3), option(60, 2)), bpf.DropStrayVxlan},
		{"routing", ipv6(all, 17, vxlan, option(43, 2)), bpf.DropStrayVxlan},
		{"first_fragment", ipv6(all, 17, vxlan, fragment(0)), bpf.DropStrayVxlan},
		{"first_fragment_without_ports", ipv6(all, 17, vxlan[:4], fragment(0)), bpf.DropStrayVxlan},
		{"first_fragment_of_options", ipv6(all, 60, nil, fragment(0)), bpf.DropStrayVxlan},
		{"later_fragment", ipv6(all, 17, vxlan, fragment(8)), bpf.PassIPv6Link},
		{"four_headers", ipv6(all, 17, vxlan, options(4)...), bpf.DropStrayVxlan},
		{"five_headers", ipv6(all, 17, udp(521), options(5)...), bpf.DropStrayVxlan},
		{"four_headers_of_routing_protocol", ipv6(all, 17, udp(521), options(4)...), bpf.PassIPv6Link},
		{"cut_header", ipv6(all, 60, []byte{17, 0, 1}), bpf.DropStrayVxlan},
		{"neighbour_solicitation", ipv6(all, 58, solicit), bpf.PassIPv6Link},
		{"listener_report", ipv6(all, 58, solicit, option(0, 0)), bpf.PassIPv6Link},
		{"ospf", ipv6(all, 89, solicit), bpf.PassIPv6Link},
		{"rip", ipv6(all, 17, udp(521)), bpf.PassIPv6Link},
		{"nothing_behind", ipv6(all, 59, nil), bpf.PassIPv6Link},
	} {
		t.Run(c.name, func(t *testing.T) {
			six, four := overIPv6.node(t, 1), overIPv4.node(t, 1)
			wantBytes(t, six.runData(c.in).want(t, c.want).packet, c.in)
			// Over IPv4 the host has no such socket.
			four.runData(c.in).want(t, bpf.PassIPv6Link)
			// Nor by an address of the node that routers know.
			routed, want := bytes.Clone(c.in), c.want
			copy(routed[38:], localAddr6.AsSlice())
			if want == bpf.PassIPv6Link {
				want = bpf.PassIPv6Local
			}
			wantBytes(t, six.runData(routed).want(t, want).packet, routed)
			four.runData(routed).want(t, bpf.PassIPv6Local)
		})
	}
}
