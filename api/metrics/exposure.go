package metrics

import (
	"context"

	"github.com/prometheus/client_golang/prometheus"
)

// exposureDescs are the metrics of what would be lost (MG9).
type exposureDescs struct {
	unconfirmed, behind, lost, moves, copies *prometheus.Desc
	oldest, lag, queued                      *prometheus.Desc
}

func newExposureDescs() exposureDescs {
	return exposureDescs{
		unconfirmed: desc("connections_unconfirmed", "Owned connections whose newest state no other node has acknowledged, by durability; none: no other node is given it.", "durability"),
		behind:      desc("connections_behind", "Those of them of which an older state is acknowledged."),
		lost:        desc("connections_lost_if_node_dies", "Connections that end if the node dies now, as it said itself.", "node"),
		moves:       desc("connections_moved_if_node_dies", "Connections that go on elsewhere if the node dies now, by who has their state.", "node", "to"),
		copies:      desc("copies_lost_if_node_dies", "Copies of other nodes' connections that have to be made again if the node dies now.", "node"),
		oldest:      desc("replication_waiting_seconds", "How long the oldest state message to the peer has been waiting for its acknowledgement; 0: none waits.", "peer"),
		lag:         desc("replication_lag_seconds", "Time from a state message to its acknowledgement, by quantile over the last minute.", "peer", "quantile"),
		queued:      desc("replication_queued_messages", "State messages that the peer has not acknowledged.", "peer"),
	}
}

func (d *exposureDescs) describe(ch chan<- *prometheus.Desc) {
	for _, one := range []*prometheus.Desc{d.unconfirmed, d.behind, d.lost, d.moves, d.copies, d.oldest, d.lag, d.queued} {
		ch <- one
	}
}

func (c *collector) exposure(ctx context.Context, e emit) error {
	x, err := c.from.Exposure(ctx)
	if err != nil {
		return err
	}
	d := &c.exposed
	for i := range x.Nodes {
		n := &x.Nodes[i]
		e.gauge(d.copies, float64(n.IfDies.CopiesLost), n.Node)
		if n.AgeMS < 0 {
			continue
		}
		e.gauge(d.lost, float64(n.IfDies.Lost), n.Node)
		for _, h := range n.IfDies.To {
			e.gauge(d.moves, float64(h.Connections), n.Node, h.Node)
		}
		if n.Node == x.Self {
			e.gauge(d.unconfirmed, float64(n.NoCopy), "none")
			e.gauge(d.unconfirmed, float64(n.Async), "async")
			e.gauge(d.unconfirmed, float64(n.Sync), "sync")
			e.gauge(d.behind, float64(n.Behind))
		}
	}
	for _, p := range x.Peers {
		e.gauge(d.oldest, p.LagMS/1000, p.Peer)
		e.gauge(d.lag, p.P50MS/1000, p.Peer, "0.5")
		e.gauge(d.lag, p.P99MS/1000, p.Peer, "0.99")
		e.gauge(d.queued, float64(p.Queued), p.Peer)
	}
	return nil
}
