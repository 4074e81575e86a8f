package topology

import (
	"errors"
	"fmt"

	"github.com/vishvananda/netlink"

	"cohort/testenv/line"
)

// What a Line of LineCCL calls the ways of a node's frames.
const (
	NodeSends    = line.AtoB
	NodeReceives = line.BtoA
)

// LineCCL puts a bad cable between the node and the control link's switch,
// perfect at first. Cuts and splits apply beyond it. It stays until PowerOff or
// PowerOn, which bring a good cable; a second call returns the same Line.
//
//	ccl0 --- fw-a-ccl0 ==Line== fw-a-line --- fw-a-port on the bridge
func (n *Node) LineCCL(seed uint64) (*line.Line, error) {
	n.change.Lock()
	defer n.change.Unlock()
	if n.line != nil {
		return n.line, nil
	}
	if !n.On() {
		return nil, fmt.Errorf("node %s: line: it is off", n.Name)
	}
	a, err := n.attachment(CCLIface)
	if err != nil {
		return nil, err
	}
	near, far, on := n.farName(a), n.Name+"-line", n.Name+"-port"
	nl := a.far.Netlink()
	l, err := nl.LinkByName(near)
	if err != nil {
		return nil, fmt.Errorf("node %s: line: %w", n.Name, err)
	}
	br, err := nl.LinkByIndex(l.Attrs().MasterIndex)
	if err != nil {
		return nil, fmt.Errorf("node %s: line: %w", n.Name, err)
	}
	if err := cable(socket{a.far, far, nil}, socket{a.far, on, nil}, a.mtu, 1); err != nil {
		return nil, err
	}
	remove := func(err error) error { return fmt.Errorf("node %s: line: %w", n.Name, errors.Join(err, n.unline())) }
	if err := setUp(a.far, far, true); err != nil {
		return nil, remove(err)
	}
	if err := nl.LinkSetNoMaster(l); err != nil {
		return nil, remove(err)
	}
	open := line.Open
	if n.topo.cfg.LinesApart {
		open = line.OpenApart
	}
	if n.line, err = open(a.far, near, far, seed); err != nil {
		return nil, remove(err)
	}
	if err := port(a.far, on, br.Attrs().Name); err != nil {
		return nil, remove(err)
	}
	return n.line, nil
}

// unline takes the bad cable away; the node's own end stays unplugged. change is
// held.
func (n *Node) unline() error {
	var err error
	if n.line != nil {
		err = n.line.Close()
		n.line = nil
	}
	nl := n.topo.Switch.Netlink()
	if l, e := nl.LinkByName(n.Name + "-line"); e == nil {
		err = errors.Join(err, nl.LinkDel(l)) // and the port, its other end
	}
	return err
}

// cclPort is the bridge's end of the node's control link; change is held.
func (n *Node) cclPort() (netlink.Link, *netlink.Handle, error) {
	a, err := n.attachment(CCLIface)
	if err != nil {
		return nil, nil, err
	}
	name := n.farName(a)
	if n.line != nil {
		name = n.Name + "-port"
	}
	l, err := a.far.Netlink().LinkByName(name)
	if err != nil {
		return nil, nil, fmt.Errorf("node %s: control link: %w", n.Name, err)
	}
	return l, a.far.Netlink(), nil
}
