package node

import (
	"go.uber.org/zap"

	"cohort/cluster/ownership"
	"cohort/cluster/translate"
	"cohort/nat"
	"cohort/packet"
)

// refusalLog says which connections NAT has refused for want of room. It belongs to
// the loop.
type refusalLog struct {
	of    *nat.Geometry // a reload makes another one, and counts anew
	said  []uint64      // refusals that the log knows of, by its pools
	drops [2]uint64     // and by the limits below
}

// refusals is what refusalLog is told once a second.
type refusals struct {
	translator *translate.Translator // nil without NAT
	hosts      uint64                // drops for ReasonNATHost
	inbound    uint64                // drops for ReasonNATInbound
	mapping    packet.FlowKey        // ownership.Core.FullMapping
}

// refusalsNow reads them.
func (n *Node) refusalsNow() refusals {
	d := &n.drops.owner
	return refusals{n.core.Translator(), d[ownership.ReasonNATHost], d[ownership.ReasonNATInbound], n.core.Owner().FullMapping()}
}

// log writes a line for every pool that had no port for packets since the last call,
// and for each limit that was reached, with the number of packets: called once a
// second, or a flood of connections would be one of lines. Of the limits it names
// who reached it last.
func (r *refusalLog) log(log *zap.Logger, now refusals) {
	t := now.translator
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
	if d := now.hosts - r.drops[0]; d != 0 {
		log.Warn("host has all the port blocks it may have (max_blocks_per_host)", zap.Stringer("host", t.FullHost()), zap.Uint64("refused", d))
	}
	if d := now.inbound - r.drops[1]; d != 0 {
		log.Warn("mapping has all the connections from outside it may have (max_inbound_per_mapping)",
			zap.Stringer("mapped", now.mapping.Dst), zap.Uint16("port", now.mapping.DstPort), zap.Uint64("refused", d))
	}
	r.drops = [2]uint64{now.hosts, now.inbound}
}
