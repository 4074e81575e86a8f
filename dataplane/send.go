package dataplane

import (
	"encoding/binary"
	"sync/atomic"

	"cohort/ccl/wire"
	"cohort/dataplane/afxdp"
	"cohort/packet"
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
	c := io.d.memory.control
	h := CCLHeader{Src: c.Self, Hops: 1, View: atomic.LoadUint32(&c.View), Iface: f.Punt.Iface, Entry: c.Self, Gen: gen}
	if f.Punt.From != 0 {
		h.Hops, h.Entry = f.Punt.Hops+1, f.Punt.Entry
	}
	switch {
	case !io.mayForward():
		return io.drop(f, DropLease)
	case int(to) >= MaxNodes || io.d.memory.members[to].Flags&(MemberAlive|MemberSelf) != MemberAlive:
		return io.drop(f, DropMember)
	case h.Hops > CCLMaxHops:
		return io.drop(f, DropHops)
	case CCLOverhead-ethernetLen+len(f.IP()) > io.d.ccl.Attrs().MTU:
		return io.drop(f, DropTooBig)
	}
	h.write(f.room(CCLOverhead-ethernetLen), c, &io.d.memory.members[to], f.Punt.H1, len(f.IP()))
	return io.send(f, CCLOverhead-ethernetLen, io.port(0, f.queue))
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
	b[12], b[13] = 0x08, 0x00
}

// write makes the first CCLOverhead bytes of a data frame, exactly as
// bpf/encap.h does; the IP packet of n bytes stands behind them.
func (h *CCLHeader) write(b []byte, c *Control, to *Member, h1 uint32, n int) {
	be := binary.BigEndian
	writeEthernet(b, to.MAC, c.CCLMAC)
	ip := b[14:34]
	be.PutUint32(ip[0:], 0x45000000|uint32(CCLOverhead-ethernetLen+n))
	be.PutUint32(ip[4:], 0x4000) // no identification, DF: never fragmented (CL2)
	be.PutUint32(ip[8:], 64<<24|packet.ProtoUDP<<16)
	copy(ip[12:16], c.CCLVTEP[:])
	copy(ip[16:20], to.VTEP[:])
	be.PutUint16(ip[10:], packet.Checksum(ip))
	udp := b[34:50] // and VXLAN
	be.PutUint16(udp[0:], uint16(0xc000|h1&0x3fff))
	be.PutUint16(udp[2:], 4789)
	be.PutUint16(udp[4:], uint16(CCLOverhead-ethernetLen-ipv4Len+n))
	be.PutUint16(udp[6:], 0)
	be.PutUint32(udp[8:], 0x08000000)
	be.PutUint32(udp[12:], c.VNI<<8)
	clear(b[50:62])
	be.PutUint16(b[62:], CCLEtherType)
	ccl := b[64:80]
	ccl[0], ccl[1], ccl[2], ccl[3] = CCLHeaderVersion, CCLData, h.Src, h.Hops
	be.PutUint32(ccl[4:], h.View)
	ccl[8], ccl[9], ccl[10], ccl[11] = h.Iface, h.Entry, 0, 0
	be.PutUint32(ccl[12:], h.Gen)
}
