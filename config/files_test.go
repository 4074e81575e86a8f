package config

import (
	"bytes"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// write makes a file in dir and returns its path.
func write(t *testing.T, dir, name, text string, mode os.FileMode) string {
	t.Helper()
	path := filepath.Join(dir, name)
	if err := os.WriteFile(path, []byte(text), mode); err != nil {
		t.Fatal(err)
	}
	if err := os.Chmod(path, mode); err != nil { // whatever the umask
		t.Fatal(err)
	}
	return path
}

func TestWrittenKeyCanBeLoaded(t *testing.T) {
	path := filepath.Join(t.TempDir(), "cluster.key")
	if err := WriteKey(path, bytes.NewReader(bytes.Repeat([]byte{0xa5}, 32))); err != nil {
		t.Fatal(err)
	}
	keys, err := LoadKeys(path)
	if err != nil {
		t.Fatal(err)
	}
	key := keys.Link[0]
	if len(keys.Link) != 1 || key != Key(bytes.Repeat([]byte{0xa5}, 32)) {
		t.Error("another key came back")
	}
	if key.String() != "(cluster key)" || key.GoString() != "(cluster key)" {
		t.Error("printing a key shows it")
	}
	if err := WriteKey(path, bytes.NewReader(make([]byte, 32))); !errors.Is(err, os.ErrExist) {
		t.Errorf("an existing key was replaced: %v", err)
	}
	if err := WriteKey(path+"2", strings.NewReader("too little randomness")); err == nil {
		t.Error("a key was made without enough randomness")
	}
	if _, err := os.Stat(path + "2"); !errors.Is(err, os.ErrNotExist) {
		t.Error("a failed keygen left a file")
	}
}

func TestKeyMistakes(t *testing.T) {
	dir := t.TempDir()
	hex := strings.Repeat("0f", 32)
	for _, c := range []struct{ name, path, want string }{
		{"absent", filepath.Join(dir, "absent"), ":1: the key file does not exist; copy it from another node, or make the cluster's first one with: cohort keygen "},
		{"readable by all", write(t, dir, "open", hex, 0o644), ":1: the key file has mode 0644, so others than its owner may use it; run: chmod 600 "},
		{"short", write(t, dir, "short", hex[2:], 0o600), ":1: the key is not 64 hex digits; make one with: cohort keygen "},
		{"long", write(t, dir, "long", hex+"00", 0o600), ":1: the key is not 64 hex digits; make one with: cohort keygen "},
		{"not hex", write(t, dir, "text", strings.Repeat("xy", 32), 0o600), ":1: the key is not 64 hex digits; make one with: cohort keygen "},
		{"directory", dir, ":1: the key file is not a regular file; make one with: cohort keygen "},
	} {
		_, err := LoadKeys(c.path)
		if err == nil || err.Error() != c.path+c.want+c.path {
			t.Errorf("%s: %v, want %s", c.name, err, c.path+c.want+c.path)
		}
	}
}

const smallNode = "cluster: edge\nnode: fw-a\nccl: {interface: ccl0, address: 10.99.0.1/24}\nkey_file: the.key\nconfig: cluster.yaml\n"

func TestLoadNodeNeedsItsKeyFile(t *testing.T) {
	dir := t.TempDir()
	path := write(t, dir, "node.yaml", smallNode, 0o644)
	_, err := LoadNode(path)
	key := filepath.Join(dir, "the.key")
	if want := path + ":4: key_file " + key + " does not exist; copy it from another node, or make the cluster's first one with: cohort keygen " + key; err == nil || err.Error() != want {
		t.Errorf("%v, want %s", err, want)
	}
	write(t, dir, "the.key", "", 0o600)
	n, err := LoadNode(path)
	if err != nil {
		t.Fatal(err)
	}
	if !strings.HasSuffix(n.Serial, "fw-a") || !isName(n.Serial) {
		t.Errorf("serial %q does not tell two nodes of one machine apart", n.Serial)
	}
}

func TestCheckFollowsWhatANodeNames(t *testing.T) {
	dir := t.TempDir()
	key := strings.Repeat("0f", 32) + "\n"
	node := write(t, dir, "node.yaml", smallNode, 0o644)
	cluster := write(t, dir, "cluster.yaml", ExampleCluster, 0o644)
	write(t, dir, "the.key", key, 0o600)

	for path, want := range map[string]Kind{node: KindNode, cluster: KindCluster} {
		if kind, err := Check(path); kind != want || err != nil {
			t.Errorf("%s: %q, %v", path, kind, err)
		}
	}

	const lineOfInside = ":3: "
	for _, c := range []struct{ name, file, text, want string }{
		{"key", "the.key", "no key", filepath.Join(dir, "the.key") + ":1: the key is not 64 hex digits; make one with: cohort keygen " + filepath.Join(dir, "the.key")},
		{"nat", "cluster.yaml", strings.Replace(ExampleCluster, "pool: egress, log", "pool: egres, log", 1), "nat.rules[6].pool egres is not a pool; did you mean egress?"},
		{
			"link as data interface", "cluster.yaml", strings.Replace(ExampleCluster, "in0", "ccl0", 1),
			cluster + lineOfInside + "interfaces.inside.device ccl0 is the cluster control link of node fw-a; use another device for one of them",
		},
		{
			"link's network", "cluster.yaml", strings.NewReplacer("10.1.0.", "10.99.0.").Replace(ExampleCluster),
			cluster + lineOfInside + "interfaces.inside.cluster_address 10.99.0.254/24 overlaps the cluster control link's network 10.99.0.0/24; give the link a network of its own",
		},
	} {
		write(t, dir, c.file, c.text, 0o600)
		if _, err := Check(node); err == nil || !strings.HasSuffix(err.Error(), c.want) {
			t.Errorf("%s: %v, want %s", c.name, err, c.want)
		}
		write(t, dir, "the.key", key, 0o600)
		write(t, dir, "cluster.yaml", ExampleCluster, 0o644)
	}

	// CL2, CL9: what fits a link over IPv4 need not fit one over IPv6.
	overIPv6 := write(t, dir, "ipv6.yaml", strings.Replace(smallNode, "10.99.0.1/24", "fd00:99::1/64", 1), 0o644)
	for _, mtu := range []string{"9024", "9025", "9044"} {
		write(t, dir, "cluster.yaml", strings.Replace(ExampleCluster, "mtu: 1500", "mtu: "+mtu, 1), 0o644)
		if _, err := Check(node); err != nil {
			t.Errorf("over IPv4, mtu %s: %v", mtu, err)
		}
		_, err := Check(overIPv6)
		want := cluster + lineOfInside + "interfaces.inside.mtu " + mtu + " is more than 9024, which is all that fits a cluster control link over IPv6, as node fw-a has; write mtu: 9024"
		if mtu == "9024" && err != nil || mtu != "9024" && (err == nil || err.Error() != want) {
			t.Errorf("over IPv6, mtu %s: %v", mtu, err)
		}
	}

	absent := filepath.Join(dir, "absent.yaml")
	if _, err := Check(absent); err == nil || err.Error() != absent+":1: the file does not exist; check the path and its permissions" {
		t.Errorf("absent file: %v", err)
	}
}
