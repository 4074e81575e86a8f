package node

import (
	"net/netip"
	"time"

	"cohort/api"
	"cohort/ccl/seal"
	"cohort/cluster/membership"
	"cohort/cluster/pulse"
	"cohort/dataplane"
	"cohort/node/heart"
)

// drainPasses bounds how much of the control link is read before a membership is
// asked about: what waited there is older than the question.
const drainPasses = 1024

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

// pulse is what health says of the process that beats. It may be called from
// anywhere.
func (n *Node) pulse(m *membership.Status) *api.Pulse {
	s, now := n.heart.Stats(), dataplane.Now()
	since := func(at int64) int64 {
		if at <= 0 {
			return -1
		}
		return max(now-at, 0) / 1e6
	}
	ms := func(d time.Duration) float64 { return float64(d.Microseconds()) / 1000 }
	p := &api.Pulse{Realtime: s.Realtime, BeatMS: since(s.Beat), LatenessMS: ms(s.Lateness), WorstMS: ms(s.Worst)}
	for i := range s.Stages {
		w := &s.Stages[i]
		stage := api.PulseStage{
			Stage: pulse.Stage(i).String(), Late: s.LateAt[i], WorstMS: float64(w.Worst) / 1e6,
			P50MS: float64(w.Quantile(0.5)) / 1e6, P99MS: float64(w.Quantile(0.99)) / 1e6, SumMS: float64(w.Sum) / 1e6,
		}
		for b, n := range w.Counts {
			stage.Beats += n
			if b < len(pulse.Bounds) {
				stage.Buckets = append(stage.Buckets, api.PulseBucket{UpToMS: float64(pulse.Bounds[b]) / 1e6, Beats: stage.Beats})
			}
		}
		p.Stages = append(p.Stages, stage)
	}
	peers := n.heart.Peers()
	for i := range m.Peers {
		if q := &m.Peers[i]; q.Member.Name != "" {
			b := peers[q.Addr]
			p.Peers = append(p.Peers, api.PulsePeer{Member: q.Member.Name, BeatMS: since(b.At), LoopMS: since(b.Progress), LongestMS: float64(b.Longest/1e3) / 1e3, Hold: b.Hold})
		}
	}
	return p
}

// beatCounters are those of the fast profile; all are 0 without it.
func (n *Node) beatCounters(add func(kind, name string, v uint64, text string)) {
	var s heart.Stats
	if n.heart != nil {
		s = n.heart.Stats()
	}
	add("link", "beats_sent", s.Sent, "beats to all (HL7)")
	add("link", "beats_received", s.Received, "beats of other nodes")
	add("link", "beats_late", s.Late, "of them more than 75 ms after the one before")
	add("link", "beats_late_sender", s.LateAt[pulse.AtSender], "of beats_late: most of the time had gone in the sender, whose pulse did not run")
	add("link", "beats_late_transit", s.LateAt[pulse.InTransit], "of beats_late: most of the time had gone on the link, or in the kernels at its ends")
	add("link", "beats_late_receiver", s.LateAt[pulse.AtReceiver], "of beats_late: most of the time had gone here, where the pulse did not run")
	add("link", "beats_late_lost", s.LateLost, "of beats_late: beats before it were lost")
	add("link", "beats_lost", s.Lost, "beats that never came, or after a later one")
	add("link", "beats_asked", s.Asked, "times that a silent node was asked for a beat")
	add("link", "beats_answered", s.Answered, "times that this node was asked for one, and answered")
	add("link", "beats_send_failed", s.SendFailed, "beats and handshakes of beats that could not be sent")
	add("link", "beats_unknown_peer", s.UnknownPeer, "datagrams on the port of beats from an address that is no configured peer")
	add("link", "beats_malformed", s.Malformed, "authenticated datagrams on the port of beats that are none")
	add("link", "beats_refused", s.Seal.Refused(), "datagrams on the port of beats that failed authentication or replay checks (CL4), by reason:")
	for r := seal.Reflected; r < seal.NumReasons; r++ {
		add("link", "beats_"+r.String(), s.Seal[r], r.Describe())
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
