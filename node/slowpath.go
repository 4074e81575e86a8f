package node

import (
	"time"

	"cohort/bpf"
	"cohort/ccl/wire"
	"cohort/cluster/ownership"
	"cohort/dataplane"
	"cohort/flowtable"
	"cohort/packet"
)

// Bounds of packets that wait for a neighbour.
const (
	maxUnresolved  = 512
	unresolvedTime = int64(time.Second)
)

// slowDrops counts what the slow path drops besides dataplane.IO: by parser
// verdict, by ownership reason, and its own reasons.
type slowDrops struct {
	parse [32]uint64
	owner [32]uint64
	own   [numReasons]uint64
}

// reason is why the slow path itself dropped a packet.
type reason uint8

const (
	reasonTTL         reason = iota // TTL exceeded, answered by ICMP where allowed
	reasonTooBig                    // needs fragmentation and must not be fragmented
	reasonUnresolved                // the neighbour did not answer in time
	reasonUnreachable               // the route went away
	numReasons
)

var reasonNames = [numReasons][2]string{
	reasonTTL:         {"ttl_exceeded", "the time to live ended here; ICMP time exceeded was sent where allowed"},
	reasonTooBig:      {"fragmentation_needed", "larger than the next hop's MTU; ICMP fragmentation needed was sent where allowed"},
	reasonUnresolved:  {"neighbour_unresolved", "the next hop's neighbour did not answer"},
	reasonUnreachable: {"next_hop_gone", "the route of an established connection went away"},
}

// packet is one frame on its way through the slow path.
func (n *Node) packet(now int64, f *dataplane.Frame) {
	fragment, r := n.parse(f)
	if r != packet.OK {
		n.drops.parse[r]++
		n.io.Release(f)
		return
	}
	if bpf.Outcome(f.Punt.Reason) == bpf.PuntTTLExceeded || n.pkt.TTL <= 1 {
		n.tooOld(now, f)
		return
	}
	h := n.handle(f)
	n.describe(f, h)
	v := n.decide(now, f, fragment)
	switch {
	case n.frames[h] == nil:
		// Released inside the call: the director is this node.
	case v.Op == ownership.OpHold:
		if !n.io.Hold(f) {
			n.frames[h] = nil // the number stays taken until the core lets go of it
			n.io.Release(f)
		}
	default:
		n.forget(h)
		n.execute(now, f, v)
	}
}

// parse makes n.pkt that of f. A frame that is held may be what it was about before.
func (n *Node) parse(f *dataplane.Frame) (fragment bool, r packet.Reject) {
	n.parsed = nil
	r = n.pkt.Parse(f.Data)
	if fragment = r == packet.RejectFragment; fragment {
		r = n.pkt.ParseFragment()
	}
	if r == packet.OK {
		n.parsed = f
	}
	return fragment, r
}

// describe fills n.owned from the parsed packet.
func (n *Node) describe(f *dataplane.Frame, h ownership.Handle) {
	p := &n.pkt
	n.owned = ownership.Packet{
		Key: p.ConnKey(), Kind: kindOf(p), In: f.Punt.Iface, From: wire.NodeID(f.Punt.From),
		Len: p.TotalLen, Flags: p.Flags, Window: p.Window, WScale: flowtable.WScaleUnknown,
		Seq: p.Seq, Ack: p.Ack, Handle: h,
	}
	if n.owned.Kind == ownership.KindTCP {
		n.owned.SeqLen = p.SeqLen()
		if p.Flags&packet.SYN != 0 {
			o := p.TCPOptions()
			n.owned.WScale, n.owned.Signed = o.WScale, o.Signed
		}
	}
}

func kindOf(p *packet.Packet) ownership.Kind {
	switch {
	case p.FragOffset != 0:
		return ownership.KindFragment
	case p.Proto == packet.ProtoTCP:
		return ownership.KindTCP
	case p.Proto == packet.ProtoUDP:
		return ownership.KindUDP
	case p.Proto != packet.ProtoICMP:
		return ownership.KindOther
	case p.IsICMPQuery():
		return ownership.KindICMPQuery
	case p.IsICMPResponse():
		return ownership.KindICMPResponse
	case p.ICMPType == packet.ICMPRedirect:
		// It is a router's word to a neighbour about the next hop (RFC 1812,
		// 4.3.3.2): what comes through a firewall is nobody's neighbour.
		return ownership.KindICMPOther
	case p.IsICMPError():
		return ownership.KindICMPError
	}
	return ownership.KindICMPOther
}

