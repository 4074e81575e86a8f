package membership

import (
	"fmt"
	"slices"

	"cohort/ccl/wire"
)

// Prepare says that this node is ready to run the configuration with this
// checksum (NT7); that of the configuration that it runs takes it back. When all
// members of the view are ready for the same, the control node makes a view with
// it, and who applies that view runs it: a view is a fence (EL6). Prepare
// reports whether it runs now: a node that is no member waits for nobody.
func (m *Machine) Prepare(now int64, config uint64) (runs bool) {
	m.wake(now)
	if m.prepared = config; config == m.running {
		m.prepared = 0
	}
	if m.view == nil {
		m.running, m.prepared = config, 0
		m.joining.refused = ""
		m.joining.next = min(m.joining.next, now)
		if m.state == wire.StateJoining {
			m.tickJoining(now)
		}
		m.rearm(now)
		return true
	}
	if m.prepared != 0 {
		m.tell(now, "configuration %s is prepared", ConfigName(config))
	}
	if m.ruling() && !m.doubt.on {
		m.tickControl(now)
	}
	if m.state == wire.StateInSync {
		m.heartbeat(now)
	}
	m.rearm(now)
	return m.running == config
}

// ConfigName is how texts speak of a configuration.
func ConfigName(config uint64) string { return fmt.Sprintf("%08x", uint32(config>>32)) }

// advise says how a node gets from one configuration to the cluster's. A reload does
// not switch NAT on or off. file is how the text speaks of the node's.
func advise(file string, has, want uint64) string {
	switch has, want := has&wire.ConfigTranslates != 0, want&wire.ConfigTranslates != 0; {
	case has && !want:
		return file + " has rules or pools in nat, the cluster has none: take nat out and restart the node"
	case want && !has:
		return file + " has no rules or pools in nat, the cluster has: put nat in as the others have it and restart the node"
	}
	return "bring policy and nat in " + file + " up to date and reload it"
}

// ready reports whether a member is prepared for the configuration that this
// node is prepared for, in this view.
func (m *Machine) ready(mem *wire.Member) bool {
	if mem.ID == m.self.ID {
		return true
	}
	p := m.peers[mem.VTEP]
	if p == nil || !p.is(mem) || !m.shows(p) {
		return false
	}
	h := p.says()
	return h.State == wire.StateInSync && h.Prepared == m.prepared
}

// unready lists the members that a change of configuration waits for.
func (m *Machine) unready() (names []string) {
	if m.view == nil || m.prepared == 0 {
		return nil
	}
	for i := range m.view.Members {
		if mem := &m.view.Members[i]; !m.ready(mem) {
			names = append(names, mem.Name)
		}
	}
	return names
}

// reconfigure makes the view with another configuration, at the control node,
// when everybody is ready for it. Nobody comes or goes with it: who joins runs
// the former one.
func (m *Machine) reconfigure(now int64) {
	if m.prepared == 0 || len(m.unready()) > 0 {
		return
	}
	config := m.prepared
	m.publishConfig(now, slices.Clone(m.view.Members), m.view.Members, config, fmt.Sprintf("configuration %s", ConfigName(config)))
	for _, p := range m.order {
		p.join = nil // it is asked for again, and checked again
	}
}

// unfit says why a view cannot be served here, or is empty: it has a
// configuration that this node neither runs nor has prepared.
func (m *Machine) unfit(v *wire.View) string {
	if v.Config == m.running || v.Config == m.prepared {
		return ""
	}
	return fmt.Sprintf("view %s has configuration %s, here it is %s: %s",
		ViewName(v.Term, v.Epoch), ConfigName(v.Config), ConfigName(m.running), advise("cluster.yaml", m.running, v.Config))
}
