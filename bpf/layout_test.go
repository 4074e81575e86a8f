package bpf_test

import (
	"reflect"
	"strings"
	"testing"

	"cohort/bpf"
	"cohort/flowtable"
	"cohort/packet"

	"github.com/cilium/ebpf/btf"
)

// goNames are the fields whose Go name is not the C name in camel case.
var goNames = map[string]string{
	"saddr": "Src", "daddr": "Dst", "sport": "SrcPort", "dport": "DstPort", "nh": "NextHop", "wscale": "WScale", "id": "ID",
}

func goName(c string) string {
	if n, ok := goNames[c]; ok {
		return n
	}
	var b strings.Builder
	for _, w := range strings.Split(c, "_") {
		b.WriteString(strings.ToUpper(w[:1]) + w[1:])
	}
	return b.String()
}

// TestLayoutOfTheTableIsTheSameInCAndGo compares what clang wrote into the
// object's BTF with what the Go compiler made of flowtable's structs.
func TestLayoutOfTheTableIsTheSameInCAndGo(t *testing.T) {
	spec, err := bpf.LoadData()
	must(t, err)
	for _, c := range []struct {
		name string
		typ  reflect.Type
	}{
		{"flow_key", reflect.TypeFor[packet.FlowKey]()},
		{"flow_slot", reflect.TypeFor[flowtable.FlowSlot]()},
		{"forward_slot", reflect.TypeFor[flowtable.ForwardSlot]()},
		{"delegation", reflect.TypeFor[flowtable.DelegationSlot]()},
	} {
		t.Run(c.name, func(t *testing.T) {
			var s *btf.Struct
			must(t, spec.Types.TypeByName(c.name, &s))
			compareLayout(t, s, c.typ)
		})
	}
	var bucket *btf.Struct
	must(t, spec.Types.TypeByName("index_bucket", &bucket))
	if got := reflect.TypeFor[flowtable.Bucket]().Size(); uintptr(bucket.Size) != got {
		t.Errorf("index_bucket has %d bytes in C, %d in Go", bucket.Size, got)
	}
}

func compareLayout(t *testing.T, s *btf.Struct, typ reflect.Type) {
	if uintptr(s.Size) != typ.Size() {
		t.Errorf("%d bytes in C, %d in Go", s.Size, typ.Size())
	}
	named := 0
	for _, m := range s.Members {
		if m.Name == "pad" || m.Name == "zero" {
			continue // blank in Go
		}
		named++
		f, ok := typ.FieldByName(goName(m.Name))
		if !ok {
			t.Errorf("%s has no field %s in Go", m.Name, goName(m.Name))
			continue
		}
		size, err := btf.Sizeof(m.Type)
		must(t, err)
		if uintptr(m.Offset.Bytes()) != f.Offset || uintptr(size) != f.Type.Size() {
			t.Errorf("%s: offset %d, %d bytes in C; offset %d, %d bytes in Go", m.Name, m.Offset.Bytes(), size, f.Offset, f.Type.Size())
		}
	}
	for i := range typ.NumField() {
		if typ.Field(i).Name != "_" {
			named--
		}
	}
	if named != 0 {
		t.Errorf("C has %d named fields more than Go", named)
	}
}

// TestConstantsAreThoseOfTheHeaders looks where a constant of bpf.go shows in
// the object.
func TestConstantsAreThoseOfTheHeaders(t *testing.T) {
	spec, err := bpf.LoadData()
	must(t, err)
	for name, want := range map[string]int{
		bpf.DataMapMembers:        bpf.MaxNodes,
		bpf.DataMapIfaces:         bpf.MaxIfaces,
		bpf.DataMapIfindexToIface: bpf.MaxIfaces,
		bpf.DataMapNexthops:       bpf.MaxNexthops,
		bpf.DataMapLocalAddrs:     bpf.MaxLocalAddrs,
		bpf.DataMapLocalAddrs6:    bpf.MaxLocalAddrs,
		bpf.DataMapNatAddrs:       bpf.MaxNATAddrs,
		bpf.DataMapNatUnits:       bpf.MaxNATUnits / bpf.NATUnitsLine,
		bpf.DataMapXsks:           bpf.MaxIfaces * bpf.XSKQueues,
		bpf.DataMapCounters:       bpf.NumOutcomes,
	} {
		if got := int(spec.Maps[name].MaxEntries); got != want {
			t.Errorf("map %s has %d elements, bpf.go says %d", name, got, want)
		}
	}
	if bpf.LayoutVersion != flowtable.LayoutVersion {
		t.Errorf("layout version %d here, %d in flowtable", bpf.LayoutVersion, flowtable.LayoutVersion)
	}
	if got := reflect.TypeFor[bpf.Punt]().Size(); got != bpf.PuntSize {
		t.Errorf("struct punt has %d bytes, PuntSize is %d", got, bpf.PuntSize)
	}
}

// TestBothProgramsDeclareTheSameMaps: the loader gives one map to both.
func TestBothProgramsDeclareTheSameMaps(t *testing.T) {
	data, err := bpf.LoadData()
	must(t, err)
	ccl, err := bpf.LoadCcl()
	must(t, err)
	for name, c := range ccl.Maps {
		if name == ".rodata" {
			continue // each has its own
		}
		d := data.Maps[name]
		if d == nil || d.Type != c.Type || d.KeySize != c.KeySize || d.ValueSize != c.ValueSize || d.MaxEntries != c.MaxEntries || d.Flags != c.Flags {
			t.Errorf("map %s: %v for the CCL, %v for data interfaces", name, c, d)
		}
	}
}
