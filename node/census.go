package node

import (
	"context"
	"sync"
	"time"

	"cohort/dataplane"
	"cohort/flowtable"
	"cohort/nat"
	"cohort/packet"
)

// censusEvery is the pause between two rounds.
const censusEvery = 5 * time.Second

// census counts the translations that this node owns, by pool, so that a scrape
// of metrics need not walk over connections. The figures are a few seconds old.
type census struct {
	mu     sync.Mutex // guards newest
	newest []int
}

// count returns the newest figure of a pool, by its index.
func (c *census) count(pool int) int {
	c.mu.Lock()
	defer c.mu.Unlock()
	if pool >= len(c.newest) {
		return 0 // the first round has not ended, or the first since a reload
	}
	return c.newest[pool]
}

// run counts until ctx ends.
func (c *census) run(ctx context.Context, n *Node) error {
	tick := time.NewTicker(censusEvery)
	defer tick.Stop()
	for {
		g := n.natRules().Geometry()
		round := censusRound{g: g, counts: make([]int, len(g.Pools()))}
		for more := true; more; {
			err := n.inLoop(ctx, func(int64) {
				more = visit(dataplane.Now, func() bool { return round.batch(n.table) })
			})
			if err != nil {
				return nil // ctx ended
			}
		}
		c.mu.Lock()
		c.newest = round.counts
		c.mu.Unlock()
		select {
		case <-tick.C:
		case <-ctx.Done():
			return nil
		}
	}
}

// censusRound is a round that is under way.
type censusRound struct {
	g      *nat.Geometry
	cursor uint32
	counts []int
}

func (r *censusRound) batch(t *flowtable.Table) (more bool) {
	r.cursor = t.ScanFlows(r.cursor, visitBatch, func(_ uint32, f *flowtable.FlowSlot) bool {
		if f.Key[1] != f.Key[0].Reverse() && f.Key[0].Dst != (packet.Addr{}) {
			r.count(f.Key[1].Dst)
			if f.Key[0].Dst != f.Key[1].Src { // reached through a mapping
				r.count(f.Key[0].Dst)
			}
		}
		return true
	})
	return r.cursor != 0
}

func (r *censusRound) count(mapped packet.Addr) {
	if pool, ok := r.g.Pool(mapped); ok {
		r.counts[pool]++
	}
}
