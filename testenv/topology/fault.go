package topology

import (
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/vishvananda/netlink"

	"cohort/testenv/spray"
)

// Outage is when a fault was made: it holds from some moment between the two.
type Outage struct {
	Begin, End time.Time
}

// PowerOff takes the node away at once: all its processes are killed while all
// its cables go dead. Its log and state directory stay, as a disk would.
func (n *Node) PowerOff() (Outage, error) {
	n.change.Lock()
	defer n.change.Unlock()
	if !n.On() {
		return Outage{}, fmt.Errorf("node %s: power off: it is off", n.Name)
	}
	n.mu.Lock()
	n.on = false
	ns := n.ns
	n.mu.Unlock()

	o := Outage{Begin: time.Now()}
	var errs [5]error
	var cables, processes sync.WaitGroup
	processes.Go(func() { errs[4] = ns.Kill() })
	for i, a := range n.attachments() {
		cables.Go(func() { errs[i] = setUp(a.far, n.farName(a), false) })
	}
	cables.Wait()
	// A killed process takes a while to give its memory back, but without a
	// cable nobody can hear of it.
	o.End = time.Now()
	processes.Wait()
	return o, errors.Join(append(errs[:], n.unline())...)
}

// PowerOn boots the node: a new kernel state (interfaces, addresses, routes,
// BPF), the same hardware addresses and disk, and the daemon if nodes have one.
func (n *Node) PowerOn() error {
	n.change.Lock()
	defer n.change.Unlock()
	if n.On() {
		return fmt.Errorf("node %s: power on: it is on", n.Name)
	}
	if err := errors.Join(n.demolish(), n.unpin(), n.build()); err != nil {
		return err
	}
	if n.topo.cfg.Mode != Daemons {
		return nil
	}
	return n.startDaemon()
}

// LinkDown pulls the cable of one interface: the node sees the carrier go.
func (n *Node) LinkDown(iface string) error { return n.setLink(iface, false) }

// LinkUp plugs the cable in again.
func (n *Node) LinkUp(iface string) error { return n.setLink(iface, true) }

func (n *Node) setLink(iface string, on bool) error {
	n.change.Lock()
	defer n.change.Unlock()
	a, err := n.attachment(iface)
	if err != nil {
		return err
	}
	if !n.On() {
		return fmt.Errorf("node %s: link %s: the node is off", n.Name, iface)
	}
	return setUp(a.far, n.farName(a), on)
}

// Direction of a node's traffic on the cluster control link.
type Direction int

// What CutCCL cuts.
const (
	Both     Direction = iota
	FromNode           // what the node sends is lost
	ToNode             // what is sent to the node is lost
)

// CutCCL drops the node's packets on the cluster control link in one or both
// directions; the carrier stays. Cuts add up until MendCCL or PowerOn.
func (n *Node) CutCCL(d Direction) error {
	return n.onCCLPort(d, spray.Cut)
}

// MendCCL undoes CutCCL for one or both directions.
func (n *Node) MendCCL(d Direction) error {
	return n.onCCLPort(d, spray.Mend)
}

func (n *Node) onCCLPort(d Direction, act func(*netlink.Handle, int, spray.Direction) error) error {
	n.change.Lock()
	defer n.change.Unlock()
	l, nl, err := n.cclPort()
	if err != nil {
		return err
	}
	var errs []error
	if d != ToNode {
		errs = append(errs, act(nl, l.Attrs().Index, spray.Ingress))
	}
	if d != FromNode {
		errs = append(errs, act(nl, l.Attrs().Index, spray.Egress))
	}
	return errors.Join(errs...)
}
