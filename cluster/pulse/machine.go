package pulse

import "cohort/ccl/wire"

// Machine is what the pulse process knows. One thread owns it. A pass is Begin,
// then Heard for everything that waits, then End, then what Due and Ask say; the
// process sleeps until Next or until something arrives. Nothing allocates.
type Machine struct {
	wake     int64 // when it wanted to run
	next     int64 // own beat
	attended int64
	number   uint32 // of the newest beat to all
	overdue  int64  // how late that was
	peers    []Peer
	stats    Stats
}

// Stats are totals, and the lateness of this process in nanoseconds.
type Stats struct {
	Sent, Received, Late uint64 // beats; late: more than one and a half periods after the one before
	Asked, Answered      uint64
	Lateness, Worst      int64 // of the newest wake-up that was late, and of all

	Stages   [NumStages]Spread // of all beats that were received
	LateAt   [NumStages]uint64 // of Late: the stage at which most of the time went
	LateLost uint64            // of Late: beats before were lost, which was more than any stage
	Lost     uint64            // beats to all that never came, or after a later one
}

// Peer is what is known of one configured address.
type Peer struct {
	At       int64 // newest beat; later by what this process was late since then. Negative: none
	Life     wire.Incarnation
	Progress int64 // when its event loop went round last, by our clock
	Hold     bool  // silence is judged by the hold time
	Longest  int64 // time between two beats, as they came

	last            int64 // newest beat, as it came
	number          uint32
	sent            int64 // by its clock
	floor           floor
	asked, answered int64
	told            bool // Alarm has said that it is silent
}

// New makes a machine for so many peers.
func New(now int64, peers int) *Machine {
	m := &Machine{wake: now, next: now, attended: now, peers: make([]Peer, peers)}
	for i := range m.peers {
		m.peers[i] = Peer{At: never, last: never, asked: never, answered: never}
	}
	return m
}

// Begin is called when the process runs again. The time that it slept too long is
// not the silence of others.
func (m *Machine) Begin(now int64) {
	over := now - m.wake
	if over <= late {
		return
	}
	m.stats.Lateness, m.stats.Worst = over, max(m.stats.Worst, over)
	for i := range m.peers {
		if p := &m.peers[i]; p.At != never {
			p.At = min(p.At+over, now)
		}
	}
}

// Heard takes an authenticated beat of peer i that the kernel had for age, and
// reports whether it is to be answered with one for it alone.
func (m *Machine) Heard(now int64, i int, b wire.Beat, age int64) (answer bool) {
	p := &m.peers[i]
	if p.Life != b.Life {
		p.floor, p.number, p.last = floor{}, b.Number, never // maybe another clock, too
	}
	m.clock(now, p, b, age)
	m.stats.Received++
	p.At, p.last, p.Life, p.Progress = now, now, b.Life, now-int64(b.Stale)*1e6
	p.Hold, p.told = b.Flags&wire.PulseHold != 0, false
	if b.Flags&wire.PulseAsk == 0 || now-p.answered < ration {
		return false
	}
	p.answered = now
	m.stats.Answered++
	return true
}

// End says that everything that had arrived by now was taken.
func (m *Machine) End(now int64) { m.attended = now }

// Due reports whether it is time for a beat to all. The caller sends it.
func (m *Machine) Due(now int64) bool {
	if now < m.next {
		return false
	}
	m.stats.Sent++
	m.number++
	m.overdue = now - m.next
	if m.next += Period; m.next <= now { // late: no two at once
		m.next = now + Period
	}
	return true
}

// Mark writes into a beat that is sent now which one it is and how late: all is true
// for the one that Due asked for.
func (m *Machine) Mark(now int64, b *wire.Beat, all bool) {
	b.Number, b.Sent = m.number, uint64(now)/1e3
	if all {
		b.Late = uint32(min(m.overdue/1e3, 1<<32-1))
	}
}

// Ask reports whether peer i is to be asked, as it is silent: a beat that was lost
// is no death.
func (m *Machine) Ask(now int64, i int) bool {
	if p := &m.peers[i]; now >= m.question(p) {
		p.asked = now
		m.stats.Asked++
		return true
	}
	return false
}

// Alarm reports whether a peer has become silent for Deadline since it was asked
// last: the event loop should look at once.
func (m *Machine) Alarm() (silent bool) {
	for i := range m.peers {
		p := &m.peers[i]
		if p.At != never && !p.told && !p.Hold && m.attended-p.At >= Deadline {
			p.told, silent = true, true
		}
	}
	return silent
}

// question is when a peer is to be asked next.
func (m *Machine) question(p *Peer) int64 {
	at := max(p.At+worry, p.asked+again)
	if p.At == never || p.Hold || at > p.At+patience {
		return -never
	}
	return at
}

// Next is when the process wants to run again if nothing arrives. It must be asked
// once at the end of each pass: lateness is counted from there.
func (m *Machine) Next() int64 {
	m.wake = m.next
	for i := range m.peers {
		p := &m.peers[i]
		m.wake = min(m.wake, m.question(p))
		if end := p.At + Deadline; p.At != never && end > m.attended {
			m.wake = min(m.wake, end)
		}
	}
	return m.wake
}

// Attended is up to when silence may be counted: everything that had arrived by
// then was taken.
func (m *Machine) Attended() int64 { return m.attended }

// Peer returns what is known of peer i.
func (m *Machine) Peer(i int) Peer { return m.peers[i] }

// Stats returns the totals.
func (m *Machine) Stats() Stats { return m.stats }
