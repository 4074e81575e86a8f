package ownership

import (
	"math/rand/v2"

	"cohort/ccl/wire"
	"cohort/packet"
)

// hail is what comes down on a cluster at random: packets of connections that are
// translated, and views in which nodes are missing.
type hail struct {
	*cluster
	rng    *rand.Rand
	all    []wire.NodeID
	epoch  uint32
	mapped []packet.FlowKey // second keys, which packets come back to
}

// hail begins with a view of all nodes.
func (c *cluster) hail(rng *rand.Rand, all []wire.NodeID) *hail {
	c.apply(1, 1, all...)
	c.run(50 * ms)
	return &hail{cluster: c, rng: rng, all: all, epoch: 1}
}

// anyNode is one of all.
func (h *hail) anyNode() wire.NodeID { return h.all[h.rng.IntN(len(h.all))] }

// fromInside is a packet of one of a few connections to be translated or mapped.
func (h *hail) fromInside() Packet {
	switch r := h.rng.IntN(5); {
	case r < 2:
		return udp(inside(byte(h.rng.IntN(7)), packet.ProtoUDP))
	case r < 4:
		return tcp(inside(byte(h.rng.IntN(7)), packet.ProtoTCP), []uint8{SYN, SYN, ACK, FIN | ACK, RST}[h.rng.IntN(5)])
	}
	return udp(eim(byte(h.rng.IntN(6))))
}

// answer is a packet to the second key of a connection, if there has been any.
func (h *hail) answer() (p Packet, ok bool) {
	if len(h.mapped) == 0 {
		return p, false
	}
	p = tcp(h.mapped[h.rng.IntN(len(h.mapped))], []uint8{SYN | ACK, ACK, FIN | ACK, RST}[h.rng.IntN(4)])
	p.In = 2
	if p.Key.Proto == packet.ProtoUDP {
		p.Kind = KindUDP
	}
	return p, true
}

// throw sends a packet into a node and follows it while it is sent on at once. What is
// held is not waited for. seen, which may be nil, is told what each node says.
func (h *hail) throw(at wire.NodeID, p Packet, seen func(at wire.NodeID, v Verdict)) {
	h.nodes[at].handle++
	p.Handle = h.nodes[at].handle
	for hops := 0; hops < 4; hops++ {
		n := h.nodes[at]
		v := n.core.Packet(h.now, &p)
		if seen != nil {
			seen(at, v)
		}
		if v.Op == OpForward {
			f := n.table.Flow(v.Slot)
			if f.Key[1] != f.Key[0].Reverse() && len(h.mapped) < 40 && f.Key[0].Src[0] == 10 {
				h.mapped = append(h.mapped, f.Key[1])
			}
		}
		if v.Op != OpSend {
			return
		}
		p.From, at = at, v.Node
	}
}

// newView has about a quarter of the nodes missing, half of which lose all they have
// and half are fenced.
func (h *hail) newView() {
	h.epoch++
	var in []wire.NodeID
	for _, id := range h.all {
		switch r := h.rng.IntN(8); {
		case r < 6:
			in = append(in, id)
		case r == 6:
			h.nodes[id].core.Reset(h.now)
		default:
			h.nodes[id].core.Fence(h.now)
		}
	}
	if len(in) != 0 {
		h.apply(h.epoch, h.epoch, in...)
	}
}
