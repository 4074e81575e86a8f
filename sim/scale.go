package sim

import "cohort/packet"

// Census is what a calm cluster spends on connections that are open. The model of
// docs/scaling.md says how much of everything it has to be.
type Census struct {
	Nodes, Connections int // open ones, at the time of counting

	// Of all nodes together, a connection: entries, and questions that directors
	// answered, where a claim leaves a copy and a query tells a forwarder the owner.
	Owners, Copies, Stubs, Forwards float64
	Joined                          float64 // of the copies: that are stubs as well
	Claims, Queries                 float64

	// Of the packets of established connections: the share that crossed the link,
	// and how often each of these did.
	Crossed, Crossings float64

	// Copies at the node that has most, against the mean: a hash spreads them.
	Busiest float64
	// Port blocks of the node that has most, and of the one with fewest.
	MostBlocks, FewestBlocks int
	// Datagrams that one node sends to another in a second when nothing happens.
	Idle float64
}

// Scale opens connections through a cluster in which nothing fails, behind routers
// that spread connections, the two directions of each independently, and counts
// while most are open.
func Scale(cfg Config) Census {
	cfg.ByConnection, cfg.OnlyTCP = true, true
	w := open(cfg)
	if cfg.NAT {
		w.setups = w.setups[1:2] // as many units as 63 nodes need
	}
	w.boot()
	w.advanceUntil(20*second, func() bool { return len(w.routable) == cfg.Nodes && w.check.allEmpty() })
	before := w.net.sent
	w.advance(2 * second)
	s := Census{Nodes: cfg.Nodes, Idle: float64(w.net.sent-before) / 2 / float64(cfg.Nodes*(cfg.Nodes-1))}

	w.plan()
	w.advance(int64(w.cfg.Duration) + second)
	w.count(&s)
	return s
}

func (w *World) count(s *Census) {
	copies := make([]float64, len(w.nodes))
	for _, c := range w.conns {
		if c.step < 2 || c.done || c.failed {
			continue
		}
		s.Connections++
		for i, n := range w.nodes {
			n.entriesOf(c, s)
			if _, ok := n.copies.Get(c.key); ok {
				s.Copies++
				copies[i]++
			}
		}
	}
	for i, n := range w.nodes {
		stats := n.core.Owner().Stats()
		s.Claims += float64(stats.Claims)
		s.Queries += float64(stats.Queries)
		s.Busiest = max(s.Busiest, copies[i]*float64(len(w.nodes))/s.Copies)
		if w.setups != nil {
			blocks := 0
			for u := range n.rules().Geometry().Units() {
				if n.core.Translator().Ports().Held(u) {
					blocks++
				}
			}
			s.MostBlocks = max(s.MostBlocks, blocks)
			if i == 0 || blocks < s.FewestBlocks {
				s.FewestBlocks = blocks
			}
		}
	}
	for _, x := range []*float64{&s.Owners, &s.Copies, &s.Stubs, &s.Joined, &s.Forwards} {
		*x /= float64(s.Connections)
	}
	s.Claims /= float64(len(w.conns))
	s.Queries /= float64(len(w.conns))
	s.Crossed = float64(w.crossed) / float64(w.entered)
	if w.crossed > 0 {
		s.Crossings = float64(w.crossings) / float64(w.crossed)
	}
}

// entriesOf counts what the fast path of a node, and its stubs, have of a connection.
func (n *node) entriesOf(c *conn, s *Census) {
	reply := c.tuple.Reverse()
	for _, k := range [...]packet.FlowKey{c.key, reply} {
		switch ref := n.table.Lookup(k); {
		case ref == 0:
		case ref.IsForward():
			s.Forwards++
		case k == c.key:
			s.Owners++
		}
	}
	if n.stubs != nil {
		if _, ok := n.stubs.Get(reply); ok {
			s.Stubs++
		}
		if _, ok := n.copies.ByOther(reply); ok {
			s.Joined++
		}
	}
}
