package config

import (
	"errors"
	"regexp"
	"slices"
	"strings"
	"testing"

	"cohort/nat"
)

var oneLine = regexp.MustCompile(`^[^\n]+\.yaml:[1-9][0-9]*: [^\n]+; [^\n]+$`)

// holds checks what every error promises: lines of file:line: problem; mend,
// within the file.
func holds(t *testing.T, data []byte, err error) {
	t.Helper()
	var list Errors
	if !errors.As(err, &list) || len(list) == 0 {
		t.Fatalf("%T is not a list of mistakes: %v", err, err)
	}
	lines := strings.Count(string(data), "\n") + strings.Count(string(data), "\r") + 2
	for _, line := range strings.Split(err.Error(), "\n") {
		if !oneLine.MatchString(line) {
			t.Fatalf("%q is not file:line: problem; mend", line)
		}
	}
	for _, e := range list {
		if e.Line > lines {
			t.Fatalf("line %d of a file with %d: %v", e.Line, lines, e)
		}
	}
}

func FuzzNode(f *testing.F) {
	f.Add([]byte(ExampleNode))
	for _, m := range nodeMistakes {
		if m.old == "" {
			f.Add([]byte(m.new))
		} else {
			f.Add([]byte(strings.Replace(ExampleNode, m.old, m.new, 1)))
		}
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		n, err := ParseNode("node.yaml", data)
		if err != nil {
			holds(t, data, err)
			return
		}
		if n.Cluster == "" || n.Name == "" || n.Priority < 1 || n.Priority > 100 || !n.CCL.Address.IsValid() || n.CCL.VNI == 0 || len(n.CCL.Peers) > MaxPeers {
			t.Fatalf("accepted: %+v", n)
		}
	})
}

func FuzzCluster(f *testing.F) {
	f.Add([]byte(ExampleCluster))
	for _, m := range slices.Concat(clusterMistakes, ifaddressMistakes, natMistakes) {
		if m.old == "" {
			f.Add([]byte(m.new))
		} else {
			f.Add([]byte(strings.Replace(ExampleCluster, m.old, m.new, 1)))
		}
	}
	f.Add([]byte(strings.Replace(ExampleCluster, outsideIPv4, outsideBoth, 1)))
	f.Fuzz(func(t *testing.T, data []byte) {
		c, err := ParseCluster("cluster.yaml", data)
		if err != nil {
			holds(t, data, err)
			return
		}
		for i, x := range c.Interfaces {
			if int(x.ID) != i+1 || x.Trust > 100 || x.MTU < 1280 || x.Pool.Contains(x.ClusterAddress.Addr()) || x.Pool.Size() == 0 {
				t.Fatalf("accepted: %+v", x)
			}
			if x.ClusterAddressIPv6.IsValid() != (x.PoolIPv6.Size() > 0) || x.PoolIPv6.Contains(x.ClusterAddressIPv6.Addr()) {
				t.Fatalf("accepted: %+v", x)
			}
			for _, p := range x.Pins {
				if p.Address.IsValid() && !x.Pool.Contains(p.Address) || p.AddressIPv6.IsValid() && !x.PoolIPv6.Contains(p.AddressIPv6) {
					t.Fatalf("accepted pin %+v of %+v", p, x)
				}
			}
		}
		// What was accepted rule by rule compiles as a whole.
		if _, err := c.CompilePolicy(); err != nil {
			t.Fatalf("accepted rules do not compile: %v", err)
		}
		if _, err := nat.Compile(c.NAT); err != nil {
			t.Fatalf("accepted nat does not compile: %v", err)
		}
	})
}
