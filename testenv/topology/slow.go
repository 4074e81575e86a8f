package topology

import (
	"fmt"
	"time"

	"cohort/testenv/slowdisk"
)

// SlowDisk lets every change in the daemon's state directory take so long from now
// on, 0: as fast as ever. PowerOn and Close bring a disk that is not slow.
func (n *Node) SlowDisk(delay time.Duration) error {
	n.change.Lock()
	defer n.change.Unlock()
	if n.slow == nil {
		d, err := slowdisk.Mount(n.stateDir())
		if err != nil {
			return fmt.Errorf("node %s: %w", n.Name, err)
		}
		n.slow = d
	}
	n.slow.SetDelay(delay)
	return nil
}

// Slowed returns how many changes have waited for the SlowDisk that is there.
func (n *Node) Slowed() uint64 {
	n.change.Lock()
	defer n.change.Unlock()
	if n.slow == nil {
		return 0
	}
	return n.slow.Slowed()
}

// takeSlowDisk brings the disk as it was; change is held, and no process of the
// node is left.
func (n *Node) takeSlowDisk() error {
	if n.slow == nil {
		return nil
	}
	err := n.slow.Close()
	n.slow = nil
	return err
}
