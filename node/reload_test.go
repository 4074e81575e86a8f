package node

import (
	"crypto/rand"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"cohort/api"
	"cohort/ccl/wire"
	"cohort/config"
	"cohort/nat"
	"cohort/node/core"
)

// Reload implements core.IO without a fast path.
func (n *testNode) Reload(*core.Setup) { n.live.Store(n.next) }

// The numbers of rules that connections carry follow the names of the rules.
func TestNT7_RuleNumbersFollowNames(t *testing.T) {
	rules := func(names ...string) (list []config.Rule) {
		for _, name := range names {
			list = append(list, config.Rule{Name: name})
		}
		return list
	}
	to := ruleNumbers(rules("a", "b", "c"), rules("c", "x", "a"))
	for r, want := range []uint16{0, 3, 0, 1, 0} {
		if got := to(uint16(r)); got != want {
			t.Errorf("rule %d becomes %d, want %d", r, got, want)
		}
	}
}

// A whole cluster of nodes without I/O reloads: a bad file changes nothing, a
// good one runs when the last node has it, and what a question finds half way is
// not a mixture.
func TestNT7_NodesReloadTogether(t *testing.T) {
	c := newTestCluster(t, 3)
	file := filepath.Join(t.TempDir(), "cluster.yaml")
	for _, n := range c.nodes {
		n.cfg.Bootstrap = &config.Node{Name: "fw", Config: file, KeyFile: keyFile(t, n.Node)}
	}
	write := func(old, new string) {
		if err := os.WriteFile(file, []byte(strings.Replace(testTranslation, old, new, 1)), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	write("block_size: 4096", "block_size: 1")
	if _, err := (provider{c.nodes[0].Node}).Reload(t.Context()); err == nil || !strings.Contains(err.Error(), file+":") {
		t.Fatalf("a bad file: %v", err)
	}
	write("block_size: 4096", "block_size: 256")
	before := c.nodes[0].natRules()
	for i, n := range c.nodes {
		r, err := provider{n.Node}.Reload(t.Context())
		if err != nil || r.State != api.ReloadPrepared || len(r.Waiting) != 2-i {
			t.Fatalf("node %d: %+v, %v", i, r, err)
		}
		if i < 2 {
			c.run(time.Second)
			if n.natRules() != before && i == 0 {
				t.Fatal("it runs before everybody is ready")
			}
		}
	}
	walk := &unitWalk{n: c.nodes[0].Node, rules: before, units: make([]unitCopy, 1)}
	c.run(time.Second)
	for i, n := range c.nodes {
		if g := n.natRules().Geometry(); g.Pools()[1].BlockSize != 256 || n.core.Translator().Rules() != n.natRules() {
			t.Errorf("node %d: blocks of %d ports", i, g.Pools()[1].BlockSize)
		}
	}
	if walk.visit(c.now); !walk.recut {
		t.Error("a walk over the units goes on under other numbers")
	}
	held := 0
	for _, n := range c.nodes {
		held += n.core.Units().Status().Held
	}
	if want := c.nodes[0].natRules().Geometry().Units(); held != want {
		t.Errorf("%d units of %d are held", held, want)
	}
	if r, err := (provider{c.nodes[0].Node}).Reload(t.Context()); err != nil || r.State != api.ReloadSame {
		t.Errorf("the same again: %+v, %v", r, err)
	}
}

// A node alone waits for nobody, and what it holds in ports it goes on holding.
func TestNT7_NodeAloneReloadsAtOnce(t *testing.T) {
	c := newTestCluster(t, 1)
	n := c.nodes[0]
	file := filepath.Join(t.TempDir(), "cluster.yaml")
	n.cfg.Bootstrap = &config.Node{Name: "fw", Config: file, KeyFile: keyFile(t, n.Node)}
	if err := os.WriteFile(file, []byte(strings.Replace(testTranslation, "block_size: 4096", "block_size: 512", 1)), 0o644); err != nil {
		t.Fatal(err)
	}
	if held := n.core.Units().Status().Held; held != n.natRules().Geometry().Units() {
		t.Fatalf("it holds %d units of %d: the cluster is not ready", held, n.natRules().Geometry().Units())
	}
	r, err := provider{n.Node}.Reload(t.Context())
	if err != nil || r.State != api.ReloadRuns {
		t.Fatalf("%+v, %v", r, err)
	}
	if held := n.core.Units().Status().Held; held != n.natRules().Geometry().Units() {
		t.Errorf("it holds %d units of %d", held, n.natRules().Geometry().Units())
	}
}

// The journal of another numbering holds nothing yet, for the same life and view.
func TestNT7_JournalOfAnotherNumbering(t *testing.T) {
	path := filepath.Join(t.TempDir(), "units.held")
	j, err := openJournal(path, 1)
	if err != nil {
		t.Fatal(err)
	}
	j.begin(7)
	j.View(9)
	j.Hold(5, true)
	j.Recut(2)
	j.Hold(3, true)
	if units, view, ok := j.held(7); !ok || view != 9 || len(units) != 1 || units[0] != 3 {
		t.Errorf("holds %v, view %d, %v", units, view, ok)
	}
	if err := j.close(); err != nil {
		t.Fatal(err)
	}
	if j, err = openJournal(path, 1); err != nil {
		t.Fatal(err)
	}
	defer j.close()
	if _, _, ok := j.held(7); ok {
		t.Error("units of another numbering are believed")
	}
}

// keyFile makes a key file that a node runs with.
func keyFile(t *testing.T, n *Node) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "cluster.key")
	err := config.WriteKey(path, rand.Reader)
	if err == nil {
		n.cfg.Keys, err = config.LoadKeys(path)
	}
	if err != nil {
		t.Fatal(err)
	}
	return path
}

