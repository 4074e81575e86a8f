package dataplane

import (
	"net/netip"

	"cohort/ccl/wire"
)

// tunnel is what Tunnel has done.
type tunnel struct {
	count  Tunnelled
	queued uint64 // of which settle has not seen yet that they left the ring
	left   bool   // the ring was not empty after the last kick
}

// Tunnelled are totals of Tunnel.
type Tunnelled struct {
	Sent   uint64 // taken from the ring by the kernel
	Member uint64 // refused: not for a member whose address is known
	TooBig uint64 // refused: larger than the link takes now, or than fits the ring
	Full   uint64 // refused: the device has not taken what the ring holds, or no frame is free
}

// Tunnel queues what is inside a frame of the CCL's tunnel for a member at a VTEP, inner
// Ethernet header first: a message of another kind than data, which the kernel's device
// takes there. It copies both parts. Lease and view do not matter: messages are what they
// come from. Any result but Sent means that nothing was queued, and the caller may send it
// otherwise.
//
// It takes nothing while the device has not taken all that was queued before. So when the
// CCL goes down, no more than one batch stays in the ring and leaves when it comes up
// again, before anything else of this IO. That is as if it had been long on the way, which
// the receiver expects of any datagram (CL6): it takes it once (the replay window), only
// if its sender has not begun a new life since (the instances of the reliable channel), and
// state of members alone.
func (io *IO) Tunnel(to wire.NodeID, vtep netip.Addr, tos uint8, header, body []byte) Drop {
	why := io.enter(to, vtep, tos, header, body)
	t := &io.tunnel
	switch why {
	case Sent:
		t.queued++
	case DropMember:
		t.count.Member++
	case DropTooBig:
		t.count.TooBig++
	default:
		t.count.Full++
	}
	return why
}

func (io *IO) enter(to wire.NodeID, vtep netip.Addr, tos uint8, header, body []byte) Drop {
	if int(to) >= MaxNodes {
		return DropMember
	}
	o, n, m := io.d.outer, len(header)+len(body), &io.d.memory.members[to]
	switch {
	case m.Flags&(MemberAlive|MemberSelf) != MemberAlive || m.VTEP != vtep.As16(): // the table follows the view, and later the neighbours
		return DropMember
	case o.before()-ethernetLen+n > io.d.cclMTU:
		return DropTooBig
	case io.tunnel.left:
		return DropQueueFull
	}
	var head [CCLOverheadIPv6 + 64]byte
	o.tunnel(head[:], io.d.memory.control, m, uint16(to), tos, n)
	size := o.before()
	size += copy(head[size:], header)
	return io.scatter(head[:size], body, io.port(0, 0))
}

// FlushTunnel makes the kernel send what Tunnel has queued, before other things that it is
// given.
func (io *IO) FlushTunnel() {
	if io.tunnel.queued > 0 && !io.closed {
		_ = io.port(0, 0).Kick()
		io.settle()
	}
}

// settle looks at what the kick before has left.
func (io *IO) settle() {
	t := &io.tunnel
	if io.closed {
		return
	}
	if t.left = io.port(0, 0).Queued() > 0; !t.left {
		t.count.Sent += t.queued
		t.queued = 0
	}
}

// Tunnelled returns the totals.
func (io *IO) Tunnelled() Tunnelled { return io.tunnel.count }
