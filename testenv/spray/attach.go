package spray

import (
	"errors"
	"fmt"

	"github.com/cilium/ebpf"
	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

// Direction of an interface, seen from the namespace that holds it.
type Direction uint32

// The two sides of an interface a filter can sit on.
const (
	Ingress Direction = netlink.HANDLE_MIN_INGRESS
	Egress  Direction = netlink.HANDLE_MIN_EGRESS
)

// filter describes the one filter this package puts on an interface side.
func filter(index int, dir Direction, prog *ebpf.Program) *netlink.BpfFilter {
	f := &netlink.BpfFilter{
		FilterAttrs: netlink.FilterAttrs{
			LinkIndex: index,
			Parent:    uint32(dir),
			Handle:    1,
			Priority:  1,
			Protocol:  unix.ETH_P_ALL,
		},
		Name:         "cohort-test",
		DirectAction: true,
	}
	if prog != nil {
		f.Fd = prog.FD()
	}
	return f
}

// attach puts prog on one side of an interface, replacing what this package
// had there. It takes the handle of the interface's namespace.
func attach(nl *netlink.Handle, index int, dir Direction, prog *ebpf.Program) error {
	qdisc := &netlink.Clsact{QdiscAttrs: netlink.QdiscAttrs{
		LinkIndex: index,
		Handle:    netlink.MakeHandle(0xffff, 0),
		Parent:    netlink.HANDLE_CLSACT,
	}}
	if err := nl.QdiscAdd(qdisc); err != nil && !errors.Is(err, unix.EEXIST) {
		return fmt.Errorf("interface %d: clsact: %w", index, err)
	}
	if err := nl.FilterReplace(filter(index, dir, prog)); err != nil {
		return fmt.Errorf("interface %d: filter: %w", index, err)
	}
	return nil
}

// detach takes the filter off; one that is not there is no error.
func detach(nl *netlink.Handle, index int, dir Direction) error {
	err := nl.FilterDel(filter(index, dir, nil))
	if err != nil && !errors.Is(err, unix.ENOENT) && !errors.Is(err, unix.EINVAL) && !errors.Is(err, unix.ENODEV) {
		return fmt.Errorf("interface %d: filter: %w", index, err)
	}
	return nil
}
