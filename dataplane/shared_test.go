package dataplane

import (
	"reflect"
	"testing"
	"unsafe"

	"cohort/bpf"
	"cohort/flowtable"
	"cohort/nat"
)

// layout is name-free: offsets and sizes of the fields that carry data, in
// order. Padding counts as a field of the C side only.
func layout(v any) map[uintptr]uintptr {
	fields := make(map[uintptr]uintptr)
	t := reflect.TypeOf(v)
	for i := range t.NumField() {
		f := t.Field(i)
		if f.Type.Size() == 0 || f.Name == "_" || f.Name == "Pad" {
			continue
		}
		fields[f.Offset] = f.Type.Size()
	}
	return fields
}

// The right-hand types are generated from the programs' BTF.
func TestSharedStructsAreLaidOutAsInC(t *testing.T) {
	for _, c := range []struct {
		name string
		ours any
		c    any
	}{
		{"control", Control{}, bpf.Control{}},
		{"member", Member{}, bpf.Member{}},
		{"iface", Iface{}, bpf.Iface{}},
		{"punt", Punt{}, bpf.Punt{}},
		{"nat_address", natAddress{}, bpf.NATAddress{}},
		{"nexthop", struct {
			DMAC, SMAC   [6]byte
			Ifindex      uint32
			MTU          uint16
			Iface, Flags uint8
			Seq          uint32
			_            [8]byte
		}{}, bpf.Nexthop{}},
	} {
		ours, theirs := layout(c.ours), layout(c.c)
		if !reflect.DeepEqual(ours, theirs) {
			t.Errorf("struct %s: offset and size of fields: Go %v, C %v", c.name, ours, theirs)
		}
		if a, b := reflect.TypeOf(c.ours).Size(), reflect.TypeOf(c.c).Size(); a != b {
			t.Errorf("struct %s: %d bytes in Go, %d in C", c.name, a, b)
		}
	}
	var n NextHop // Addr lies in C's padding
	if unsafe.Offsetof(n.Seq) != unsafe.Offsetof(bpf.Nexthop{}.Seq) || unsafe.Offsetof(n.Addr) != unsafe.Offsetof(bpf.Nexthop{}.Pad) {
		t.Error("struct nexthop: seq and address have moved")
	}
}

func TestConstantsAreThoseOfTheHeaders(t *testing.T) {
	for _, c := range []struct {
		name    string
		ours, c int
	}{
		{"layout version", flowtable.LayoutVersion, bpf.LayoutVersion},
		{"nodes", MaxNodes, bpf.MaxNodes},
		{"interfaces", MaxIfaces, bpf.MaxIfaces},
		{"next hops", MaxNextHops, bpf.MaxNexthops},
		{"translated addresses", MaxNATAddrs, bpf.MaxNATAddrs},
		{"addresses that package nat allows", nat.MaxPoolAddresses, bpf.MaxNATAddrs},
		{"NAT units", MaxNATUnits, bpf.MaxNATUnits},
		{"units that package nat allows", nat.MaxUnits, bpf.MaxNATUnits},
		{"units in a line", len(natLine{}), bpf.NATUnitsLine},
		{"punt magic", PuntMagic, bpf.PuntMagic},
		{"punt size", puntSize, bpf.PuntSize},
		{"overhead", CCLOverhead, bpf.CCLPayload},
		{"overhead over IPv6", CCLOverheadIPv6, bpf.CCLPayload + bpf.CCLIPv6More},
		{"ethertype", CCLEtherType, bpf.CCLEthertype},
		{"header version", CCLHeaderVersion, bpf.CCLHeaderVersion},
		{"data", CCLData, bpf.CCLData}, {"fragment", CCLFragment, bpf.CCLFragment},
		{"hops", CCLMaxHops, bpf.CCLMaxHops},
		{"valid", NextHopValid, bpf.NexthopValid},
		{"slow only", ControlSlowOnly, bpf.ControlSlowOnly},
		{"alive", MemberAlive, bpf.MemberAlive},
		{"self", MemberSelf, bpf.MemberSelf},
	} {
		if c.ours != c.c {
			t.Errorf("%s: %d in Go, %d in C", c.name, c.ours, c.c)
		}
	}
}

func TestNextHopIsOddOnlyWhileItIsWritten(t *testing.T) {
	var n NextHop
	n.Seq = 4
	n.Store(NextHop{Ifindex: 7, MTU: 1500, Iface: 2, Flags: NextHopValid, Seq: 99})
	if n.Seq != 6 || !n.Valid() || n.Ifindex != 7 {
		t.Errorf("after a store: %+v", n)
	}
	n.Seq = 7 // the daemon died while writing
	n.Store(NextHop{})
	if n.Seq != 8 || n.Valid() {
		t.Errorf("after mending a torn entry: %+v", n)
	}
}
