package node

import (
	"go.uber.org/zap"

	"cohort/cluster/translate"
)

// refusalLog says that pools have no port left. It belongs to the loop.
type refusalLog struct {
	of   *translate.Translator
	said []uint64 // refusals of it that the log knows of, by pool
}

// log writes a line for every pool that had no port for packets since the last
// call, with their number: called once a second, or a flood of connections would
// be one of lines. t is nil without NAT.
func (r *refusalLog) log(log *zap.Logger, t *translate.Translator) {
	if t == nil {
		return
	}
	pools := t.Rules().Geometry().Pools()
	if r.of != t {
		r.of, r.said = t, make([]uint64, len(pools))
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
