package topology

import (
	"os"
	"path/filepath"
	"slices"
	"testing"
	"time"

	"cohort/config"
	"cohort/testenv/netns"
)

// What the topology writes must be what a daemon reads.
func TestFiles_ParseAndDescribeTheTopology(t *testing.T) {
	tag, err := netns.NewTag()
	if err != nil {
		t.Fatal(err)
	}
	cfg := Config{
		Nodes: MaxNodes, MTU: 9000, HoldTime: 400 * time.Millisecond, Election: 2 * time.Second,
		Rules: []string{"{name: in, from: outside, to: inside, action: allow}"},
	}
	if err := cfg.setDefaults(); err != nil {
		t.Fatal(err)
	}
	top := &Topology{cfg: cfg, tag: tag, Dir: t.TempDir()}
	if err := top.writeShared(); err != nil {
		t.Fatal(err)
	}
	if _, err := config.LoadKeys(top.KeyFile()); err != nil {
		t.Error(err)
	}
	c, err := config.LoadCluster(top.clusterFile())
	if err != nil {
		t.Fatal(err)
	}
	if c.MaxMTU() != 9000 || c.Health.HoldTime != cfg.HoldTime || c.Health.ElectionTimeout != cfg.Election || len(c.Rules) != 1 {
		t.Errorf("cluster configuration %+v does not say what was asked", c)
	}
	for i := 1; i <= MaxNodes; i++ {
		n := newNode(top, i)
		if err := n.writeFiles(); err != nil {
			t.Fatal(err)
		}
		f, err := config.LoadNode(n.bootstrapFile())
		if err != nil {
			t.Fatal(err)
		}
		if f.Name != n.Name || f.CCL.Address.Addr() != n.CCL || len(f.CCL.Peers) != MaxNodes-1 || f.ControlSocket != n.Socket {
			t.Errorf("bootstrap file of %s reads as %+v", n.Name, f)
		}
		pin := config.Pin{Node: n.Name, Address: n.Inside}
		if !slices.Contains(c.Interface("inside").Pins, pin) {
			t.Errorf("no pin %v", pin)
		}
	}
}

func TestConfig_RefusesWhatCannotBeBuilt(t *testing.T) {
	for _, cfg := range []Config{{Nodes: 17}, {Nodes: -1}, {MTU: 500}, {Clients: 99}, {Connections: 1}} {
		if top, err := New(t.Context(), cfg); err == nil {
			top.Close()
			t.Errorf("%+v was built", cfg)
		}
	}
}

func TestLogTail_GivesTheLastLines(t *testing.T) {
	n := &Node{LogFile: filepath.Join(t.TempDir(), "log")}
	if err := os.WriteFile(n.LogFile, []byte("one\ntwo\nthree\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	for lines, want := range map[int]string{1: "three\n", 2: "two\nthree\n", 9: "one\ntwo\nthree\n"} {
		if got := n.LogTail(lines); got != want {
			t.Errorf("LogTail(%d) = %q, want %q", lines, got, want)
		}
	}
}
