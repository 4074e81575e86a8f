package membership

import (
	"fmt"
	"slices"
	"strings"
	"time"

	"cohort/ccl/wire"
)

// control is what only the control node needs.
type control struct {
	due int64 // publish the joins collected so far
}

// gather is how long the first Join waits for others, so that nodes that come
// together enter by one view.
const gather = int64(20 * time.Millisecond)

// onJoin checks a candidate (EL8) and takes it into the next view.
func (m *Machine) onJoin(now int64, p *peer, j *wire.Join) {
	if !m.identify(now, p, j.From) || !m.ruling() || m.doubt.on {
		return
	}
	if reason := m.objection(j); reason != "" {
		m.refuse(now, p, j, reason)
		return
	}
	life := m.view.Named(j.From.Name)
	here := life != nil && life.Incarnation == j.From.Incarnation
	switch h := p.says(); {
	case here && m.maxTerm <= m.view.Term:
		m.sendView(now, p) // a member whose view was lost
		return
	case !here && h != nil && h.State == wire.StateInSync && h.Term == m.view.Term:
		m.sendView(now, p) // removed, and does not know it: the view fences it
		return
	}
	p.join = j
	m.control.due = min(m.control.due, now+gather)
}

func (m *Machine) refuse(now int64, p *peer, j *wire.Join, reason string) {
	m.tell(now, "refused %s at %v: %s", j.From.Name, p.addr, reason)
	m.out.Send(p.addr, wire.JoinRefused{Reason: reason})
}

// objection names the check that j fails, or is empty.
func (m *Machine) objection(j *wire.Join) string {
	slices.Sort(j.Interfaces)
	switch {
	case j.Cluster != m.cfg.Cluster:
		return fmt.Sprintf("cluster name %q, here it is %q", j.Cluster, m.cfg.Cluster)
	case j.Version != m.cfg.Version:
		return fmt.Sprintf("software version %s, the cluster runs %s", j.Version, m.cfg.Version)
	case j.DataMTU != m.cfg.DataMTU:
		return fmt.Sprintf("data MTU %d, the cluster uses %d", j.DataMTU, m.cfg.DataMTU)
	case !slices.Equal(j.Interfaces, m.cfg.Interfaces):
		return fmt.Sprintf("interfaces %s, the cluster has %s",
			strings.Join(j.Interfaces, ","), strings.Join(m.cfg.Interfaces, ","))
	case mismatch(j.Tier, m.cfg.Tier) != "":
		return mismatch(j.Tier, m.cfg.Tier)
	case j.Config != m.running && j.Prepared != m.running:
		return fmt.Sprintf("configuration %s, the cluster runs %s: %s",
			ConfigName(j.Config), ConfigName(m.running), advise("its cluster.yaml", j.Config, m.running))
	}
	for i := range m.view.Members {
		if reason := clash(&j.From, &m.view.Members[i]); reason != "" {
			return reason
		}
	}
	for _, p := range m.order {
		if p.join != nil && p.addr != j.From.VTEP {
			if reason := clash(&j.From, &p.join.From); reason != "" {
				return reason
			}
		}
	}
	if len(m.view.Members) >= wire.MaxNodes-1 && m.view.Named(j.From.Name) == nil {
		return fmt.Sprintf("the cluster is full: %d nodes", len(m.view.Members))
	}
	return ""
}

// clash says what two different nodes must not share. A name keeps its address
// while its node is a member; a dead one is out of the view after hold time.
func clash(who, member *wire.Member) string {
	switch {
	case who.Name == member.Name && who.VTEP != member.VTEP:
		return fmt.Sprintf("name %s is taken by the node at %v", who.Name, member.VTEP)
	case who.Name == member.Name:
		return ""
	case who.VTEP == member.VTEP:
		return fmt.Sprintf("address %v is taken by %s", who.VTEP, member.Name)
	case who.Serial != "" && who.Serial == member.Serial:
		return fmt.Sprintf("serial number %s is taken by %s", who.Serial, member.Name)
	case who.ID != 0 && who.ID == member.ID:
		return fmt.Sprintf("id %d was given to %s while we were apart", who.ID, member.Name)
	}
	return ""
}

// onLeave takes a node out at once.
func (m *Machine) onLeave(now int64, p *peer, l *wire.Leave) {
	if !m.identify(now, p, l.From) {
		return
	}
	p.left = l.From.Incarnation
	p.join = nil
	// Members find it by looking who is alive.
}

// Remove takes a member out. Only the control node can do it, and not to itself:
// it would Leave. The member learns cause, and why in words, and goes by itself:
// see dismiss.
func (m *Machine) Remove(now int64, id wire.NodeID, cause wire.Cause, why string) error {
	mem := m.view.Member(id)
	switch {
	case !m.ruling() || m.doubt.on:
		return fmt.Errorf("membership: remove node %d: this is not the control node", id)
	case mem == nil:
		return fmt.Errorf("membership: remove node %d: no such member", id)
	case id == m.self.ID:
		return fmt.Errorf("membership: remove node %d: it is the control node itself", id)
	}
	if p := m.peers[mem.VTEP]; p != nil {
		p.evict, p.evictFor = why, cause
	}
	m.tickControl(now)
	m.rearm(now)
	return nil
}

