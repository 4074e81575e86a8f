package pulse

// Renew is the lease after a beat that was sent at sent, if it is a new one: up to
// Lease after the beat, and not beyond permit, which the event loop gives. A lease
// of 0 (the node is fenced) or one that is over is not renewed: see Grant.
func Renew(now, sent, lease, permit int64) (until int64, renew bool) {
	if lease == 0 || lease <= now {
		return lease, false
	}
	until = min(sent+Lease, permit)
	return until, until > lease
}

// Grant is the lease that the event loop gives when there is none, or another one
// than beats cover: after a join, and after the cluster confirmed the membership.
func Grant(sent, permit int64) int64 { return max(min(sent+Lease, permit), 0) }

// Covered reports whether a lease ends as soon as a beat sent now says by being
// sent: otherwise the beat must have wire.PulseHold.
func Covered(now, lease int64) bool { return lease <= now+Lease }
