package bpf_test

import (
	"testing"

	"cohort/bpf"
)

// TestFR10_FragmentsGoToGoWithTheirPorts: one that the fragment owner has sent has its
// ports in the field of the generation, and is told from one that comes to the fragment
// owner. Nothing else travels that way.
func TestFR10_FragmentsGoToGoWithTheirPorts(t *testing.T) {
	overBoth(t, func(t *testing.T, over family) {
		first, later, whole := from(udpKey), from(udpKey), from(udpKey)
		first.moreFrags, later.fragOffset = true, 100
		for _, c := range []struct {
			name string
			in   pkt
			typ  uint8
			want bpf.Outcome
		}{
			{"first", first, bpf.CCLData, bpf.PuntFragment},
			{"later", later, bpf.CCLData, bpf.PuntFragment},
			{"first with ports", first, bpf.CCLFragment, bpf.PuntLabelled},
			{"later with ports", later, bpf.CCLFragment, bpf.PuntLabelled},
			{"no fragment, with ports", whole, bpf.CCLFragment, bpf.DropBadFrame},
			{"no type that there is", later, bpf.CCLFragment + 1, bpf.DropBadFrame},
			{"no type", later, 0, bpf.DropBadFrame},
		} {
			t.Run(c.name, func(t *testing.T) {
				n := over.node(t, 2)
				n.addFlow(udpKey) // whoever owns it: Go sends fragments on
				f := over.carries(1, 2, unpadded(t, c.in))
				f.typ, f.gen, f.iface = c.typ, 0x9c400035, outside
				r := n.runCCL(f.bytes(t)).want(t, c.want)
				if c.want.Kind() == bpf.KindPunt && (r.punt == nil || r.punt.Gen != 0x9c400035 || r.punt.From != 1 || r.punt.Iface != outside) {
					t.Errorf("punt %+v", r.punt)
				}
			})
		}
	})
}
