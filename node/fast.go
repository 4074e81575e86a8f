package node

import (
	"net/netip"

	"cohort/dataplane"
	"cohort/node/heart"
)

// drainPasses bounds how much of the control link is read before a membership is
// asked about: what waited there is older than the question.
const drainPasses = 64

// openHeart prepares the process that beats in the fast profile (HL7).
func (n *Node) openHeart() (err error) {
	if !n.cfg.Cluster.Health.Fast {
		return nil
	}
	ccl := n.cfg.Bootstrap.CCL
	var peers []netip.Addr
	for _, p := range ccl.Peers {
		if p != ccl.Address.Addr() {
			peers = append(peers, p)
		}
	}
	n.heart, err = heart.New(heart.Config{
		Command: n.cfg.Pulse, Device: n.link.Name(), Address: ccl.Address, Peers: peers, Keys: sealKeys(n.cfg.Keys),
		LeaseFD: n.dp.LeaseFD(), WakeFD: n.wake, Log: n.log,
	})
	return err
}

// listen tells the membership what the heart has heard.
func (n *Node) listen(now int64) {
	if n.heart == nil {
		return
	}
	n.heart.Life(n.incarnation)
	m := n.core.Member()
	m.Attended(now, n.heart.Attended()) // before the beats: they are at least as new
	n.heart.Each(m.Beat)
}

// renewLease lets the fast path forward as long as the membership permits. In the
// fast profile the heart does that, and here the first lease is given and the end
// of one is noticed.
func (n *Node) renewLease(now int64) {
	permit := int64(0)
	if n.members.view != nil {
		permit = n.core.Member().LeaseUntil(now)
	}
	if n.heart == nil {
		if permit > n.dp.Lease() {
			n.dp.RenewLease(permit)
		}
		return
	}
	n.heart.Permit(permit)
	until, set, lapsed := n.keeper.Look(now, n.dp.Lease(), n.heart.Sent(), permit)
	switch {
	case set:
		n.dp.RenewLease(until)
	case lapsed:
		n.lapse()
	}
}

// lapse is what happens when this node as a whole has not run for longer than its
// lease: it asks whether it is still a member. What waits on the control link is
// taken first, as it was sent before the question.
func (n *Node) lapse() {
	n.heart.Permit(0)
	for range drainPasses {
		count, err := n.link.Receive(linkBatch, func(from netip.Addr, b []byte) { n.core.Datagram(n.now, from, b) })
		if err != nil || count == 0 {
			break
		}
	}
	n.core.Lapsed(dataplane.Now())
}
