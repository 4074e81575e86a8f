package membership

import (
	"fmt"
	"net/netip"
	"slices"
	"time"

	"cohort/ccl/wire"
)

// Machine is the membership of one node. It is not safe for concurrent use:
// one event loop owns it. Times are nanoseconds of a clock that never goes back
// and, best, counts suspension (CLOCK_BOOTTIME); all calls use the same clock.
type Machine struct {
	cfg Config
	out Output

	// Times derived from the hold time, nanoseconds.
	hold   int64 // silence that means death
	period int64 // between heartbeats
	urgent int64 // between heartbeats while the control node is missing, and between such questions
	worry  int64 // silence after which a node is asked whether it is there
	resend int64 // between repetitions of a view or a Join
	lease  int64 // how long a heartbeat allows this node to forward
	slack  int64 // how late a Tick may be before it is evidence of a stuck process

	attended int64 // until when the pulse has heard all (HL7)
	round    int64 // when the event loop went round last (HL7)

	self  wire.Member // ID 0 while not a member
	state wire.NodeState
	view  *wire.View // nil while not a member
	names [wire.MaxNodes]string

	peers map[netip.Addr]*peer
	order []*peer // by address, so that every run does the same

	maxTerm, maxEpoch uint32

	running, prepared uint64 // checksums of configurations; prepared is 0 when there is no other

	election election
	joining  joining
	control  control
	follow   follow
	doubt    doubt

	down     uint32 // own failed interfaces, see Health
	downAt   int64  // since when
	upAt     int64  // when one of them last worked again
	recent   int64  // when one of anybody did
	grace    bool
	narrow   narrows
	draining bool
	asked    bool    // to drain, by another member
	expelled string  // why an operator takes this node out at once, "": nobody does
	pending  pending // an operator's order on its way
	mode     Mode

	beatAt   int64 // last own heartbeat
	nextBeat int64
	goodbye  goodbye
	due      int64 // when the machine wants to run next

	history            history
	strangers, refused uint64
}

// New makes a machine in state disabled. It fails when cfg cannot work; the
// error wraps ErrConfig.
func New(cfg Config, out Output) (*Machine, error) {
	if err := cfg.check(); err != nil {
		return nil, err
	}
	hold := int64(cfg.Hold)
	m := &Machine{
		cfg:      cfg,
		out:      out,
		hold:     hold,
		period:   hold / 3,
		urgent:   min(hold/12, int64(200*time.Millisecond)),
		worry:    hold * 2 / 3,
		resend:   hold / 6,
		lease:    hold * 6 / 10,
		slack:    hold / 10,
		attended: never, round: never,
		self: cfg.Self,

		running: cfg.Running,

		maxTerm: cfg.LastTerm, maxEpoch: cfg.LastEpoch,

		peers: make(map[netip.Addr]*peer, len(cfg.Peers)),
		due:   inf,
		upAt:  never, recent: never,
	}
	if cfg.Fast {
		m.urgent, m.resend = min(m.urgent, fastUrgent), min(m.resend, fastResend)
	}
	for _, a := range cfg.Peers {
		p := newPeer(a)
		m.peers[a] = p
		m.order = append(m.order, p)
	}
	m.reset()
	return m, nil
}

// reset forgets everything that belongs to a membership that is over.
func (m *Machine) reset() {
	m.view, m.self.ID = nil, 0
	m.election = election{deadline: inf, nextAsk: inf, quick: inf}
	m.joining = joining{next: inf}
	m.control = control{due: inf}
	m.follow = follow{next: inf, orphan: never, behind: never}
	m.doubt = doubt{}
	m.beatAt, m.nextBeat = never, inf
	m.pending, m.draining, m.asked, m.expelled = pending{again: inf}, false, false, ""
	m.narrow = narrows{ripe: inf}
	for _, p := range m.order {
		p.join, p.evict, p.answered, p.hearsMe, p.sent, p.lagging = nil, "", never, never, never, never
	}
}

// Start begins to look for a cluster (EL1). The machine must be new.
func (m *Machine) Start(now int64) {
	if m.state != wire.StateDisabled {
		return
	}
	m.elect(now, "started")
	m.rearm(now)
}

// Rejoin begins again after Fenced or Leave, as a new incarnation: the flow
// table of the former one must be gone.
func (m *Machine) Rejoin(now int64, life wire.Incarnation) error {
	return m.RejoinAs(now, life, Auto)
}

