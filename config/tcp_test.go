package config

import (
	"strings"
	"testing"
)

// TestFR5_Switch: on unless the file says otherwise, the same on all nodes, and not by
// reload, since every node should read what the others write.
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
	unsaid, off := read(""), read("tcp: {sequence_randomization: false}\n")
	if !unsaid.Sequences || off.Sequences {
		t.Errorf("unsaid %v, off %v", unsaid.Sequences, off.Sequences)
	}
	for _, same := range []string{"tcp: {sequence_randomization: true}\n", "tcp: {}\n"} {
		if on := read(same); !on.Sequences || unsaid.Reloads("cluster.yaml", on) != nil {
			t.Errorf("%q is not what a file without it says: %v", same, on.Sequences)
		}
	}
	for _, c := range [][2]*Cluster{{off, unsaid}, {unsaid, off}} {
		if err := c[0].Reloads("cluster.yaml", c[1]); err == nil || !strings.Contains(err.Error(), "tcp.sequence_randomization") {
			t.Errorf("reload from %v to %v: %v", c[0].Sequences, c[1].Sequences, err)
		}
	}
	for _, bad := range []string{"tcp: {sequence_randomization: maybe}\n", "tcp: {sequence_randomisation: true}\n"} {
		if _, err := ParseCluster("cluster.yaml", []byte(base+bad)); err == nil || !strings.HasPrefix(err.Error(), "cluster.yaml:3: ") {
			t.Errorf("%q: %v", bad, err)
		}
	}
}