// handle gives f a number by which the core knows it.
func (n *Node) handle(f *dataplane.Frame) ownership.Handle {
	if k := len(n.handles); k > 0 {
		h := n.handles[k-1]
		n.handles = n.handles[:k-1]
		n.frames[h] = f
		return h
	}
	n.frames = append(n.frames, f)
	return ownership.Handle(len(n.frames) - 1)
}

func (n *Node) forget(h ownership.Handle) {
	n.frames[h] = nil
	n.handles = append(n.handles, h)
}

// Release implements core.IO: a held packet has its answer.
func (n *Node) Release(h ownership.Handle, v ownership.Verdict) {
	f := n.frames[h]
	n.forget(h)
	if f == nil {
		return // there was no room to hold it
	}
	n.execute(n.now, f, v)
}

// execute does what the core decided.
func (n *Node) execute(now int64, f *dataplane.Frame, v ownership.Verdict) {
	switch v.Op {
	case ownership.OpSend:
		n.io.Forward(f, v.Node, v.Gen)
	case ownership.OpLabel:
		n.io.ForwardFragment(f, v.Node, v.Gen)
	case ownership.OpForward:
		n.transmit(now, f, v)
	default:
		n.drops.owner[v.Reason]++
		n.io.Release(f)
	}
}

// transmit sends a packet of an owned connection out of the cluster.
func (n *Node) transmit(now int64, f *dataplane.Frame, v ownership.Verdict) {
	flow := n.table.Flow(v.Slot)
	nh := flow.NextHop[v.Dir]
	hop, ok := n.dp.NextHop(nh)
	if !ok {
		nh = n.resolve(v.Slot, int(v.Dir), flow)
		if nh == 0 {
			n.drops.own[reasonUnreachable]++
			n.io.Release(f)
			return
		}
		if hop, ok = n.dp.NextHop(nh); !ok {
			n.awaitNeighbour(now, f, v)
			return
		}
	}
	if n.parsed != f {
		n.parse(f) // as before it was held
	}
	n.parsed = nil // it changes now
	long := n.pkt.End-n.pkt.L3 > int(hop.MTU)
	if long && n.pkt.DontFragment {
		n.tooBig(now, f, hop.MTU) // quotes the packet as it came
		return
	}
	n.translate(flow, int(v.Dir))
	if long {
		n.fragment(f, nh, int(hop.MTU))
		return
	}
	n.pkt.DecrementTTL()
	n.io.Transmit(f, nh)
}

// resolve asks the kernel's routes again and remembers the answer in the flow.
func (n *Node) resolve(slot uint32, d int, flow *flowtable.FlowSlot) uint16 {
	nh, _, ok := router{n}.Route(flow.Key[1-d].Src) // where the other side really is
	if !ok {
		return 0
	}
	if nh != flow.NextHop[d] {
		n.table.UpdateFlow(slot, func(f *flowtable.FlowSlot) { f.NextHop[d] = nh })
	}
	return nh
}

// unresolved is a packet that waits for a neighbour.
type unresolved struct {
	frame   *dataplane.Frame
	verdict ownership.Verdict
	key     packet.FlowKey
	until   int64
}

// awaitNeighbour keeps a packet until the kernel has resolved its next hop.
func (n *Node) awaitNeighbour(now int64, f *dataplane.Frame, v ownership.Verdict) {
	if len(n.waiting) >= maxUnresolved {
		n.drops.own[reasonUnresolved]++
		n.io.Release(f)
		return
	}
	if !n.io.Hold(f) { // which counts it
		n.io.Release(f)
		return
	}
	n.waiting = append(n.waiting, unresolved{f, v, n.table.Flow(v.Slot).Key[v.Dir], now + unresolvedTime})
}

// retryUnresolved tries what waits for neighbours, oldest first.
func (n *Node) retryUnresolved(now int64) {
	if len(n.waiting) == 0 {
		return
	}
	waiting := n.waiting
	n.waiting = n.waiting[len(n.waiting):]
	keep := waiting[:0]
	for _, w := range waiting {
		flow := n.table.Flow(w.verdict.Slot)
		switch _, ok := n.dp.NextHop(flow.NextHop[w.verdict.Dir]); {
		case flow.Flags&flowtable.FlowLive == 0 || flow.Key[w.verdict.Dir] != w.key || now >= w.until:
			n.drops.own[reasonUnresolved]++
			n.io.Release(w.frame)
		case ok:
			n.transmit(now, w.frame, w.verdict)
		default:
			keep = append(keep, w)
		}
	}
	n.waiting = append(keep, n.waiting...)
}
