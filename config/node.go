package config

import (
	"errors"
	"fmt"
	"io/fs"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
)

// Node is the bootstrap file of one node.
type Node struct {
	Cluster       string // name of the cluster to form or join
	Name          string // of this node, unique in the cluster
	Priority      uint8  // 1-100, 1 is best (EL1); default 100
	Serial        string // tells machines with equal names apart (EL2)
	Tier          string // performance tier, compared when it joins (EL8); empty = none
	StateDir      string // default /var/lib/cohort
	ControlSocket string // default /run/cohort/NODE.sock
	CCL           CCL
	KeyFile       string         // see LoadKeys
	Config        string         // cluster configuration; the daemon needs one
	Metrics       netip.AddrPort // where Prometheus may ask; invalid = nowhere
}

// LoadNode reads a bootstrap file. The key file must exist, and Serial is
// filled in from the machine's id if the file does not set it. Mistakes come
// back as Errors.
func LoadNode(path string) (*Node, error) {
	data, err := os.ReadFile(path)
	if err != nil {
		return nil, readError(path, err)
	}
	n, at, err := parseNode(path, data)
	if err != nil {
		return nil, err
	}
	if _, err := os.Stat(n.KeyFile); err != nil {
		p := problems{file: path}
		p.add(at.keyFile, "key_file "+quote(n.KeyFile)+" "+reason(err), keyMend+n.KeyFile)
		return nil, p.err()
	}
	if n.Serial == "" {
		n.Serial = serial(n.Name)
	}
	return n, nil
}

// ParseNode reads the text of a bootstrap file; file is its path, for messages
// and for relative paths in it. It opens nothing: Serial stays empty if unset.
func ParseNode(file string, data []byte) (*Node, error) {
	n, _, err := parseNode(file, data)
	return n, err
}

// nodeLines remembers where things stand that are checked later.
type nodeLines struct{ keyFile int }

func parseNode(file string, data []byte) (*Node, nodeLines, error) {
	p := &problems{file: file}
	root := document(p, data, "cluster: NAME")
	if root == nil {
		return nil, nodeLines{}, p.err()
	}
	n := &Node{Priority: 100, StateDir: "/var/lib/cohort", CCL: CCL{VNI: 1, MTUCheck: MTUEnforce}}
	var at nodeLines
	base := filepath.Dir(file)
	value{p, root, "", "cluster: NAME"}.fields(
		field{"cluster", true, "cluster: edge", func(v value) { n.Cluster = v.name() }},
		field{"node", true, "node: fw-a", func(v value) { n.Name = v.name() }},
		field{"priority", false, "priority: 10", func(v value) { n.Priority = uint8(v.number(1, 100)) }},
		field{"serial", false, "serial: A1B2C3", func(v value) { n.Serial = v.name() }},
		field{"tier", false, "tier: large", func(v value) { n.Tier = v.name() }},
		field{"state_dir", false, "state_dir: /var/lib/cohort", func(v value) { n.StateDir = v.file(base) }},
		field{"control_socket", false, "control_socket: /run/cohort/fw-a.sock", func(v value) { n.ControlSocket = v.socket(base) }},
		field{"ccl", true, "ccl: {interface: ccl0, address: 10.99.0.1/24, peers: [10.99.0.2]}", n.CCL.read},
		field{"key_file", true, "key_file: /etc/cohort/cluster.key", func(v value) { n.KeyFile, at.keyFile = v.file(base), v.n.Line }},
		field{"config", false, "config: /etc/cohort/cluster.yaml", func(v value) { n.Config = v.file(base) }},
		field{"metrics", false, "metrics: 127.0.0.1:9464", func(v value) { n.Metrics = v.listen() }},
	)
	if n.ControlSocket == "" {
		n.ControlSocket = "/run/cohort/" + n.Name + ".sock"
	}
	if err := p.err(); err != nil {
		return nil, at, err
	}
	return n, at, nil
}

// socket reads the path of a unix socket, whose length Linux limits to 107.
func (v value) socket(base string) string {
	s := v.file(base)
	if len(s) > 107 {
		v.wrong("is longer than 107 bytes, the limit of a unix socket")
	}
	return s
}

// listen reads an address and port to listen on.
func (v value) listen() netip.AddrPort {
	s, ok := v.scalar("an address with a port")
	if !ok {
		return netip.AddrPort{}
	}
	a, err := netip.ParseAddrPort(s)
	if err != nil || a.Port() == 0 {
		v.wrong("%s is not an address with a port", quote(s))
		return netip.AddrPort{}
	}
	return a
}

// serial derives a default that differs between machines and, on one machine,
// between nodes.
func serial(node string) string {
	id, err := os.ReadFile("/etc/machine-id")
	machine := strings.TrimSpace(string(id))
	if err != nil || len(machine) < 12 || !isName(machine[:12]) {
		return node
	}
	return machine[:12] + "-" + node
}

// readError is the one line about a file that cannot be read.
func readError(path string, err error) error {
	return Errors{{File: path, Line: 1, Problem: "the file " + reason(err), Mend: "check the path and its permissions"}}
}

// reason says shortly why a file cannot be used.
func reason(err error) string {
	var path *fs.PathError
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return "does not exist"
	case errors.Is(err, fs.ErrPermission):
		return "may not be read by this user"
	case errors.As(err, &path):
		return fmt.Sprintf("cannot be read: %v", path.Err)
	}
	return fmt.Sprintf("cannot be read: %v", err)
}
