package node

import (
	"context"

	"cohort/api"
	"cohort/ccl/wire"
	"cohort/node/core"
)

// Exposure implements api.Provider.
func (p provider) Exposure(ctx context.Context) (e api.Exposure, err error) {
	n := p.n
	err = n.inLoop(ctx, func(now int64) {
		v, self := n.core.View()
		e.Self = n.core.Name()
		e.Nodes = foresee(now, n.core.Exposure(), func(id wire.NodeID) string { return memberName(v, id) })
		e.Peers = []api.Replication{}
		if self == 0 {
			return
		}
		peers := n.core.Replication(now)
		for i := range peers {
			r := &peers[i]
			e.Peers = append(e.Peers, api.Replication{
				Peer: memberName(v, r.Node), Queued: r.Queued, LagMS: nsToMS(r.Oldest),
				P50MS: nsToMS(r.Lags.Quantile(0.5)), P99MS: nsToMS(r.Lags.Quantile(0.99)), Count: r.Lags.Count(),
			})
		}
	})
	return e, err
}

func nsToMS(ns int64) float64     { return float64(ns/1000) / 1000 }
func microsToMS(n uint32) float64 { return float64(n) / 1000 }

// foresee puts together what every member has said: what it owns and where that would
// go, and what the others have given it to keep.
func foresee(now int64, said []core.Exposure, name func(wire.NodeID) string) []api.NodeExposure {
	list := make([]api.NodeExposure, len(said))
	kept := map[wire.NodeID]int{} // copies of others' connections, by who has them
	for i := range said {
		for _, h := range said[i].Held {
			kept[h.Node] += int(h.Count)
		}
	}
	for i := range said {
		s, e := &said[i], &list[i]
		e.Node, e.AgeMS, e.IfDies.To = name(s.Node), -1, []api.Heir{}
		e.IfDies.CopiesLost = kept[s.Node]
		if s.At == 0 {
			continue
		}
		e.AgeMS = (now - s.At) / 1e6
		e.Owned, e.NoCopy, e.Async, e.Sync, e.Behind = int(s.Owned), int(s.NoCopy), int(s.Async), int(s.Sync), int(s.Behind)
		e.LagMS, e.P50MS, e.P99MS = microsToMS(s.Oldest), microsToMS(s.P50), microsToMS(s.P99)
		e.IfDies.Lost = e.NoCopy + e.Async + e.Sync - e.Behind
		for _, h := range s.Held {
			e.IfDies.Moves += int(h.Count)
			e.IfDies.To = append(e.IfDies.To, api.Heir{Node: name(h.Node), Connections: int(h.Count)})
		}
	}
	return list
}
