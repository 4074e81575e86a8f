package topology

import (
	"errors"
	"fmt"
	"net/netip"
	"path/filepath"
	"sync"

	"cohort/api"
	"cohort/testenv/line"
	"cohort/testenv/netns"
	"cohort/testenv/slowdisk"
)

// Node is one machine of the cluster. All methods may be called concurrently;
// those that change power, cables or the daemon are done one after the other.
type Node struct {
	Index   int    // 1 to n
	Name    string // fw-a for 1
	Inside  netip.Addr
	Outside netip.Addr
	CCL     netip.Addr
	Mgmt    netip.Addr
	Dir     string // configuration, state and log of the daemon
	Socket  string // control socket of the daemon
	LogFile string // standard output and error of all its daemons

	topo *Topology
	api  *api.Client

	change sync.Mutex     // held for a whole change of power, cable, disk or daemon; taken before mu; guards line and slow
	line   *line.Line     // between ccl0's cable and the switch; nil = none
	slow   *slowdisk.Disk // over the state directory; nil = none
	mu     sync.Mutex     // guards what follows
	ns     *netns.Namespace
	daemon *netns.Process
	on     bool
}

// The interfaces of a node, as in the example configuration.
const (
	InsideIface  = "in0"
	OutsideIface = "out0"
	CCLIface     = "ccl0"
	MgmtIface    = "mgmt0"
)

// attachment is one interface of a node with the far end of its cable.
type attachment struct {
	iface   string
	segment byte // in hardware addresses
	far     *netns.Namespace
	bridge  string
	mtu     int
	address netip.Prefix
}

func newNode(t *Topology, i int) *Node {
	name := nodeName(i)
	dir := filepath.Join(t.Dir, name)
	return &Node{
		Index:   i,
		Name:    name,
		Inside:  host(insideNet, i).Addr(),
		Outside: host(outsideNet, i).Addr(),
		CCL:     t.cfg.cclHost(i).Addr(),
		Mgmt:    host(mgmtNet, i).Addr(),
		Dir:     dir,
		Socket:  filepath.Join(dir, "control.sock"),
		LogFile: filepath.Join(dir, "log"),
		topo:    t,
		api:     api.NewClient(filepath.Join(dir, "control.sock")),
	}
}

func (n *Node) attachments() []attachment {
	t := n.topo
	mtu := t.cfg.MTU
	return []attachment{
		{InsideIface, 1, t.in, insideBridge, mtu, host(insideNet, n.Index)},
		{OutsideIface, 2, t.out, outsideBridge, mtu, host(outsideNet, n.Index)},
		{CCLIface, 3, t.Switch, cclBridge, t.cfg.cclMTU(), t.cfg.cclHost(n.Index)},
		{MgmtIface, 4, t.Switch, mgmtBridge, 1500, host(mgmtNet, n.Index)},
	}
}

// farName is the name of the cable's far end: the node's name, and on the
// switch, which has two cables of every node, the interface's too.
func (n *Node) farName(a attachment) string {
	if a.far == n.topo.Switch {
		return n.Name + "-" + a.iface
	}
	return n.Name
}

// build makes the namespace, cables, addresses and routes of a machine that
// has just been switched on.
func (n *Node) build() (err error) {
	ns, err := netns.New(n.topo.tag.Name(n.Name))
	if err != nil {
		return err
	}
	defer func() {
		if err != nil {
			ns.Close()
		}
	}()
	forward := "0"
	if n.topo.cfg.Mode == Forwarders {
		forward = "1"
	}
	if err := sysctls(ns, append(quiet, [2]string{"net/ipv4/ip_forward", forward})...); err != nil {
		return err
	}
	for _, a := range n.attachments() {
		if err := n.plug(ns, a); err != nil {
			return err
		}
	}
	err = errors.Join(
		route(ns, clientNets, host(insideNet, routerHost).Addr()),
		route(ns, everywhere, host(outsideNet, routerHost).Addr()))
	if err != nil {
		return err
	}
	n.mu.Lock()
	n.ns, n.on = ns, true
	n.mu.Unlock()
	return nil
}

// plug connects one interface.
func (n *Node) plug(ns *netns.Namespace, a attachment) error {
	near := socket{ns, a.iface, mac(a.segment, byte(n.Index))}
	far := socket{a.far, n.farName(a), mac(a.segment|0x80, byte(n.Index))}
	if err := cable(near, far, a.mtu, n.topo.cfg.Queues); err != nil {
		return err
	}
	if err := port(a.far, far.name, a.bridge); err != nil {
		return err
	}
	return up(ns, a.iface, a.address)
}

// demolish removes what build made, interfaces first: the far ends are gone
// when it returns, whereas a namespace dies later, in the background.
func (n *Node) demolish() error {
	n.mu.Lock()
	ns := n.ns
	n.ns, n.on, n.daemon = nil, false, nil
	n.mu.Unlock()
	if ns == nil {
		return nil
	}
	errs := []error{n.unline(), ns.Kill()}
	for _, a := range n.attachments() {
		if l, err := ns.Netlink().LinkByName(a.iface); err == nil {
			errs = append(errs, ns.Netlink().LinkDel(l))
		}
	}
	return errors.Join(append(errs, ns.Close())...)
}

// Namespace returns where the node lives. PowerOn replaces it.
func (n *Node) Namespace() *netns.Namespace {
	n.mu.Lock()
	defer n.mu.Unlock()
	return n.ns
}

// On reports whether the node has power.
func (n *Node) On() bool {
	n.mu.Lock()
	defer n.mu.Unlock()
	return n.on
}

func (n *Node) attachment(iface string) (attachment, error) {
	for _, a := range n.attachments() {
		if a.iface == iface {
			return a, nil
		}
	}
	return attachment{}, fmt.Errorf("node %s: no interface %s", n.Name, iface)
}
