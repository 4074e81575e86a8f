package bpf_test

import (
	"encoding/binary"
	"net/netip"
	"testing"

	"cohort/bpf"

	"github.com/cilium/ebpf"
)

// family is what the VTEPs of a cluster have addresses of (CL9).
type family struct {
	name   string
	prefix netip.Addr
	header int // size of the outer IP header
}

var (
	overIPv4 = family{"ipv4", netip.MustParseAddr("10.99.0.0"), 20}
	overIPv6 = family{"ipv6", netip.MustParseAddr("fd00:99:1:2:3:4:5:0"), 40}
)

// overBoth runs a test with a CCL of either family.
func overBoth(t *testing.T, test func(t *testing.T, over family)) {
	for _, f := range []family{overIPv4, overIPv6} {
		t.Run(f.name, func(t *testing.T) { test(t, f) })
	}
}

// vtep is the address of a node on the CCL.
func (f family) vtep(id uint8) netip.Addr {
	b := f.prefix.AsSlice()
	b[len(b)-1] = id
	a, _ := netip.AddrFromSlice(b)
	return a
}

// payload is where the packet begins in a data frame.
func (f family) payload() int {
	if f == overIPv6 {
		return bpf.CCLPayload + bpf.CCLIPv6More
	}
	return bpf.CCLPayload
}

// choose makes the programs of a spec those of the family.
func (f family) choose(t testing.TB, s *ebpf.CollectionSpec) {
	t.Helper()
	if f == overIPv6 {
		must(t, s.Variables[bpf.CclVarCclIpv6].Set(uint32(1)))
	}
}

// mapped is an address as C keeps it: IPv6, or IPv4 mapped into it.
func mapped(a netip.Addr) (w [4]uint32) {
	b := a.As16()
	for i := range w {
		w[i] = binary.NativeEndian.Uint32(b[4*i:])
	}
	return w
}
