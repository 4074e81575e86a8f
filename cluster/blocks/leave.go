package blocks

// Leave prepares an orderly departure: this node becomes nobody's target, gives
// away what is idle, and takes nothing it can avoid. Ask LeaveReady, then
// Depart.
func (m *Machine) Leave(now int64) {
	m.now = now
	if m.leaving {
		return
	}
	m.leaving = true
	if m.view != nil {
		m.share()
		m.dirtyHead = true
		m.flush()
	}
}

// LeaveReady reports whether everything idle has arrived elsewhere. What is in
// use can be waited for, or left to be thawed by the others.
func (m *Machine) LeaveReady() bool {
	if m.view == nil || len(m.view.Members) < 2 {
		return true
	}
	for id := range m.peers {
		if len(m.peers[id].out) > 0 {
			return false
		}
	}
	if !m.settled {
		return m.held.count() == 0
	}
	for u := m.held.next(0); u >= 0; u = m.held.next(u + 1) {
		if m.cfg.Ports.Idle(u) {
			return false
		}
	}
	return true
}

// Depart ends this node's part: it gives up what is left and says that nobody
// needs to wait for it. Go on with ApplyView until a view is without this node;
// after Lost it may take part again.
func (m *Machine) Depart(now int64) {
	m.now = now
	m.leaving, m.departed = true, true
	if m.view != nil {
		m.sendWord()
	}
	m.drop()
	if m.view == nil {
		return
	}
	for i := range m.leases {
		m.endLease(i, 0)
	}
	m.noteMembers()
	m.broadcastRoster()
	m.tellAll()
}
