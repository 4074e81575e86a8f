package config

import (
	"strings"
	"testing"
)

// TestFR5_Switch: off unless the file says so, the same on all nodes, and not by
// reload, since every node must read what the others write.
func TestFR5_Switch(t *testing.T) {
	base := "interfaces:\n  inside: {device: in0, trust: 100, cluster_address: 10.1.0.254/24, pool: 10.1.0.1-10.1.0.16}\n"
	read := func(text string) *Cluster {
		t.Helper()
		c, err := ParseCluster("cluster.yaml", []byte(base+text))
		if err != nil {
			t.Fatal(err)
		}
		return c
	}
	off, on := read(""), read("tcp: {sequence_randomization: true}\n")
	if off.Sequences || !on.Sequences || read("tcp: {sequence_randomization: false}\n").Sequences {
		t.Errorf("off %v, on %v", off.Sequences, on.Sequences)
	}
	if err := off.Reloads("cluster.yaml", on); err == nil || !strings.Contains(err.Error(), "tcp.sequence_randomization") {
		t.Errorf("reload: %v", err)
	}
	for _, bad := range []string{"tcp: {sequence_randomization: maybe}\n", "tcp: {sequence_randomisation: true}\n"} {
		if _, err := ParseCluster("cluster.yaml", []byte(base+bad)); err == nil || !strings.HasPrefix(err.Error(), "cluster.yaml:3: ") {
			t.Errorf("%q: %v", bad, err)
		}
	}
}