// departed says why a member is not in the next view, or is empty.
func (m *Machine) departed(now int64, mem *wire.Member) string {
	p := m.peers[mem.VTEP]
	switch {
	case mem.ID == m.self.ID:
		return ""
	case p == nil:
		return "its address is not among the peers"
	case p.left == mem.Incarnation && p.evict != "":
		return p.evict
	case p.left == mem.Incarnation:
		return "left"
	case p.join != nil:
		return "" // it, or its next life, is in the next view anyway
	case !p.is(mem):
		// Its next life is here. One view replaces it, if it joins soon.
		if now-p.restarted >= m.hold {
			return "restarted"
		}
		return ""
	case m.strayed(p):
		return "follows another control node"
	case m.silent(now, p):
		if m.ruling() && m.deafened(now) {
			return "" // not yet
		}
		return m.silence(now, p)
	case now-p.hearsMe >= m.hold+m.period:
		return "does not hear the control node"
	}
	return ""
}

// strayed reports whether p, a member, shows the view of another control node.
func (m *Machine) strayed(p *peer) bool {
	h := p.says()
	return h != nil && h.State == wire.StateInSync && h.Term > m.view.Term
}

// tickControl publishes a view when somebody has to go or wants to come, and
// repeats it to those that have not shown it yet.
func (m *Machine) tickControl(now int64) {
	if m.handingOver(now) {
		return // the next view is made by the node that was promoted
	}
	change := now >= m.control.due || m.drainers(m.view.Members) != m.view.Draining
	for i := range m.view.Members {
		mem := &m.view.Members[i]
		if m.departed(now, mem) == "" {
			continue
		}
		if p := m.peers[mem.VTEP]; p == nil || p.left == mem.Incarnation || !m.strayed(p) {
			change = true
		} else { // others may follow it
			m.control.due = min(m.control.due, now+gather)
		}
	}
	if change {
		m.reform(now)
	} else {
		m.reconfigure(now)
	}
	if m.withdraw(now) {
		return
	}
	for i := range m.view.Members {
		mem := &m.view.Members[i]
		p := m.peers[mem.VTEP]
		if mem.ID == m.self.ID {
			continue
		}
		m.dismiss(now, p, mem)
		m.ask(now, p, mem.ID)
		if !m.shows(p) && now-p.sent >= m.resend {
			m.sendView(now, p)
		}
	}
}

// shows reports whether p's heartbeats carry the current view.
func (m *Machine) shows(p *peer) bool {
	h := p.says()
	return h != nil && h.Term == m.view.Term && h.Epoch == m.view.Epoch
}

// sendView sends the view, after the reason if it is without p.
func (m *Machine) sendView(now int64, p *peer) {
	p.sent = now
	if r := p.removed; r != nil && r.Life == p.member.Incarnation {
		m.out.Send(p.addr, *r)
	}
	m.out.Send(p.addr, wire.ViewMsg{View: *m.view})
}

// nextControl is the earliest time at which tickControl could find something.
func (m *Machine) nextControl(now int64) int64 {
	next := m.control.due
	switch {
	case m.down != 0 && now < m.downAt+verdict:
		next = min(next, m.downAt+verdict)
	case m.down != 0 && now < m.recent+mending:
		next = min(next, m.recent+mending)
	case m.handicap(now, &m.self) != "", m.narrowed(now)&(1<<m.self.ID) != 0:
		next = never
	}
	if now < m.narrow.ripe {
		next = min(next, m.narrow.ripe)
	}
	waits := m.deafened(now)
	for i := range m.view.Members {
		mem := &m.view.Members[i]
		p := m.peers[mem.VTEP]
		if mem.ID == m.self.ID || p == nil {
			continue
		}
		if p.is(mem) {
			next = min(next, p.hearsMe+m.hold+m.period, m.nextAsk(p))
			if !waits || !m.silent(now, p) { // else the last of the others is waited for
				next = min(next, p.last+m.hold)
			}
		} else {
			next = min(next, p.restarted+m.hold)
		}
		if p.left == mem.Incarnation || p.is(mem) && m.strayed(p) && m.control.due == inf {
			next = never
		}
		next = min(next, m.nextDismissal(now, p, mem))
		if !m.shows(p) {
			next = min(next, p.sent+m.resend)
		}
	}
	return next
}

