package config

import (
	"bytes"
	"crypto/rand"
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// CL10: through add, use and drop the file always has a key in common with the
// step before, the seed never changes, and the mode stays.
func TestCL10_KeyIsChangedInSteps(t *testing.T) {
	path := filepath.Join(t.TempDir(), "cluster.key")
	if err := WriteKey(path, rand.Reader); err != nil {
		t.Fatal(err)
	}
	load := func() Keys {
		t.Helper()
		k, err := LoadKeys(path)
		if err != nil {
			t.Fatal(err)
		}
		return k
	}
	first := load()
	if _, err := UseKey(path); !errors.Is(err, ErrOneKey) {
		t.Errorf("use without a second key: %v", err)
	}
	if _, err := DropKey(path); !errors.Is(err, ErrOneKey) {
		t.Errorf("drop of the only key: %v", err)
	}
	said, err := AddKey(path, rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	both := load()
	if len(both.Link) != 2 || both.Link[0] != first.Link[0] || both.Link[0].ID() == both.Link[1].ID() || !slices.Equal(said.Link, both.Link) {
		t.Error("after add the old key must seal, and another one open")
	}
	if _, err := AddKey(path, rand.Reader); !errors.Is(err, ErrTwoKeys) {
		t.Errorf("a third key: %v", err)
	}
	if _, err := UseKey(path); err != nil {
		t.Fatal(err)
	}
	if k := load(); k.Link[0] != both.Link[1] || k.Link[1] != both.Link[0] {
		t.Error("use did not swap")
	}
	if _, err := DropKey(path); err != nil {
		t.Fatal(err)
	}
	last := load()
	if len(last.Link) != 1 || last.Link[0] != both.Link[1] {
		t.Error("drop did not leave the new key alone")
	}
	if first.Seed != both.Seed || first.Seed != last.Seed {
		t.Error("the seed changed with the key")
	}
	if firstSeed(last.Link[0]) == last.Seed {
		t.Error("the seed is the new key's: the test tests nothing")
	}
	info, err := os.Stat(path)
	if err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("mode %v, %v", info.Mode(), err)
	}
	if left, _ := os.ReadDir(filepath.Dir(path)); len(left) != 1 {
		t.Errorf("files left behind: %v", left)
	}
}

// AddKey draws again until the names differ: nobody could tell two keys of one
// name apart.
func TestCL10_NewKeyHasANameOfItsOwn(t *testing.T) {
	path := write(t, t.TempDir(), "cluster.key", strings.Repeat("a5", 32), 0o600)
	same := bytes.Repeat([]byte{0xa5}, 32)
	k, err := AddKey(path, bytes.NewReader(append(same, bytes.Repeat([]byte{0x5a}, 32)...)))
	if err != nil || k.Link[1] != Key(bytes.Repeat([]byte{0x5a}, 32)) {
		t.Errorf("%v, %v", k.IDs(), err)
	}
}

func TestKeyFilesOfTwoKeysAndTheirMistakes(t *testing.T) {
	dir := t.TempDir()
	a, b, c := strings.Repeat("0f", 32), strings.Repeat("1e", 32), strings.Repeat("2d", 32)
	good := write(t, dir, "good", a+"\n\n"+b+"\nseed "+c+"\n", 0o600)
	k, err := LoadKeys(good)
	if err != nil || len(k.Link) != 2 || k.Seed != Key(bytes.Repeat([]byte{0x2d}, 32)) {
		t.Errorf("%v, %v", k.IDs(), err)
	}
	for name, f := range map[string]struct{ text, want string }{
		"no seed":      {a + "\n" + b, ":2: two keys and no seed"},
		"third":        {a + "\n" + b + "\n" + c + "\nseed " + a, ":3: a third key"},
		"second seed":  {a + "\nseed " + b + "\nseed " + c, ":3: a second seed"},
		"same key":     {a + "\n" + a + "\nseed " + c, ":3: two keys with one name"},
		"seed alone":   {"seed " + c, ":1: the key is not 64 hex digits"},
		"damaged seed": {a + "\nseed " + c[2:], ":2: the key is not 64 hex digits"},
		"empty":        {"\n", ":1: the key is not 64 hex digits"},
	} {
		path := write(t, dir, "bad", f.text, 0o600)
		if _, err := LoadKeys(path); err == nil || !strings.HasPrefix(err.Error(), path+f.want) {
			t.Errorf("%s: %v, want %s", name, err, f.want)
		}
	}
}
