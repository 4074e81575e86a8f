package sim

import "cohort/packet"

// probeEvery is how often the routers look which nodes answer.
const probeEvery = 100 * ms

// probe is the routers' tracking of next hops: a node counts while it answers,
// and it answers while its lease lasts (HL5).
func (w *World) probe() {
	w.routable = w.routable[:0]
	for i, n := range w.nodes {
		if n.powered && n.tag != 0 && w.clock.now <= n.lease {
			w.routable = append(w.routable, i)
		}
	}
	w.clock.after(probeEvery, w.probe)
}

// enter sprays a packet: every one goes to a node of its own, unless the routers
// choose by connection.
func (w *World) enter(p pkt) {
	if len(w.routable) == 0 {
		return
	}
	if w.inParts(&p) {
		w.enterParts(p)
		return
	}
	n := w.nodes[w.routable[w.rng.IntN(len(w.routable))]]
	if w.cfg.ByConnection {
		d := p.conn.draw(1<<40+int(p.In), int64(len(w.routable))) // each direction by itself
		n = w.nodes[w.routable[d]]
		if p.step >= 2 {
			w.entered++
		}
	}
	w.clock.after(50*us, func() {
		if n.powered {
			n.receive(p)
		}
	})
}

// leave is a packet that a node sends out of the cluster, with the tuple that
// its receiver sees.
func (w *World) leave(p pkt, as packet.FlowKey) {
	w.clock.after(50*us, func() { p.conn.arrived(p, as) })
}
