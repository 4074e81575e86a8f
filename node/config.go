package node

import (
	"errors"
	"fmt"
	"math"
	"net/netip"
	"os"
	"path/filepath"
	"runtime"

	"go.uber.org/zap"

	"cohort/ccl/wire"
	"cohort/config"
	"cohort/dataplane"
)

// Version is what nodes compare when one joins (EL8).
const Version = "0.1"

// defaultPinRoot is where maps and links are pinned, one directory per node.
const defaultPinRoot = "/sys/fs/bpf/cohort"

// Config of a node.
type Config struct {
	Bootstrap *config.Node
	Cluster   *config.Cluster
	Keys      config.Keys
	Log       *zap.Logger

	// Hangup has the cluster configuration read again whenever it delivers
	// something (SIGHUP). nil: only the API does.
	Hangup <-chan os.Signal

	Pulse    []string       // command that runs heart.Main, for the fast profile (HL7)
	PinRoot  string         // "" = /sys/fs/bpf/cohort
	Mode     dataplane.Mode // of XDP
	SlowPath bool           // no fast path: every packet through Go
	Watch    Watch          // nil: nobody watches

	// OwnProcess says that the process is this node's alone: Run makes Go use two
	// processors at least, and the loop keeps one of them while it sleeps.
	OwnProcess bool
}

// Watch measures the loop: a packet that comes while a turn is under way waits for
// its end. Both are called by the loop's goroutine, in every turn.
type Watch interface {
	TurnBegins()
	TurnEnds() // what the loop waits for after that is not part of it
}

func (c *Config) pinDir() string {
	root := c.PinRoot
	if root == "" {
		root = defaultPinRoot
	}
	return filepath.Join(root, c.Bootstrap.Cluster+"-"+c.Bootstrap.Name)
}

// interfaceNames lists the data interfaces in the order of their ids.
func (c *Config) interfaceNames() []string {
	names := make([]string, 0, len(c.Cluster.Interfaces))
	for _, i := range c.Cluster.Interfaces {
		names = append(names, i.Name)
	}
	return names
}

// dataMTU is the largest MTU of the data interfaces.
func (c *Config) dataMTU() int {
	mtu := 0
	for _, i := range c.Cluster.Interfaces {
		mtu = max(mtu, int(i.MTU))
	}
	return mtu
}

// tier is how much this node can carry (EL8). The CPUs are those that this process may
// use.
func (c *Config) tier() wire.Tier {
	return wire.Tier{
		Label: c.Bootstrap.Tier, CPUs: uint16(min(runtime.NumCPU(), math.MaxUint16)),
		Connections: uint32(c.Cluster.Limits.Connections),
	}
}

// Load reads the files that a daemon is started with. Errors are ready to
// show: file:line, what is wrong, what would be right.
func Load(path string) (Config, error) {
	boot, err := config.LoadNode(path)
	if err != nil {
		return Config{}, err
	}
	c := Config{Bootstrap: boot}
	if c.Keys, err = config.LoadKeys(boot.KeyFile); err != nil {
		return Config{}, err
	}
	if boot.Config == "" {
		return Config{}, fmt.Errorf("%s: no cluster configuration: set config: to its file", path)
	}
	if c.Cluster, err = config.LoadCluster(boot.Config); err != nil {
		return Config{}, err
	}
	if err := c.Cluster.Fits(boot.Config, boot); err != nil {
		return Config{}, err
	}
	if err := os.MkdirAll(boot.StateDir, 0o700); err != nil {
		return Config{}, fmt.Errorf("state_dir: %w", err)
	}
	return c, nil
}

// localAddress is an address that a node has of a pool.
type localAddress struct {
	prefix netip.Prefix
	pool   config.Range
}

// localAddresses returns the addresses, at most one of each family, that this node
// should have on an interface: the pinned one, or, for the node with id n, the n-th of
// those of the pool that nobody is pinned to (EL7): ids and pins do not know of each
// other, and no two nodes may have one address. While neither is known, or the pool
// has no such address, the family is missing.
func localAddresses(i *config.Interface, name string, id int) []localAddress {
	all := make([]localAddress, 0, 2)
	for _, f := range []struct {
		cluster netip.Prefix
		pool    config.Range
		of      func(config.Pin) netip.Addr
	}{
		{i.ClusterAddress, i.Pool, func(p config.Pin) netip.Addr { return p.Address }},
		{i.ClusterAddressIPv6, i.PoolIPv6, func(p config.Pin) netip.Addr { return p.AddressIPv6 }},
	} {
		var own netip.Addr
		pinned := map[netip.Addr]bool{}
		for _, p := range i.Pins {
			if a := f.of(p); a.IsValid() {
				pinned[a] = true
				if p.Node == name {
					own = a
				}
			}
		}
		if !own.IsValid() {
			own = nth(f.pool, id, pinned)
		}
		if own.IsValid() {
			all = append(all, localAddress{netip.PrefixFrom(own, f.cluster.Bits()), f.pool})
		}
	}
	return all
}

// nth returns the n-th address of a pool among those that are not taken; zero when
// there is none, and for n = 0.
func nth(pool config.Range, n int, taken map[netip.Addr]bool) netip.Addr {
	if n == 0 || !pool.First.IsValid() {
		return netip.Addr{}
	}
	for a := pool.First; ; a = a.Next() {
		if !taken[a] {
			n--
		}
		if n == 0 {
			return a
		}
		if a == pool.Last {
			return netip.Addr{}
		}
	}
}

var errNoKey = errors.New("node: no cluster key")
