package spray

import (
	"fmt"

	"github.com/vishvananda/netlink"
)

// Cut drops everything in one direction of an interface of nl's namespace,
// broadcast included, until Mend. Cutting twice is one cut.
func Cut(nl *netlink.Handle, index int, dir Direction) error {
	var objs sprayObjects
	if err := loadSprayObjects(&objs, nil); err != nil {
		return fmt.Errorf("cut: load: %w", err)
	}
	defer objs.Close() // the filter keeps its own reference
	return attach(nl, index, dir, objs.Cut)
}

// Mend undoes Cut; without a cut it does nothing.
func Mend(nl *netlink.Handle, index int, dir Direction) error {
	return detach(nl, index, dir)
}
