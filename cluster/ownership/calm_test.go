package ownership

import (
	"testing"

	"cohort/ccl/wire"
	"cohort/flowtable"
	"cohort/packet"
)

// While nothing changes, a copy is looked at once in calmRounds rounds: there are as many
// as connections, and nothing about them is to be found. A change has all of them looked at
// in the rounds that follow it, as long as anything goes on, and so has an orphan.
func TestCapacity_CopiesAreLookedAtSeldomWhileNothingChanges(t *testing.T) {
	const each, copies = 1000 * ms, 2000 // a round
	c := newCluster(t, 1, 2, 3)
	var kept []packet.FlowKey
	for i := uint16(0); len(kept) < copies; i++ {
		k := packet.FlowKey{Src: packet.Addr{10, 0, 0, byte(i >> 12)}, Dst: packet.Addr{192, 0, 2, 1}, SrcPort: 4096 | i&0xfff, DstPort: 53, Proto: packet.ProtoUDP}
		if c.order().Director(k) != 2 {
			continue
		}
		_, v := c.at(wire.NodeID(1+2*(len(kept)%2)), udp(k))
		wantForward(t, v)
		kept = append(kept, k)
	}
	n, looks := c.nodes[2], 0
	age := n.core.ageCopyFn
	n.core.ageCopyFn = func(e flowtable.Entry) bool { looks++; return age(e) }
	// alive keeps the connections from ending, for so many rounds, and returns how often
	// each copy was looked at in one.
	rounds := func(m int) float64 {
		looks = 0
		for range m {
			for _, k := range kept {
				if ids := c.owners(k); len(ids) == 1 {
					c.at(ids[0], udp(k))
				}
			}
			c.run(each)
		}
		return float64(looks) / copies / float64(m)
	}
	rounds(20) // everybody has registered, and what followed is over
	if got := rounds(2 * calmRounds); got > 1.5/calmRounds || got < 0.5/calmRounds {
		t.Errorf("%.2f looks at a copy in a round, with nothing to find: want one in %d", got, calmRounds)
	}
	c.apply(1, 2, 1, 2, 3)
	if got := rounds(2); got < 0.9 {
		t.Errorf("%.2f looks in a round after a new view", got)
	}
	rounds(20)
	c.kill(3)
	c.apply(1, 3, 1, 2)
	rounds(8) // the two have registered what they have
	if n.copies.Len() < copies/4 {
		t.Fatalf("%d copies are left", n.copies.Len())
	}
	if got := rounds(6); got < 0.4 { // half of the copies are node 3's, and orphans
		t.Errorf("%.2f looks in a round while orphans wait for their time", got)
	}
}
