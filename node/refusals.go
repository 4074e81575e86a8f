package node

import (
	"go.uber.org/zap"

	"cohort/cluster/translate"
	"cohort/nat"
)

// refusalLog says that pools have no port left. It belongs to the loop.
type refusalLog struct {
	of   *nat.Geometry // a reload makes another one, and counts anew
	said []uint64      // refusals that the log knows of, by its pools
}

// log writes a line for every pool that had no port for packets since the last
// call, with their number: called once a second, or a flood of connections would
// be one of lines. t is nil without NAT.
func (r *refusalLog) log(log *zap.Logger, t *translate.Translator) {
	if t == nil {
		return
	}
	g := t.Rules().Geometry()
	pools := g.Pools()
	if r.of != g {
		r.of, r.said = g, make([]uint64, len(pools))
	}
	for i := range pools {
		all := t.Refusals(i)
		if all == r.said[i] {
			continue
		}
		log.Warn("NAT pool exhausted: no port is free on any node", zap.String("pool", pools[i].Name), zap.Uint64("refused", all-r.said[i]))
		r.said[i] = all
	}
}
