package node

import (
	"errors"
	"os"
	"path/filepath"
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
	var synced []string
	var results []error
	s := &stateFile[int]{path: path, sync: func(d string) error {
		b, err := os.ReadFile(path)
		if err != nil || d != dir {
			t.Errorf("synced %s when the file was %q, %v", d, b, err)
		}
		synced = append(synced, string(b))
		if len(synced) == 2 {
			return broken
		}
		return syncDir(d)
	}}
	for i := range 3 {
		results = append(results, s.write(&i))
	}
	if len(synced) != 3 || synced[0] != "0" || synced[1] != "1" || synced[2] != "2" {
		t.Errorf("synced with %q", synced)
	}
	if results[0] != nil || !errors.Is(results[1], broken) || results[2] != nil {
		t.Errorf("written: %v", results)
	}
	if err := syncDir(filepath.Join(dir, "nowhere")); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("a directory that does not exist: %v", err)
	}
	if v := s.load(); v == nil || *v != 2 {
		t.Errorf("read back %v", v)
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