// reform makes the next view of the members that stay and the nodes that join.
func (m *Machine) reform(now int64) {
	m.control.due = inf
	var stay []wire.Member
	var news []string
	var taken [wire.MaxNodes]bool
	for i := range m.view.Members {
		mem := m.view.Members[i]
		why := m.departed(now, &mem)
		p := m.peers[mem.VTEP]
		if why == "" && p != nil && p.join != nil && p.join.From.Incarnation != mem.Incarnation {
			why = "restarted"
		}
		if why != "" {
			news = append(news, fmt.Sprintf("%s removed (%s)", mem.Name, why))
			if p != nil {
				p.removed = &wire.Removed{Life: mem.Incarnation, Reason: why}
				p.evict = ""
			}
			continue
		}
		stay = append(stay, mem)
		taken[mem.ID] = true
	}
	// First those that bring an id: their flow tables know it.
	for _, fresh := range []bool{false, true} {
		for _, p := range m.order {
			if p.join == nil || (p.join.From.ID == 0) != fresh {
				continue
			}
			mem := p.join.From
			if slices.ContainsFunc(stay, func(s wire.Member) bool { return s.Name == mem.Name }) {
				p.hearsMe = now
				news = append(news, mem.Name+" came back")
				continue // it never left here, and needs a newer term
			}
			if fresh || taken[mem.ID] {
				mem.ID = m.freeID(mem.Name, &taken)
			}
			if mem.ID == 0 {
				continue
			}
			taken[mem.ID] = true
			stay = append(stay, mem)
			p.hearsMe, p.lagging = now, never
			news = append(news, fmt.Sprintf("%s joined", mem.Name))
		}
	}
	for _, p := range m.order {
		p.join = nil
	}
	m.publish(now, stay, m.view.Members, strings.Join(news, ", "))
}

// publish makes a view of members, applies it and sends it to them and, so
// that they stop at once, to those in former that are not in it any more.
func (m *Machine) publish(now int64, members, former []wire.Member, cause string) {
	m.publishConfig(now, members, former, m.running, cause)
}

func (m *Machine) publishConfig(now int64, members, former []wire.Member, config uint64, cause string) {
	v := &wire.View{
		Term: m.maxTerm, Epoch: m.maxEpoch + 1, Config: config, Control: m.self.ID,
		Draining: m.drainers(members), Members: members,
	}
	sortMembers(v.Members)
	if m.view != nil {
		cause = strings.Join(append(m.drained(v), nonempty(cause)...), ", ")
	}
	if !m.ruling() || m.view.Term < m.maxTerm {
		v.Term = m.openTerm()
	}
	m.apply(now, v, fmt.Sprintf("view %s: %s", ViewName(v.Term, v.Epoch), cause))
	for i := range members {
		if p := m.peers[members[i].VTEP]; p != nil {
			p.removed = nil
			m.sendView(now, p)
		}
	}
	alone := len(members) == 1
	for i := range former {
		if p := m.peers[former[i].VTEP]; p != nil && v.Named(former[i].Name) == nil {
			if alone && len(former) > 2 && p.left != former[i].Incarnation {
				p.removed = nil // the view must speak for itself: see deaf.go
			}
			if p.removed != nil && p.removed.Life == former[i].Incarnation {
				p.removed.Term, p.removed.Epoch = v.Term, v.Epoch
			}
			m.sendView(now, p)
		}
	}
	m.heartbeat(now) // after the view, so that nobody misses one that is on its way
}

func nonempty(s string) []string {
	if s == "" {
		return nil
	}
	return []string{s}
}

// freeID chooses the id of a new member: the one it had, else the lowest that
// nobody had, else the lowest that is free. 0: none is free.
func (m *Machine) freeID(name string, taken *[wire.MaxNodes]bool) wire.NodeID {
	var unused, free wire.NodeID
	for i := wire.MaxNodes - 1; i > 0; i-- {
		if taken[i] {
			continue
		}
		free = wire.NodeID(i)
		switch m.names[i] {
		case name:
			return free
		case "":
			unused = free
		}
	}
	if unused != 0 {
		return unused
	}
	return free
}

// difference says in words what v changes.
func (m *Machine) difference(v *wire.View) string {
	var news []string
	for i := range m.view.Members {
		o := &m.view.Members[i]
		if n := v.Named(o.Name); n == nil || n.Incarnation != o.Incarnation {
			news = append(news, o.Name+" removed")
		}
	}
	for i := range v.Members {
		n := &v.Members[i]
		if o := m.view.Named(n.Name); o == nil || o.Incarnation != n.Incarnation {
			news = append(news, n.Name+" joined")
		}
	}
	if v.Config != m.view.Config {
		news = append(news, "configuration "+ConfigName(v.Config))
	}
	if o, n := m.view.Member(m.view.Control), v.Member(v.Control); o.Name != n.Name {
		news = append(news, n.Name+" is control node")
	}
	news = append(news, m.drained(v)...)
	if len(news) == 0 {
		return "same members"
	}
	return strings.Join(news, ", ")
}
