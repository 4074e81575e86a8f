package node

import (
	"cohort/bpf"
	"cohort/cluster/fragments"
	"cohort/cluster/ownership"
	"cohort/dataplane"
)

// maxFragments wait for the first of theirs at most, besides holdFrames: a flood of them
// must not take the room of packets that wait for a director.
const maxFragments = 1024

func fragmentBounds() fragments.Config { return fragments.Config{MaxHeld: maxFragments} }

// decide asks the core about the parsed packet.
func (n *Node) decide(now int64, f *dataplane.Frame, fragment bool) ownership.Verdict {
	switch {
	case !fragment:
		return n.core.Packet(now, &n.owned)
	case bpf.Outcome(f.Punt.Reason) == bpf.PuntLabelled:
		if n.owned.Kind == ownership.KindFragment { // the first has its own
			n.owned.Key.SrcPort, n.owned.Key.DstPort = ownership.Unlabel(f.Punt.Gen)
		}
		return n.core.Labelled(now, &n.owned)
	}
	return n.core.Fragment(now, n.part(), &n.owned)
}

// part describes the parsed fragment, which describe has seen.
func (n *Node) part() fragments.Part {
	p := &n.pkt
	return fragments.Part{
		Key:    fragments.Key{Src: p.Key.Src, Dst: p.Key.Dst, ID: p.ID, Proto: p.Proto, In: n.owned.In},
		Offset: int(p.FragOffset), Len: p.End - p.L4, More: p.MoreFragments,
	}
}
