package dataplane

import (
	"sync/atomic"

	"cohort/ccl/wire"
	"cohort/dataplane/afxdp"
)

// NextHop reads an entry as XDP would; false when it is not valid.
func (d *Dataplane) NextHop(nh uint16) (NextHop, bool) {
	if nh == 0 || int(nh) >= len(d.memory.nextHops) {
		return NextHop{}, false
	}
	return d.memory.nextHops[nh].Load()
}

// Transmit sends f to a next hop and ends f, whatever comes of it. The caller
// has done all that a router does to the IP packet; the Ethernet header is
// written here. Nothing leaves before Flush, or before 32 frames are queued.
func (io *IO) Transmit(f *Frame, nh uint16) Drop {
	hop, ok := io.d.NextHop(nh)
	switch {
	case !io.mayForward():
		return io.drop(f, DropLease)
	case !ok:
		return io.drop(f, DropNextHop)
	case len(f.Data)-ethernetLen > int(hop.MTU):
		return io.drop(f, DropTooBig)
	}
	writeEthernet(f.Data, hop.DMAC, hop.SMAC)
	return io.send(f, 0, io.port(hop.Iface, f.queue))
}

// Forward sends f over the CCL to a member and ends f, whatever comes of it.
// The IP packet travels as it is; gen is the ownership generation the sender
// knows, 0 if none. A packet that came over the CCL keeps its entry node and
// interface and has one hop more (CCLMaxHops).
func (io *IO) Forward(f *Frame, to wire.NodeID, gen uint32) Drop {
	return io.forward(f, to, CCLHeader{Gen: gen})
}

// ForwardFragment is Forward for a fragment whose ports are known: source << 16 |
// destination. The receiver gets them in Punt.Gen, with bpf.PuntLabelled.
func (io *IO) ForwardFragment(f *Frame, to wire.NodeID, ports uint32) Drop {
	return io.forward(f, to, CCLHeader{Gen: ports, Fragment: true})
}

func (io *IO) forward(f *Frame, to wire.NodeID, h CCLHeader) Drop {
	c := io.d.memory.control
	h.Src, h.Hops, h.View, h.Iface, h.Entry = c.Self, 1, atomic.LoadUint32(&c.View), f.Punt.Iface, c.Self
	if f.Punt.From != 0 {
		h.Hops, h.Entry = f.Punt.Hops+1, f.Punt.Entry
	}
	grows := io.d.outer.overhead() - ethernetLen
	switch {
	case !io.mayForward():
		return io.drop(f, DropLease)
	case int(to) >= MaxNodes || io.d.memory.members[to].Flags&(MemberAlive|MemberSelf) != MemberAlive:
		return io.drop(f, DropMember)
	case h.Hops > CCLMaxHops:
		return io.drop(f, DropHops)
	case grows+len(f.IP()) > io.d.cclMTU:
		return io.drop(f, DropTooBig)
	}
	h.write(f.room(grows), io.d.outer, c, &io.d.memory.members[to], f.Punt.H1, len(f.IP()))
	return io.send(f, grows, io.port(0, f.queue))
}

// Inject sends an IP packet that was generated here, such as an ICMP error. It
// copies ip.
func (io *IO) Inject(ip []byte, nh uint16) Drop {
	hop, ok := io.d.NextHop(nh)
	var why Drop
	switch {
	case !io.mayForward():
		why = DropLease
	case !ok:
		why = DropNextHop
	case len(ip) > int(hop.MTU):
		why = DropTooBig
	default:
		var header [ethernetLen]byte
		writeEthernet(header[:], hop.DMAC, hop.SMAC)
		why = io.scatter(header[:], ip, io.port(hop.Iface, 0))
	}
	io.count(why)
	return why
}

// send queues f, grown by n bytes in front, on s and ends f.
func (io *IO) send(f *Frame, n int, s *afxdp.Socket) Drop {
	if f.jumbo {
		why := io.scatter(nil, f.room(n), s)
		io.recycle(f)
		io.count(why)
		return why
	}
	io.parts[0] = afxdp.Desc{Addr: f.base + uint64(f.start-n), Len: uint32(len(f.Data) + n)}
	if why := io.queue(io.parts[:1], s); why != Sent {
		return io.drop(f, why)
	}
	io.recycle(f)
	io.count(Sent)
	return Sent
}

// scatter copies header and body into fresh Umem frames and queues them as one
// packet.
func (io *IO) scatter(header, body []byte, s *afxdp.Socket) Drop {
	size := io.umem.FrameSize()
	n := (len(header) + len(body) + size - 1) / size
	if n > len(io.parts) || n > 1 && (s == nil || !s.MultiBuffer()) {
		return DropTooBig
	}
	for i := range n {
		addr, ok := io.umem.Alloc()
		if !ok {
			io.free(io.parts[:i])
			return DropNoFrame
		}
		to := io.umem.Frame(addr)
		used := copy(to, header)
		header = header[used:]
		took := copy(to[used:], body)
		body = body[took:]
		io.parts[i] = afxdp.Desc{Addr: addr, Len: uint32(used + took), Options: afxdp.RxMore}
	}
	io.parts[n-1].Options = 0
	why := io.queue(io.parts[:n], s)
	if why != Sent {
		io.free(io.parts[:n])
	}
	return why
}

func (io *IO) free(parts []afxdp.Desc) {
	for _, d := range parts {
		io.umem.Free(d.Addr)
	}
}

// queue puts one packet on a transmit ring, asking the kernel to empty it when
// it is full and after every afxdp.KickBatch frames.
func (io *IO) queue(parts []afxdp.Desc, s *afxdp.Socket) Drop {
	if s == nil {
		return DropPort
	}
	if s.Transmit(parts) == 0 {
		_ = s.Kick()
		if s.Transmit(parts) == 0 {
			return DropQueueFull
		}
	}
	if s.Queued() >= afxdp.KickBatch {
		_ = s.Kick()
	}
	return Sent
}

// port picks the socket of an interface; queues keep a flow's order.
func (io *IO) port(iface, queue uint8) *afxdp.Socket {
	if int(iface) >= len(io.ports) || len(io.ports[iface]) == 0 {
		return nil
	}
	p := io.ports[iface]
	return p[int(queue)%len(p)]
}

func (io *IO) drop(f *Frame, why Drop) Drop {
	io.Release(f)
	io.count(why)
	return why
}

func (io *IO) count(why Drop) {
	if why == Sent {
		io.sent++
		return
	}
	io.drops[why]++
}

func writeEthernet(b []byte, dst, src [6]byte) {
	copy(b[0:6], dst[:])
	copy(b[6:12], src[:])
	b[12], b[13] = 0x08, 0x00 // IPv4
}
