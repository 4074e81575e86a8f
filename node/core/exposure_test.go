package core

import (
	"testing"

	"github.com/google/go-cmp/cmp"

	"cohort/ccl/wire"
	"cohort/nat"
)

// Every member hears of every other what it owns and who has the copies, and that is
// how many copies there are. It holds with translation, whose connections are
// directed by units.
func TestMG9_MembersTellEachOtherWhatIsConfirmed(t *testing.T) {
	for name, rules := range map[string]*nat.Rules{"plain": nil, "pat": egress(t)} {
		t.Run(name, func(t *testing.T) {
			const conns = 600
			g := newGroup(t, 3, rules, 4096)
			for i := range uint32(conns) {
				g.open(t, i)
			}
			for range 400 { // two passes of ageing, and a second to be told
				g.tick()
			}
			first := g.nodes[0].core.Exposure()
			owner := first[0]
			if owner.Owned != conns || owner.Async+owner.Sync+owner.NoCopy != 0 {
				t.Errorf("the owner says %+v", owner.Exposure)
			}
			for i, n := range g.nodes {
				list := n.core.Exposure()
				for j := range list {
					if g.now-list[j].At > 2*exposureEvery {
						t.Errorf("node %d heard of node %d %d ms ago", i, j, (g.now-list[j].At)/ms)
					}
					if diff := cmp.Diff(first[j].Exposure, list[j].Exposure); diff != "" {
						t.Errorf("node %d was told of node %d: %s", i, j, diff)
					}
				}
				_, id := n.core.View()
				held := 0
				for _, h := range owner.Held {
					if h.Node == id {
						held = int(h.Count)
					}
				}
				if got := n.copies.Len(); got != held || i > 0 && held < conns/4 {
					t.Errorf("node %d has %d copies, the owner says %d", i, got, held)
				}
			}
			for _, p := range g.nodes[0].core.Replication(g.now) {
				if p.Oldest != 0 || p.Queued != 0 || p.Lags.Count() < conns/4 {
					t.Errorf("to %d: %d ns, %d queued, %d in the last minute", p.Node, p.Oldest, p.Queued, p.Lags.Count())
				}
			}
		})
	}
}

// What a member said in a former life is not taken for this one's.
func TestMG9_AFormerLifeSaysNothing(t *testing.T) {
	g := newGroup(t, 2, nil, 64)
	for range 300 {
		g.tick()
	}
	c := g.nodes[0].core
	if c.Exposure()[1].At == 0 {
		t.Fatal("the other said nothing")
	}
	v := *c.view
	v.Members = append([]wire.Member(nil), v.Members...)
	v.Members[1].Incarnation++
	c.view = &v
	if e := c.Exposure()[1]; e.At != 0 {
		t.Errorf("%+v", e)
	}
}
