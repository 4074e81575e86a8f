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

// Keeper is the event loop's half of the lease: it gives the first one and notices
// that one has ended. In between the pulse renews it.
type Keeper struct{ granted bool }

// Look compares the lease in force with what the membership permits (0: nothing),
// sent being the newest beat. It returns the lease to set, if there is one; or that
// the lease lapsed: it ended while more was permitted, because this node as a whole
// did not run. Then the membership must be asked whether it still holds.
func (k *Keeper) Look(now, lease, sent, permit int64) (until int64, set, lapsed bool) {
	switch {
	case permit == 0:
		k.granted = false
	case k.granted && lease <= now:
		k.granted = false
		return 0, false, true
	case !k.granted:
		if until = Grant(sent, permit); until > now {
			k.granted = true
			return until, true, false
		}
	}
	return 0, false, false
}

// Fenced says that the lease was ended on purpose.
func (k *Keeper) Fenced() { k.granted = false }
