package node

import (
	"cohort/dataplane"
	"cohort/dataplane/fib"
	"cohort/packet"
)

// icmpRate bounds the ICMP errors a node sends (RFC 1812, 4.3.2.8): a bucket
// of icmpBurst that fills with icmpPerSecond.
const (
	icmpPerSecond = 1000
	icmpBurst     = 200
)

// icmpBucket is a token bucket in nanoseconds.
type icmpBucket struct{ spent int64 }

func (b *icmpBucket) take(now int64) bool {
	const cost = int64(1e9 / icmpPerSecond)
	b.spent = max(b.spent, now-icmpBurst*cost)
	if b.spent+cost > now {
		return false
	}
	b.spent += cost
	return true
}

// tooOld answers a packet whose time to live ends here (RFC 1812, 5.3.1).
func (n *Node) tooOld(now int64, f *dataplane.Frame) {
	n.drops.own[reasonTTL]++
	n.answer(now, f, packet.ICMPTimeExceeded, 0, 0)
	n.io.Release(f)
}

// tooBig answers a packet that must not be fragmented (RFC 1191).
func (n *Node) tooBig(now int64, f *dataplane.Frame, mtu uint16) {
	n.drops.own[reasonTooBig]++
	n.answer(now, f, packet.ICMPUnreachable, packet.CodeFragmentNeeded, mtu)
	n.io.Release(f)
}

// fragment sends the parsed packet in parts (RFC 1812, 4.2.2.7).
func (n *Node) fragment(f *dataplane.Frame, nh uint16, mtu int) {
	n.pkt.DecrementTTL()
	for offset, more := 0, true; more; n.fragments++ {
		var next int
		n.scratch, next = n.pkt.AppendFragment(n.scratch[:0], mtu, offset)
		n.io.Inject(n.scratch, nh)
		offset, more = next, next != 0
	}
	n.fragments-- // the packet itself was counted when it came
	n.io.Release(f)
}

// answer sends an ICMP error about the parsed packet back to its source, from
// the address of the interface where it entered.
func (n *Node) answer(now int64, f *dataplane.Frame, icmpType, code uint8, mtu uint16) {
	if !n.pkt.MayBeAnswered() || !n.icmp.take(now) {
		return
	}
	from, ok := n.addressOf(f.Punt.Iface)
	if !ok {
		return
	}
	nh, _, status := n.fib.Lookup(n.pkt.Key.Src)
	if status != fib.OK {
		return
	}
	n.scratch = n.pkt.AppendICMPError(n.scratch[:0], from, icmpType, code, mtu)
	n.generated++
	n.io.Inject(n.scratch, nh)
}

// addressOf returns this node's own address on a data interface: the one of
// its pool, or the first.
func (n *Node) addressOf(iface uint8) (packet.Addr, bool) {
	if int(iface) >= len(n.addresses) || n.addresses[iface] == (packet.Addr{}) {
		return packet.Addr{}, false
	}
	return n.addresses[iface], true
}

// noteAddresses refreshes what addressOf answers.
func (n *Node) noteAddresses() {
	local := n.fib.LocalAddrs()
	for _, i := range n.cfg.Cluster.Interfaces {
		n.addresses[i.ID] = packet.Addr{}
		for _, a := range local {
			if i.Pool.Contains(a) {
				n.addresses[i.ID] = packet.AddrFrom(a)
			}
		}
	}
}
