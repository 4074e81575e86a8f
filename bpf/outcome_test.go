package bpf_test

import (
	"strings"
	"testing"

	"cohort/bpf"

	"github.com/cilium/ebpf/btf"
)

// TestMG5_OutcomesAreMirroredFromC compares the generated Go list with the enum
// that the object was compiled with.
func TestMG5_OutcomesAreMirroredFromC(t *testing.T) {
	spec, err := bpf.LoadData()
	must(t, err)
	var enum *btf.Enum
	must(t, spec.Types.TypeByName("outcome", &enum))
	inC := make(map[bpf.Outcome]string)
	for _, v := range enum.Values {
		if v.Name != "CONTINUE" && v.Name != "NR_OUTCOMES" {
			inC[bpf.Outcome(v.Value)] = strings.ToLower(v.Name)
		}
	}
	for _, o := range bpf.Outcomes() {
		if inC[o] != o.String() {
			t.Errorf("outcome %d is %q in Go, %q in C", o, o, inC[o])
		}
		delete(inC, o)
	}
	for o, name := range inC {
		t.Errorf("outcome %d (%s) is missing in Go", o, name)
	}
}

func TestOutcomesDescribeThemselves(t *testing.T) {
	seen := make(map[string]bool)
	for _, o := range bpf.Outcomes() {
		if seen[o.String()] {
			t.Errorf("%s is there twice", o)
		}
		seen[o.String()] = true
		if !strings.HasPrefix(o.String(), o.Kind().String()+"_") {
			t.Errorf("%s is of kind %s", o, o.Kind())
		}
		if d := o.Description(); !strings.HasSuffix(d, ".") || strings.ToUpper(d[:1]) != d[:1] {
			t.Errorf("%s is described by %q, which is no sentence", o, d)
		}
	}
	reserved := bpf.Outcome(127)
	if reserved.Known() || reserved.Kind() != bpf.KindNone || reserved.Description() != "" || reserved.String() != "outcome_127" {
		t.Errorf("reserved number: %v, %v, %q", reserved, reserved.Kind(), reserved.Description())
	}
	if o := bpf.Outcome(255); o.Known() || o.Kind() != bpf.KindNone {
		t.Errorf("number past the list: %v, %v", o, o.Kind())
	}
}
