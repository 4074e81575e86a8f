package dataplane

import (
	"fmt"

	"cohort/bpf"
)

// Counters returns how many packets left the XDP programs by each outcome,
// summed over CPUs, by name ("drop_bad_view"). Every packet has exactly one
// outcome (MG5). Outcomes that never happened are there too, as 0.
func (d *Dataplane) Counters() (map[string]uint64, error) {
	all := make(map[string]uint64)
	m := d.maps["counters"]
	var perCPU []uint64
	for n := range uint32(bpf.NumOutcomes) {
		o := bpf.Outcome(n)
		if !o.Known() {
			continue
		}
		if err := m.Lookup(n, &perCPU); err != nil {
			return nil, fmt.Errorf("dataplane: counter %s: %w", o, err)
		}
		var sum uint64
		for _, c := range perCPU {
			sum += c
		}
		all[o.String()] = sum
	}
	return all, nil
}
