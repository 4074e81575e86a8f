package membership

import (
	"fmt"

	"cohort/ccl/wire"
)

// tierFactor is how far apart the sizes of two nodes may be without a label. Every
// node has to carry its share of the connections of one that dies, and to keep copies
// of the others': a much smaller one is full when it is needed.
const tierFactor = 2

// mismatch names what of a joiner's performance tier does not fit that of the control
// node, or is empty (EL8). Two labels decide; a node without one is measured, so that
// labels can be introduced node by node.
func mismatch(joiner, here wire.Tier) string {
	switch {
	case joiner.Label != "" && here.Label != "":
		if joiner.Label != here.Label {
			return fmt.Sprintf("performance tier %q, the control node has %q", joiner.Label, here.Label)
		}
		return ""
	case apart(uint64(joiner.Connections), uint64(here.Connections)):
		return fmt.Sprintf("performance tier: limits.connections %d, the control node has %d: more than a factor of %d apart; set the same limits, or one tier in the node.yaml of both",
			joiner.Connections, here.Connections, tierFactor)
	case apart(uint64(joiner.CPUs), uint64(here.CPUs)):
		return fmt.Sprintf("performance tier: %d CPUs, the control node has %d: more than a factor of %d apart; set one tier in the node.yaml of both to join all the same",
			joiner.CPUs, here.CPUs, tierFactor)
	}
	return ""
}

func apart(a, b uint64) bool { return max(a, b) > tierFactor*min(a, b) }
