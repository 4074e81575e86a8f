package blocks

import (
	"cmp"
	"encoding/binary"
	"errors"
	"fmt"
	"slices"

	"github.com/dchest/siphash"

	"cohort/ccl/wire"
)

// ErrMember says that a node cannot be forgotten because it is there.
var ErrMember = errors.New("it is a member of the present view")

// ErrNoView says that a node cannot forget others because it is in no view.
var ErrNoView = errors.New("this node is no member of the cluster at present")

// ErrUnknown says that no node of this name was ever a member.
var ErrUnknown = errors.New("no node of this name was ever a member")

// roster is every node that was ever a member, as far as this node has heard.
// It only grows: a name that was dropped would come back from a node that was
// away for long.
type roster struct {
	entries []wire.RosterEntry // sorted by name
	version uint64             // of the memory
	saved   uint64             // the newest version that is on disk
	sum     uint64
}

func (r *roster) load(mem Memory) {
	r.entries = slices.Clone(mem.Roster)
	slices.SortFunc(r.entries, func(a, b wire.RosterEntry) int { return cmp.Compare(a.Name, b.Name) })
	r.version, r.saved = mem.Version, mem.Version
	r.check(mem.Lineage)
}

// check computes the checksum of what everybody must know before units move.
// Seen is not part of it.
func (r *roster) check(lineage uint64) {
	b := binary.BigEndian.AppendUint64(nil, lineage)
	for i := range r.entries {
		e := &r.entries[i]
		b = append(append(b, byte(len(e.Name))), e.Name...)
		if e.Over {
			b = append(b, 1)
		} else {
			b = append(b, 0)
		}
		b = binary.BigEndian.AppendUint64(b, e.Forgotten)
	}
	r.sum = max(siphash.Hash(0, 0, b), 1)
}

// merge takes e in and reports whether that changed who counts, or Forgotten.
func (r *roster) merge(e wire.RosterEntry) bool {
	i, found := slices.BinarySearchFunc(r.entries, e.Name, func(a wire.RosterEntry, n string) int { return cmp.Compare(a.Name, n) })
	if !found {
		r.entries = slices.Insert(r.entries, i, e)
		return true
	}
	old := &r.entries[i]
	changed := e.Forgotten > old.Forgotten
	old.Forgotten = max(e.Forgotten, old.Forgotten)
	if e.Seen < old.Seen || e.Seen == old.Seen && !e.Over {
		return changed
	}
	e.Forgotten = old.Forgotten
	changed = changed || old.Over != e.Over
	*old = e
	return changed
}

// find returns the entry of a name, or nil.
func (r *roster) find(name string) *wire.RosterEntry {
	for i := range r.entries {
		if r.entries[i].Name == name {
			return &r.entries[i]
		}
	}
	return nil
}

// missing returns the names that count and are not in v.
func (r *roster) missing(v *wire.View) (names []string) {
	for i := range r.entries {
		if e := &r.entries[i]; !e.Over && v.Named(e.Name) == nil {
			names = append(names, e.Name)
		}
	}
	return names
}

// sum is the checksum of the roster, 0 while the disk does not have it.
func (m *Machine) sum() uint64 {
	if m.roster.saved != m.roster.version {
		return 0
	}
	return m.roster.sum
}

// remember has the roster written down.
func (m *Machine) remember() {
	r := &m.roster
	r.version++
	r.check(m.lineage)
	m.dirtyHead = true
	if m.cfg.Remember == nil {
		r.saved = r.version
		return
	}
	m.cfg.Remember(Memory{Version: r.version, Lineage: m.lineage, Roster: slices.Clone(r.entries)})
}

// Remembered says that the Memory of this version, and with it all older ones,
// is on disk. It must not be called from within Remember.
func (m *Machine) Remembered(now int64, version uint64) {
	m.now = now
	if r := &m.roster; version > r.saved {
		r.saved = min(version, r.version)
		m.dirtyHead = m.dirtyHead || r.saved == r.version
	}
	m.flush()
}

