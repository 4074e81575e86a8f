package blocks

// Apart reports whether a node of the roster is not in the view, or what all
// members own is not registered yet. Then somebody may have taken over
// connections that this node knows nothing of.
func (m *Machine) Apart() bool {
	return m.view == nil || !m.settled || len(m.roster.missing(m.view)) > 0
}