// Mode is what a node may do about a cluster that it does not find (EL10).
type Mode uint8

// The modes. They end when the node is a member.
const (
	Auto   Mode = iota // election as configured
	Join               // join one that exists, however long that takes; found none
	Create             // found one without waiting for peers that say nothing
)

// RejoinAs is Rejoin in a Mode.
func (m *Machine) RejoinAs(now int64, life wire.Incarnation, mode Mode) error {
	switch {
	case m.state != wire.StateFenced && m.state != wire.StateDisabled:
		return fmt.Errorf("membership: rejoin while %s", StateName(m.state))
	case life == 0 || life == m.self.Incarnation:
		return fmt.Errorf("membership: rejoin needs a new incarnation")
	}
	m.self.Incarnation = life
	m.goodbye, m.mode = goodbye{}, mode
	m.elect(now, [...]string{Auto: "rejoining", Join: "looking for a cluster to join", Create: "creating a cluster"}[mode])
	m.rearm(now)
	return nil
}

// Step takes one authenticated membership message from the address that sealed
// it. Messages from addresses that are not configured change nothing.
func (m *Machine) Step(now int64, from netip.Addr, msg wire.Message) {
	p := m.heard(now, from)
	if p == nil {
		return
	}
	if m.state == wire.StateDisabled || m.state == wire.StateFenced {
		return
	}
	switch msg.(type) {
	case wire.ElectionReply, wire.JoinRefused:
		p.deaf = never // it answers
	}
	switch msg := msg.(type) {
	case wire.ElectionRequest:
		m.onElectionRequest(now, p, &msg)
	case wire.ElectionReply:
		m.onElectionReply(now, p, &msg)
	case wire.Heartbeat:
		m.onHeartbeat(now, p, &msg)
	case wire.Join:
		m.onJoin(now, p, &msg)
	case wire.JoinRefused:
		m.onJoinRefused(now, p, &msg)
	case wire.ViewMsg:
		m.onView(now, p, &msg.View)
	case wire.Leave:
		m.onLeave(now, p, &msg)
	case wire.Removed:
		m.onRemoved(now, p, &msg)
	case wire.Order:
		m.onOrder(now, p, &msg)
	}
	m.lookUp(now)
	m.rearm(now)
}

// Tick does what time demands and returns when it wants to be called next.
// Other inputs may bring that forward: ask Next after them.
func (m *Machine) Tick(now int64) (next int64) {
	m.wake(now)
	m.tickGoodbye(now)
	switch m.state {
	case wire.StateElection:
		m.tickElection(now)
	case wire.StateJoining:
		m.tickJoining(now)
	case wire.StateInSync:
		m.tickMember(now)
	}
	m.rearm(now)
	m.due = max(m.due, now+int64(time.Millisecond))
	return m.due
}

// tickMember is the tick of a node that has a view.
func (m *Machine) tickMember(now int64) {
	m.tickDoubt(now)
	if !m.doubt.on {
		m.pursue(now)
	}
	if m.state == wire.StateInSync && !m.doubt.on {
		if m.ruling() {
			m.tickControl(now)
		} else {
			m.tickFollow(now)
		}
	}
	if m.state != wire.StateInSync {
		return
	}
	m.tickMerge(now)
	if now >= m.nextBeat {
		m.heartbeat(now)
	}
}

// Next is when Tick must be called; a value in the past means at once.
func (m *Machine) Next() int64 { return m.due }

// rearm computes the earliest time at which anything can be due.
func (m *Machine) rearm(now int64) {
	next := m.goodbye.next()
	switch m.state {
	case wire.StateElection:
		next = min(next, m.nextElection())
	case wire.StateJoining:
		next = min(next, m.joining.next, m.joining.target.last+m.hold)
	case wire.StateInSync:
		next = min(next, m.nextBeat, m.follow.next, m.pending.again)
		switch {
		case m.doubt.on:
			next = min(next, m.nextDoubt())
		case m.ruling():
			next = min(next, m.nextControl(now))
		default:
			next = min(next, m.nextFollow())
		}
	}
	if m.cfg.Fast && m.state != wire.StateDisabled && m.state != wire.StateFenced {
		next = min(next, now+fastLook) // beats come by another way than messages
	}
	m.due = max(next, now) // not earlier: wake takes the difference for time in which nothing ran
}

