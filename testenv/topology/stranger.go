package topology

import (
	"errors"
	"net/netip"

	"cohort/testenv/netns"
)

// StrangerIface is the interface of StrangerOnCCL.
const StrangerIface = "eth0"

// StrangerOnCCL plugs a machine that is no member into the control link's
// switch: it has an interface without address, and whatever it does it does
// frame by frame. Close of the topology removes it; there is at most one.
func (t *Topology) StrangerOnCCL() (*netns.Namespace, error) {
	n, err := t.space("stranger")
	if err != nil {
		return nil, err
	}
	const far = "stranger"
	if err := cable(socket{n, StrangerIface, mac(3, 0xee)}, socket{t.Switch, far, nil}, t.cfg.cclMTU(), 1); err != nil {
		return nil, err
	}
	return n, errors.Join(up(n, StrangerIface, netip.Prefix{}), port(t.Switch, far, cclBridge))
}
