package membership

// A control node that is asked for admission and says nothing does not hear who asks.
// It may be the best of all, and be heard by all, for as long as its receiver is broken:
// so it is not waited for where another one rules. It counts as deaf for a while only,
// since the others may have been asked at a bad moment.

// patience is how long an answer is waited for.
func (m *Machine) patience() int64 { return 2 * m.hold }

// unheard notes that p was asked for admission since then.
func (m *Machine) unheard(now int64, p *peer, since int64) {
	if now-since >= m.patience() && now >= p.deaf {
		p.deaf = now + 5*m.patience()
	}
}

// preferred reports whether this node would rather be admitted by p than by t.
func (m *Machine) preferred(now int64, p, t *peer) bool {
	if deaf := now < p.deaf; deaf != (now < t.deaf) {
		return !deaf
	}
	return better(&p.member, &t.member)
}
