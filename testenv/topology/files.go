package topology

import (
	"crypto/rand"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"golang.org/x/sys/unix"

	"cohort/cluster/sequence"
	"cohort/config"
	"cohort/testenv/netns"
)

// pinRoot is where daemons pin maps and links, one directory per node named
// CLUSTER-NODE.
const pinRoot = "/sys/fs/bpf/cohort"

// clusterName is unique like the tag it comes from, so that the pins of two
// topologies do not meet. It fits the 31 characters of a name.
func (t *Topology) clusterName() string {
	return strings.TrimPrefix(t.tag.String(), netns.Prefix)
}

// writeShared writes the cluster's key and configuration.
func (t *Topology) writeShared() error {
	if err := config.WriteKey(t.KeyFile(), rand.Reader); err != nil {
		return err
	}
	return os.WriteFile(t.clusterFile(), []byte(t.clusterYAML()), 0o644)
}

// KeyFile is the cluster key, which all nodes read.
func (t *Topology) KeyFile() string { return filepath.Join(t.Dir, "cluster.key") }

// Sequences are the numbers that the nodes give initiators; nil: these keep their own.
func (t *Topology) Sequences() (*sequence.Space, error) {
	c, err := config.LoadCluster(t.clusterFile())
	if err != nil || !c.Sequences {
		return nil, err
	}
	keys, err := config.LoadKeys(t.KeyFile())
	if err != nil {
		return nil, err
	}
	return sequence.Of(keys.Seed), nil
}

func (t *Topology) clusterFile() string { return filepath.Join(t.Dir, "cluster.yaml") }

// clusterYAML is the configuration all nodes share.
func (t *Topology) clusterYAML() string {
	if t.cfg.ClusterYAML != "" {
		return t.cfg.ClusterYAML
	}
	var inPins, outPins []string
	for i := 1; i <= t.cfg.Nodes; i++ {
		inPins = append(inPins, fmt.Sprintf("%s: %v", nodeName(i), host(insideNet, i).Addr()))
		outPins = append(outPins, fmt.Sprintf("%s: %v", nodeName(i), host(outsideNet, i).Addr()))
	}
	var b strings.Builder
	fmt.Fprintln(&b, "interfaces:")
	fmt.Fprintf(&b, "  inside:  {device: %s, trust: 100, cluster_address: %v, pool: %v-%v, pin: {%s}, mtu: %d}\n",
		InsideIface, host(insideNet, clusterHost), host(insideNet, 1).Addr(), host(insideNet, MaxNodes).Addr(),
		strings.Join(inPins, ", "), t.cfg.MTU)
	fmt.Fprintf(&b, "  outside: {device: %s, trust: 0, cluster_address: %v, pool: %v-%v, pin: {%s}, mtu: %d}\n",
		OutsideIface, host(outsideNet, clusterHost), host(outsideNet, 1).Addr(), host(outsideNet, MaxNodes).Addr(),
		strings.Join(outPins, ", "), t.cfg.OutsideMTU)
	if len(t.cfg.Rules) > 0 {
		fmt.Fprintln(&b, "policy:\n  rules:")
		for _, r := range t.cfg.Rules {
			fmt.Fprintf(&b, "    - %s\n", r)
		}
	}
	if t.cfg.NAT != "" {
		fmt.Fprintf(&b, "nat: %s\n", t.cfg.NAT)
	}
	if t.cfg.OwnNumbers {
		fmt.Fprintln(&b, "tcp: {sequence_randomization: false}")
	}
	if t.cfg.OwnerOnly {
		fmt.Fprintln(&b, "forwarding: owner-only")
	}
	if t.cfg.Timeouts != "" {
		fmt.Fprintf(&b, "timeouts: %s\n", t.cfg.Timeouts)
	}
	more := ""
	if t.cfg.Health != "" {
		more = ", " + t.cfg.Health
	}
	fmt.Fprintf(&b, "health: {hold_time: %v, election_timeout: %v%s}\n", t.cfg.HoldTime, t.cfg.Election, more)
	delegations := ""
	if t.cfg.Delegations > 0 {
		delegations = fmt.Sprintf(", delegations: %d", t.cfg.Delegations)
	}
	fmt.Fprintf(&b, "limits: {connections: %d, forwards: %[1]d%s}\n", t.cfg.Connections, delegations)
	return b.String()
}

// writeFiles writes the node's bootstrap file, once for all its daemons.
func (n *Node) writeFiles() error {
	if err := os.MkdirAll(filepath.Join(n.Dir, "state"), 0o755); err != nil {
		return fmt.Errorf("node %s: %w", n.Name, err)
	}
	return os.WriteFile(n.bootstrapFile(), []byte(n.bootstrapYAML()), 0o644)
}

func (n *Node) bootstrapFile() string { return filepath.Join(n.Dir, "node.yaml") }

// bootstrapYAML gives node 1 the best priority.
func (n *Node) bootstrapYAML() string {
	t := n.topo
	peers := fmt.Sprintf("%v-%v", t.cfg.cclHost(1).Addr(), t.cfg.cclHost(t.cfg.Nodes).Addr())
	return fmt.Sprintf(`cluster: %s
node: %s
priority: %d
state_dir: %s
control_socket: %s
ccl: {interface: %s, address: "%v", vni: 1, peers: ["%s"]}
key_file: %s
config: %s
`, t.clusterName(), n.Name, n.Index, filepath.Join(n.Dir, "state"), n.Socket,
		CCLIface, t.cfg.cclHost(n.Index), peers, t.KeyFile(), t.clusterFile())
}

// PinDir is where the node's daemons pin their maps and links.
func (n *Node) PinDir() string { return filepath.Join(pinRoot, n.topo.clusterName()+"-"+n.Name) }

// unpin forgets what BPF kept for the node, as a power cut does.
func (n *Node) unpin() error {
	return errors.Join(
		os.RemoveAll(n.PinDir()),
		n.takeSlowDisk(),
		unmountBelow(n.Dir))
}

// unmountBelow takes off a bpffs that a daemon mounted in its state directory.
func unmountBelow(dir string) error {
	mounts, err := mountsBelow(dir)
	errs := []error{err}
	for _, m := range mounts {
		errs = append(errs, unix.Unmount(m, unix.MNT_DETACH))
	}
	return errors.Join(errs...)
}

// sweepPins removes the pins of topologies whose maker is dead.
func sweepPins() error {
	entries, err := os.ReadDir(pinRoot)
	if errors.Is(err, os.ErrNotExist) {
		return nil
	}
	errs := []error{err}
	for _, e := range entries {
		if tag, ok := netns.ParseTag(netns.Prefix + e.Name()); ok && !tag.Alive() {
			errs = append(errs, os.RemoveAll(filepath.Join(pinRoot, e.Name())))
		}
	}
	return errors.Join(errs...)
}
