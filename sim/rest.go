package sim

import (
	"time"

	"cohort/flowtable"
	"cohort/packet"
)

// A key that a connection has given up is no other one's before it has rested (NT5, RFC
// 6888 REQ-8): for the hold-down time, or in TIME_WAIT if it was a TCP connection that
// ended in order. The ledger knows when the last node that owned it did so no more, and
// who had the unit then.
//
// Two ends are excused, because nobody is left who knows them: that of a life, of a
// machine or of a node's membership, with the connections that it owned; and any in a
// unit whose holder's life ends before the rest does, unless it departs in order (docs/nat.md,
// Limits). Of a unit without a holder that counts for the node where the connection ended.

// rest begins when a key's last user is gone.
func (l *ledger) rest(n *node, f *flowtable.FlowSlot) {
	if n.view == nil {
		return // its life is over, see node.Fence
	}
	now := n.w.clock.now
	until := now + int64(n.w.cfg.HoldDown)
	if f.State >= uint8(flowtable.TCPTimeWait) {
		until = int64(f.LastActive())<<flowtable.TickShift + int64(n.w.cfg.Timeouts.TCPTimeWait)*int64(time.Second)
	}
	if until > now {
		l.rests[f.Key[1]] = rest{f.Key[0], until, n}
	}
}

// rested says whether a key that begins a connection has rested since the last one.
func (l *ledger) rested(n *node, own, k1 packet.FlowKey) {
	r, was := l.rests[k1]
	if !was {
		return
	}
	delete(l.rests, k1)
	now := n.w.clock.now
	if r.own == own {
		return // it goes on
	}
	n.w.result.Rested++
	if now < r.until {
		n.w.fail("NT5: node %d gives %v to %s, and for %v more it rests from %s", n.index+1, k1, n.w.nameOf(own), time.Duration(r.until-now), n.w.nameOf(r.own))
	}
}

// forget is the end of a life: what rests in its units nobody knows.
func (l *ledger) forget(n *node) {
	for k1, r := range l.rests {
		if h := l.holder(k1); h == n || h == nil && r.by == n {
			delete(l.rests, k1)
		}
	}
}

// holder is who allocates a key.
func (l *ledger) holder(k1 packet.FlowKey) *node {
	return l.holders[portsAt{k1.Dst, uint16(int(k1.DstPort) / l.grain * l.grain)}]
}
