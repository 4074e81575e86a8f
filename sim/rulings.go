package sim

import (
	"slices"

	"cohort/cluster/ownership"
	"cohort/packet"
)

// endpoint is what an endpoint-independent mapping is for, and what it maps to.
type endpoint struct {
	addr  packet.Addr
	port  uint16 // 0: all ports of the address
	proto uint8
}

// ruled compares what a responder sees with what the book says, and with what
// others have seen of the same endpoint.
func (k *checker) ruled(c *conn, as packet.FlowKey) {
	r := &c.ruling
	if c.district == nil {
		return
	}
	if r.refused != ownership.ReasonNone || as.Dst != r.dst || as.DstPort != r.dstPort || !slices.Contains(r.srcs, as.Src) || r.port != 0 && as.SrcPort != r.port {
		k.w.fail("NT1: %s conversation %d left as %v, the rules say %+v", c.district.name, c.id, as, *r)
	}
	if !r.shared || len(k.w.cfg.Faults) > 0 {
		return // a mapping that is lost with its owner is made anew
	}
	from, to := endpoint{c.key.Src, c.key.SrcPort, c.key.Proto}, endpoint{as.Src, as.SrcPort, as.Proto}
	if r.port != 0 { // the host's address, whatever the port
		from, to = endpoint{addr: c.key.Src}, endpoint{addr: as.Src}
	}
	if k.endpoints == nil {
		k.endpoints = map[endpoint]endpoint{}
	}
	if was, known := k.endpoints[from]; known && was != to {
		k.w.fail("NT9: endpoint %v is mapped to %v and to %v", from, was, to)
	}
	k.endpoints[from] = to
}

// refused is NT3: nobody is told that there is no port, or no address, while
// some node has a unit to spare. Faults and long silences of a node are excuses.
func (k *checker) refused(c *conn, why ownership.Reason) {
	if why != ownership.ReasonNATPorts || c.ruling.pool == "" || len(k.w.cfg.Faults) > 0 {
		return
	}
	g := k.w.nodes[0].rules().Geometry()
	for u := range g.Units() {
		if g.Pools()[g.Describe(u).Pool].Name != c.ruling.pool {
			continue
		}
		for _, n := range k.w.nodes {
			if p := n.core.Translator().Ports(); p.Held(u) && p.Idle(k.w.clock.now, u) {
				k.w.fail("NT3: conversation %d is refused for want of a port in pool %s while unit %d of node %d is free", c.id, c.ruling.pool, u, n.index+1)
			}
		}
	}
}