// ruling reports whether this node is the control node of its view.
func (m *Machine) ruling() bool { return m.view != nil && m.view.Control == m.self.ID }

// apply makes v this node's membership. The caller sends a heartbeat next, which
// shows it to the others.
func (m *Machine) apply(now int64, v *wire.View, cause string) {
	me := v.Named(m.self.Name)
	if m.running = v.Config; m.prepared == m.running {
		m.prepared = 0
	}
	m.pending, m.mode = pending{again: inf}, Auto
	m.view, m.narrow = v, narrows{ripe: inf}
	m.self.ID = me.ID
	m.note(v.Term, v.Epoch)
	for i := range v.Members {
		m.remember(v.Members[i].Name, v.Members[i].ID)
		if p := m.peers[v.Members[i].VTEP]; p != nil && p.last == never {
			// Who made the view has heard it: it gets a hold time from here, or a node
			// that takes over right after it joined would drop it within its lease.
			p.last = now
		}
	}
	m.follow = follow{next: inf, orphan: never, behind: never}
	m.joining = joining{next: inf}
	if now >= m.doubt.from {
		m.doubt = doubt{}
	}
	m.become(now, wire.StateInSync, cause)
	m.out.Apply(v)
}

// remember ties an id to a name for later views.
func (m *Machine) remember(name string, id wire.NodeID) {
	for i := range m.names {
		if m.names[i] == name {
			m.names[i] = ""
		}
	}
	m.names[id] = name
}

// GiveUp ends the membership as a fence does, for a caller who learns that the
// others act as if this life were over. Rejoin comes back.
func (m *Machine) GiveUp(now int64, why string) {
	if m.view == nil {
		return
	}
	m.fence(now, why)
	m.rearm(now)
}

// fence ends the membership because others may act without this node.
func (m *Machine) fence(now int64, why string) { m.eject(now, wire.CauseNode, why) }

// Withdraw ends the membership of this node for a cause that lies in itself. As
// after Leave the others take over at once if they hear it; Fenced follows.
func (m *Machine) Withdraw(now int64, cause wire.Cause, why string) error {
	if m.view == nil {
		return fmt.Errorf("membership: withdraw: %w", ErrNotMember)
	}
	m.wake(now)
	m.eject(now, cause, why)
	m.rearm(now)
	return nil
}

// Ruling reports whether this node is the control node of its view.
func (m *Machine) Ruling() bool { return m.ruling() }

// State returns the node's state.
func (m *Machine) State() wire.NodeState { return m.state }

// eject ends the membership and says so, more than once. Who was about to go by an
// operator's order goes by that, whatever comes first: it is not to come back (EL10).
func (m *Machine) eject(now int64, cause wire.Cause, why string) {
	if m.expelled != "" {
		cause, why = wire.CauseOperator, m.expelled
	}
	m.goodbye = goodbye{from: m.self, left: goodbyes, again: now}
	m.reset()
	m.become(now, wire.StateFenced, why)
	m.tickGoodbye(now)
	m.out.Fenced(why, cause)
}

// become changes the state and writes the line of history.
func (m *Machine) become(now int64, to wire.NodeState, cause string) {
	e := Event{At: now, From: m.state, To: to, Cause: cause}
	if m.view != nil {
		e.Term, e.Epoch = m.view.Term, m.view.Epoch
	}
	m.state = to
	m.history.add(e)
	m.out.Event(e)
}

// tell writes a line of history without a change of state.
func (m *Machine) tell(now int64, format string, args ...any) {
	m.become(now, m.state, fmt.Sprintf(format, args...))
}

// Note writes a line of history for what another part of the node has done.
func (m *Machine) Note(now int64, cause string) { m.tell(now, "%s", cause) }

// StateName is the word for a state in texts and commands (MG1).
func StateName(s wire.NodeState) string {
	names := []string{"disabled", "election", "joining", "in sync", "fenced"}
	if int(s) < len(names) {
		return names[s]
	}
	return fmt.Sprintf("state-%d", s)
}

// named reports whether v has this very life of this node.
func (m *Machine) named(v *wire.View) bool {
	me := v.Named(m.self.Name)
	return me != nil && me.Incarnation == m.self.Incarnation && me.VTEP == m.self.VTEP
}

// sortMembers brings members into the order that views have.
func sortMembers(list []wire.Member) {
	slices.SortFunc(list, func(a, b wire.Member) int { return int(a.ID) - int(b.ID) })
}
