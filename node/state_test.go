package node

import (
	"errors"
	"os"
	"path/filepath"
	"slices"
	"testing"

	"go.uber.org/zap"

	"cohort/ccl/wire"
)

// What is said to be written is the file's content under the file's name, both
// on disk: NT4 rests on it, because others are told what this node would
// remember (blocks.Config.Remember). That the directory is not on disk is an
// error like any other.
func TestNT4_StateIsWrittenWhenItsNameIs(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "x.json")
	broken := errors.New("no such luck")
	var synced []string // what was synced, and what the file said then
	var results []error
	s := &stateFile[int]{path: path, sync: func(f *os.File) error {
		b, _ := os.ReadFile(path)
		name, err := filepath.Rel(dir, f.Name())
		if err != nil {
			t.Error(err)
		}
		if synced = append(synced, name+" "+string(b)); len(synced) == 4 {
			return broken
		}
		return f.Sync()
	}}
	for i := range 3 {
		results = append(results, s.write(&i))
	}
	if want := []string{"x.json.new ", ". 0", "x.json.new 0", ". 1", "x.json.new 1", ". 2"}; !slices.Equal(synced, want) {
		t.Errorf("synced %q, want %q", synced, want)
	}
	if results[0] != nil || !errors.Is(results[1], broken) || results[2] != nil {
		t.Errorf("written: %v", results)
	}
	if v := s.load(); v == nil || *v != 2 {
		t.Errorf("read back %v", v)
	}
}

// HL5: what a daemon needs to be taken over by the next is written without waiting
// for a disk, which may be slower than a daemon is killed.
func TestHL5_TheMembershipWaitsForNoDisk(t *testing.T) {
	dir := t.TempDir()
	s := openMembership(dir, func(err error) { t.Error(err) })
	if s.sync != nil {
		t.Error("it is synced")
	}
	s.put(saved{ID: 7})
	s.close()
	if v := s.load(); v == nil || v.ID != 7 || s.path != filepath.Join(dir, "membership.json") {
		t.Errorf("%s says %+v", s.path, v)
	}
}

// A file that is there and cannot be read is not a file that is not there.
func TestDamagedStateIsAnError(t *testing.T) {
	s := openState[int](t.TempDir(), "x.json", nil, func(error) {})
	defer s.close()
	if v, err := s.read(); v != nil || err != nil {
		t.Fatalf("%v, %v: want nothing", v, err)
	}
	for _, bad := range []string{"", "{", "1 2"} {
		if err := os.WriteFile(s.path, []byte(bad), 0o600); err != nil {
			t.Fatal(err)
		}
		if v, err := s.read(); v != nil || err == nil {
			t.Errorf("%q: %v, %v: want an error", bad, v, err)
		}
	}
	if err := os.Remove(s.path); err != nil {
		t.Fatal(err)
	}
	if err := os.Mkdir(s.path, 0o700); err != nil {
		t.Fatal(err)
	}
	if _, err := s.read(); err == nil {
		t.Error("a directory is no file")
	}
}

// The number of the newest view outlives lives and fences, each part for itself: what a
// later life makes is beyond it. A file that makes no sense is none (FR13, EL5).
func TestFR13_EL5_TheNumberOfTheViewOutlivesTheNode(t *testing.T) {
	dir := t.TempDir()
	n := &Node{log: zap.NewNop()}
	open := func() {
		n.views = openState[viewNumber](dir, "views.json", nil, func(err error) { t.Error(err) })
		n.newest = n.lastView()
	}
	open()
	if n.newest != (viewNumber{}) {
		t.Fatalf("out of nothing: %+v", n.newest)
	}
	for _, v := range []wire.View{{Term: 1 << 12, Epoch: 7}, {Term: 2 << 12, Epoch: 8}, {Term: 2 << 12, Epoch: 3}} {
		n.newest = n.newest.newer(&v)
		n.views.put(n.newest)
	}
	n.views.close()
	open()
	if want := (viewNumber{2 << 12, 8}); n.newest != want {
		t.Fatalf("%+v, want %+v", n.newest, want)
	}
	n.views.close()
	for _, bad := range []string{"", "{", `{"Term":4294967295,"Epoch":1}`, `{"Term":-1}`} {
		if err := os.WriteFile(filepath.Join(dir, "views.json"), []byte(bad), 0o600); err != nil {
			t.Fatal(err)
		}
		if open(); n.newest != (viewNumber{}) {
			t.Errorf("%q was taken for %+v", bad, n.newest)
		}
		n.views.close()
	}
}

// A node that is killed while the number of its view waits for a slow disk has the view
// in the other file. The next life goes on beyond it, and keeps it (EL5): the fence that
// it begins with empties that file.
func TestEL5_AKillBetweenTheFilesForgetsNoView(t *testing.T) {
	dir := t.TempDir()
	fail := func(err error) { t.Error(err) }
	open := func() *Node {
		n := &Node{log: zap.NewNop()}
		n.state, n.views = openMembership(dir, fail), openState[viewNumber](dir, "views.json", nil, fail)
		n.newest = n.recall()
		return n
	}
	end := func(n *Node) { n.state.close(); n.views.close() }
	n := open()
	n.views.put(viewNumber{1 << 12, 4})
	n.state.put(saved{ID: 1, Incarnation: 7, View: &wire.View{Term: 2 << 12, Epoch: 5}})
	end(n)
	n = open()
	if want := (viewNumber{2 << 12, 5}); n.newest != want {
		t.Errorf("%+v, want %+v", n.newest, want)
	}
	n.state.put(saved{})
	end(n)
	n = open()
	if want := (viewNumber{2 << 12, 5}); n.newest != want {
		t.Errorf("after the fence %+v, want %+v", n.newest, want)
	}
	n.state.put(saved{ID: 1, Incarnation: 7, View: &wire.View{Term: 1<<32 - 1, Epoch: 9}}) // no election reaches that
	end(n)
	n = open()
	if want := (viewNumber{2 << 12, 5}); n.newest != want {
		t.Errorf("out of nonsense %+v, want %+v", n.newest, want)
	}
	end(n)
}