// noteMembers writes the members of the view into the roster. Who is here is
// not over, whatever was said of it and when: numbers of views begin anew when
// a whole cluster does.
func (m *Machine) noteMembers() {
	changed := false
	for i := range m.view.Members {
		mem := &m.view.Members[i]
		e := wire.RosterEntry{Name: mem.Name, Seen: m.number}
		if old := m.roster.find(mem.Name); old != nil {
			e.Seen = max(e.Seen, old.Seen)
			if m.departed && mem.ID == m.self {
				e.Over = true // the view was made before the others heard of it
			} else if old.Over {
				e.Seen = max(m.number, old.Seen+1)
			}
		}
		changed = m.roster.merge(e) || changed
	}
	if changed {
		m.remember()
	}
}

// onRoster merges what a member knows.
func (m *Machine) onRoster(list []wire.RosterEntry) {
	changed := false
	for _, e := range list {
		if e.Name == "" {
			continue
		}
		old := m.roster.find(e.Name)
		waited := old != nil && !old.Over
		if old != nil && e.Forgotten > old.Forgotten && e.Name == m.view.Member(m.self).Name {
			m.forgotten()
		}
		if !m.roster.merge(e) {
			continue
		}
		changed = true
		if waited && e.Over && m.cfg.Over != nil {
			m.cfg.Over(e.Name)
		}
	}
	if changed {
		m.remember()
	}
}

// forgotten hears, for the first time, that an operator has said of this node
// that it is over. Who brings units into the view in which it meets those who
// know was only cut off: others may hold the same, so it gives up everything. A
// life that began since, empty, is what they expect; it hears this before it is
// given anything, because rosters cross first.
func (m *Machine) forgotten() {
	if !m.carried {
		return
	}
	m.drop()
	if m.cfg.Forgotten != nil {
		m.cfg.Forgotten()
	}
}

// sendRoster tells a member everything, in messages of a few hundred bytes.
func (m *Machine) sendRoster(id wire.NodeID) {
	const limit = 400
	var msg wire.Roster
	size := 0
	for _, e := range m.roster.entries {
		if n := len(e.Name) + 18; size > 0 && (size+n > limit || len(msg.Entries) == wire.MaxRoster) {
			_ = m.cfg.Output.Send(id, msg) // repeat compares the sums
			msg, size = wire.Roster{}, 0
		}
		msg.Entries = append(msg.Entries, e)
		size += len(e.Name) + 18
	}
	_ = m.cfg.Output.Send(id, msg)
}

func (m *Machine) broadcastRoster() {
	if m.view == nil {
		return
	}
	for i := range m.view.Members {
		if id := m.view.Members[i].ID; id != m.self {
			m.sendRoster(id)
		}
	}
}

// Forget says, for an operator, that the node of this name is over: its
// connections are gone and it does not come back with what it held. Then it is
// no longer waited for. It is also a promise that no node lives which only this
// one had let in.
//
// It may be said again, and must be while Unaware names anybody: word of a
// member that saw the node last, and has just come, undoes it otherwise.
// Reports whether this call changed anything.
func (m *Machine) Forget(now int64, name string) (changed bool, err error) {
	m.now = now
	over, err := m.Forgettable(name)
	if err != nil || over {
		return false, err
	}
	e := *m.roster.find(name)
	e.Over, e.Seen, e.Forgotten = true, max(e.Seen, m.number), max(e.Forgotten+1, m.number)
	m.roster.merge(e)
	m.remember()
	m.broadcastRoster()
	m.passAt = now
	m.flush()
	return true, nil
}

// Forgettable returns the error that Forget would, and whether it would change
// nothing because the node is over already.
func (m *Machine) Forgettable(name string) (over bool, err error) {
	e := m.roster.find(name)
	switch {
	case m.view == nil:
		err = ErrNoView
	case e == nil:
		err = ErrUnknown
	case m.view.Named(name) != nil:
		err = ErrMember
	default:
		return e.Over, nil
	}
	return false, fmt.Errorf("blocks: forget %s: %w", name, err)
}

// Unaware returns the names of the members that have not said yet that the
// roster on their disk is this node's: of those who do not know what it knows,
// or would not after a loss of power. This node is among them while its own
// disk is behind.
func (m *Machine) Unaware() (names []string) {
	if m.view == nil {
		return nil
	}
	own := m.sum()
	for i := range m.view.Members {
		mem := &m.view.Members[i]
		if own == 0 && mem.ID == m.self || mem.ID != m.self && m.peers[mem.ID].sum != m.roster.sum {
			names = append(names, mem.Name)
		}
	}
	return names
}
