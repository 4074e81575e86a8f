package campaign

import (
	"context"
	"fmt"
	"path/filepath"

	"github.com/cilium/ebpf"

	"cohort/bpf"
	"cohort/testenv/topology"
)

// Counters reads what the node's XDP programs counted, by outcome. It needs no
// daemon: the kernel keeps the counters as long as the programs.
func Counters(n *topology.Node) (map[string]uint64, error) {
	m, err := ebpf.LoadPinnedMap(filepath.Join(n.PinDir(), "map_counters"), &ebpf.LoadPinOptions{ReadOnly: true})
	if err != nil {
		return nil, fmt.Errorf("node %s: counters: %w", n.Name, err)
	}
	defer m.Close()
	all := make(map[string]uint64)
	var perCPU []uint64
	for o := range bpf.Outcome(bpf.NumOutcomes) {
		if !o.Known() {
			continue
		}
		if err := m.Lookup(uint32(o), &perCPU); err != nil {
			return nil, fmt.Errorf("node %s: counter %v: %w", n.Name, o, err)
		}
		for _, v := range perCPU {
			all[o.String()] += v
		}
	}
	return all, nil
}

// forwarded sums the outcomes by which a node sends data on.
func forwarded(c map[string]uint64) (sum uint64) {
	for o := range bpf.Outcome(bpf.NumOutcomes) {
		if o.Known() && o.Kind() == bpf.KindForward {
			sum += c[o.String()]
		}
	}
	return sum
}

// SumCounters adds up the counters of all nodes that answer but one (or nil),
// slow path and roles included.
func SumCounters(ctx context.Context, top *topology.Topology, but *topology.Node) (map[string]uint64, error) {
	sum := make(map[string]uint64)
	for _, n := range top.Nodes {
		if _, err := n.Daemon(); err != nil || n == but {
			continue
		}
		list, err := n.API().Counters(ctx)
		if err != nil {
			return nil, fmt.Errorf("node %s: %w", n.Name, err)
		}
		for _, c := range list {
			sum[c.Name] += c.Value
		}
	}
	return sum, nil
}

// growth is after minus before, without what did not change.
func growth(before, after map[string]uint64) map[string]uint64 {
	d := make(map[string]uint64)
	for name, v := range after {
		if v > before[name] {
			d[name] = v - before[name]
		}
	}
	return d
}
