package topology

import (
	"errors"
	"fmt"
	"net/netip"
	"slices"

	"cohort/testenv/netns"
)

// splitBridge is the control link's second switch, beyond a broken trunk.
const splitBridge = "ccl-far"

// SplitCCL moves the far nodes' control links to a switch of their own, as when
// the trunk between two switches breaks: each side is whole, no carrier goes,
// and nothing crosses. The rest of the network stays. A second call moves what
// differs; PowerOn plugs a node into the near switch.
func (t *Topology) SplitCCL(far ...*Node) error {
	if _, err := t.Switch.Netlink().LinkByName(splitBridge); err != nil {
		if err := bridge(t.Switch, splitBridge, t.cfg.cclMTU(), netip.Prefix{}); err != nil {
			return err
		}
	}
	var errs []error
	for _, n := range t.Nodes {
		if !slices.Contains(far, n) {
			errs = append(errs, n.plugCCL(cclBridge))
		}
	}
	for _, n := range far {
		errs = append(errs, n.plugCCL(splitBridge))
	}
	return errors.Join(errs...)
}

// JoinCCL undoes SplitCCL.
func (t *Topology) JoinCCL() error { return t.SplitCCL() }

// plugCCL puts the far end of the node's control link into a switch.
func (n *Node) plugCCL(switchName string) error {
	n.change.Lock()
	defer n.change.Unlock()
	if !n.On() {
		return fmt.Errorf("node %s: split: it is off", n.Name)
	}
	l, _, err := n.cclPort()
	if err != nil {
		return err
	}
	return move(n.topo.Switch, l.Attrs().Name, switchName)
}

// move puts an interface on another bridge of its namespace; nothing changes if
// it is there.
func move(ns *netns.Namespace, name, bridgeName string) error {
	nl := ns.Netlink()
	to, err := nl.LinkByName(bridgeName)
	if err != nil {
		return fmt.Errorf("bridge %s of %s: %w", bridgeName, ns.Name(), err)
	}
	l, err := nl.LinkByName(name)
	if err != nil {
		return fmt.Errorf("interface %s of %s: %w", name, ns.Name(), err)
	}
	if l.Attrs().MasterIndex == to.Attrs().Index {
		return nil
	}
	if err := nl.LinkSetMaster(l, to); err != nil {
		return fmt.Errorf("interface %s of %s: join %s: %w", name, ns.Name(), bridgeName, err)
	}
	return nil
}
