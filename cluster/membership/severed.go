package membership

// severed reports whether a link that broke between this node and all that its control
// node keeps, an id each, has just healed: none of them was heard for most of a hold
// time, and the word that they have gone on came through all the same. A little later
// this node would have gone on without them by itself. So it is another side, and no
// node that failed alone: it founds that side, which is merged (EL5) with what it owns.
// Fenced, it would forget that, and if several are, with the only copies (FR11).
func (m *Machine) severed(now int64, keeps uint64) bool {
	if m.ruling() || m.doubt.on || m.follow.apart != 0 || keeps&(1<<m.self.ID) != 0 {
		return false
	}
	for i := range m.view.Members {
		mem := &m.view.Members[i]
		if keeps&(1<<mem.ID) == 0 {
			continue
		}
		p := m.peers[mem.VTEP]
		if p == nil || !p.is(mem) || !m.quiet(now, p) && now-p.back >= m.hold {
			return false
		}
	}
	return true
}
