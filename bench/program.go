package main

import (
	"errors"
	"fmt"

	"github.com/cilium/ebpf"

	"cohort/testenv/netns"
)

var errNoProgram = errors.New("no XDP program is attached")

// attachedTo returns the XDP program of an interface: the very one that the
// node uses, not a copy of its object.
func attachedTo(ns *netns.Namespace, ifindex int) (*ebpf.Program, error) {
	link, err := ns.Netlink().LinkByIndex(ifindex)
	if err != nil {
		return nil, err
	}
	xdp := link.Attrs().Xdp
	if xdp == nil || !xdp.Attached {
		return nil, fmt.Errorf("%s: %w", link.Attrs().Name, errNoProgram)
	}
	return ebpf.NewProgramFromID(ebpf.ProgramID(xdp.ProgId))
}