// CL10: a key file of another cluster is refused by name, whatever else is to be
// reloaded, and the keys stay.
func TestCL10_KeyFileOfAnotherClusterIsRefused(t *testing.T) {
	n := newTestCluster(t, 1).nodes[0].Node
	file := filepath.Join(t.TempDir(), "cluster.yaml")
	if err := os.WriteFile(file, []byte(testTranslation), 0o644); err != nil {
		t.Fatal(err)
	}
	n.cfg.Bootstrap = &config.Node{Name: "fw", Config: file, KeyFile: keyFile(t, n)}
	if r, err := (provider{n}).Reload(t.Context()); err != nil || len(r.Keys) != 1 {
		t.Fatalf("its own file: %+v, %v", r, err)
	}
	own := n.cfg.Keys
	n.cfg.Bootstrap.KeyFile = keyFile(t, n) // another one
	n.cfg.Keys = own
	_, err := provider{n}.Reload(t.Context())
	if !errors.Is(err, api.ErrRefused) || !strings.HasPrefix(err.Error(), n.cfg.Bootstrap.KeyFile+":1: ") {
		t.Errorf("another cluster's file: %v", err)
	}
	if n.cfg.Keys.Seed != own.Seed || n.cfg.Keys.Link[0] != own.Link[0] {
		t.Error("the keys changed all the same")
	}
}

// Membership reads off a checksum whether a configuration translates (EL8).
func TestEL8_AChecksumSaysWhetherThereIsNAT(t *testing.T) {
	with, err := config.ParseCluster("cluster.yaml", []byte(config.ExampleCluster))
	if err != nil {
		t.Fatal(err)
	}
	for i := range 16 { // of a sum, the bit would be right by chance
		for _, translates := range []bool{true, false} {
			c := *with
			c.Rules = []config.Rule{{Name: fmt.Sprint(i)}}
			if !translates {
				c.NAT = nat.Config{}
			}
			if c.Translates() != translates || (c.Checksum()&wire.ConfigTranslates != 0) != translates {
				t.Errorf("translates: %v; the checksum %x", translates, c.Checksum())
			}
		}
	}
}
