package lab

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"

	"cohort/testenv/netns"
)

// Dir holds one directory per lab.
const Dir = "/run/cohort-lab"

// ErrNoLab means that there is no lab of this name.
var ErrNoLab = errors.New("there is no such lab")

// Phase of a lab's life.
type Phase string

// The phases in their order; Failed ends any of the first two.
const (
	Building Phase = "building"
	Forming  Phase = "forming" // the network is there, the daemons find each other
	Running  Phase = "running"
	Failed   Phase = "failed"
)

// Node is what the state file says of a node.
type Node struct {
	Name   string `json:"name"`
	Socket string `json:"socket"`
	Log    string `json:"log"`
}

// State is the content of a lab's state file.
type State struct {
	Name        string            `json:"name"`
	Keeper      netns.Tag         `json:"keeper"` // also starts all names
	Phase       Phase             `json:"phase"`
	Error       string            `json:"error,omitempty"`
	Daemons     bool              `json:"daemons"` // false: nodes are plain forwarders
	Spray       bool              `json:"spray"`
	CCLOverIPv6 bool              `json:"ccl_over_ipv6,omitempty"`
	MTU         int               `json:"mtu"`
	Namespaces  map[string]string `json:"namespaces"` // by role: c1, rin, fw-a ...
	Nodes       []Node            `json:"nodes"`
}

var validName = regexp.MustCompile(`^[a-z0-9][a-z0-9-]{0,15}$`)

// path returns the directory of a lab, or an error for a name that is none.
func path(name string) (string, error) {
	if !validName.MatchString(name) {
		return "", fmt.Errorf("lab %q: want at most 16 of a-z, 0-9 and '-'", name)
	}
	return filepath.Join(Dir, name), nil
}

// Read returns the state of a lab, alive or crashed, or ErrNoLab.
func Read(name string) (*State, error) {
	dir, err := path(name)
	if err != nil {
		return nil, err
	}
	b, err := os.ReadFile(filepath.Join(dir, "state.json"))
	if errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("lab %s: %w (make one with: cohort-lab --lab %s up)", name, ErrNoLab, name)
	}
	if err != nil {
		return nil, fmt.Errorf("lab %s: %w", name, err)
	}
	s := new(State)
	if err := json.Unmarshal(b, s); err != nil {
		return nil, fmt.Errorf("lab %s: state: %w", name, err)
	}
	return s, nil
}

// write replaces the state file at once.
func (s *State) write() error {
	b, err := json.MarshalIndent(s, "", "  ")
	if err != nil {
		return err
	}
	file := filepath.Join(Dir, s.Name, "state.json")
	if err := os.WriteFile(file+".new", b, 0o644); err != nil {
		return fmt.Errorf("lab %s: %w", s.Name, err)
	}
	return os.Rename(file+".new", file)
}

// Namespace returns the name of the namespace that plays a role.
func (s *State) Namespace(role string) (string, error) {
	ns, ok := s.Namespaces[role]
	if !ok {
		return "", fmt.Errorf("lab %s: nobody is called %s (there are %s)", s.Name, role, roles(s.Namespaces))
	}
	return ns, nil
}

// Socket returns the control socket of a node, "" for other roles.
func (s *State) Socket(role string) string {
	for _, n := range s.Nodes {
		if n.Name == role && s.Daemons {
			return n.Socket
		}
	}
	return ""
}
