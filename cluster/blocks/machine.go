package blocks

import (
	"slices"

	"cohort/ccl/wire"
)

// Machine keeps the units of one node. Times are nanoseconds of one monotonic
// clock that goes on while the node's incarnation lives, also across a restart
// of the process. Not safe for concurrent use.
type Machine struct {
	cfg      Config
	units    int
	geometry uint32
	sharer   *sharer
	now      int64 // of the call in progress

	view    *wire.View
	number  uint64 // of the newest view applied: term and epoch
	self    wire.NodeID
	life    wire.Incarnation // whose units held are; 0 = nobody's yet
	carried bool             // units were in its hand when it applied the view
	former  *wire.View       // the newest one applied, also while fenced
	meeting bool             // members of the view have come who may say that this node was forgotten
	settled bool             // every connection is registered in this view
	since   int64            // when that was
	paused  bool             // what is held must not be used before settled
	unsure  bool             // a former process may have passed on units in this view
	lineage uint64

	held    bitset // ours
	limbo   bitset // given away, not known to have arrived
	touched bitset // ours at some time in this view
	gone    bitset // while unsure: what a former process may have passed on in this view; nil = anything
	seen    bitset // somebody else's at some time in this view; see look
	holder  []wire.NodeID
	last    []uint16 // index into names: the last holder heard of, for Status
	names   []string

	rests    map[int]int64 // units held that rest, and until when
	entombed bitset        // see Entombed; since the last round
	told     bitset        // whose last holder departed and told what rests there

	peers  [wire.MaxNodes]peer
	roster roster
	leases []lease

	target      []wire.NodeID
	mine        bitset // units whose target is this node
	remakeAfter int64  // Cutting.RemakeAfter
	remade      bitset // units whose parts had several holders, until one is known to hold them
	firsts      [][3]wire.NodeID

	leaving, departed bool
	changed           bool
	dirtyLo, dirtyHi  int  // units to announce
	dirtyHead         bool // the head of an announcement has changed
	passAt            int64
	repeatAt          int64
	stats             Stats
}

// peer is what a Machine knows of another node's present life.
type peer struct {
	life    wire.Incarnation
	held    bitset // what it claims
	past    bitset // what it had in this view, or may take back
	covered int    // it has told us about the units below, in this view
	sum     uint64 // of its roster
	leaving bool
	word    bool // it departs, and has said what rests in its units
	unsure  bool
	stale   bool // it must be told everything again

	took  uint64 // the newest of its gives that we took
	given uint64 // the newest give that we sent to it
	out   []give // those it has not confirmed
}

// Stats counts since the start.
type Stats struct {
	Given     uint64 // units handed over
	Taken     uint64 // units received
	TakenBack uint64 // units whose receiver never took them
	Thawed    uint64 // units that this node, as their director, brought back
	InUse     uint64 // ... of these, units that connections use
	Remade    uint64 // ... of these, units that a new numbering had made
	LeasesIn  uint64 // units received for a Want
	LeasesOut uint64 // units given for one
	Refused   uint64 // Wants that this node could not serve
	Dropped   uint64 // units given up: a life or a lineage ended
}

// New makes a Machine that holds nothing and is not a member.
func New(now int64, cfg Config) *Machine {
	cfg.defaults()
	n := cfg.units()
	m := &Machine{
		cfg: cfg, units: n, geometry: cfg.geometry(), sharer: newSharer(cfg.Seed, cfg.Pools, cfg.Names, n), now: now,
		held: newBitset(n), limbo: newBitset(n), touched: newBitset(n), seen: newBitset(n), mine: newBitset(n), remade: newBitset(n), entombed: newBitset(n), told: newBitset(n), rests: map[int]int64{},
		holder: make([]wire.NodeID, n), last: make([]uint16, n), names: []string{""},
		target: make([]wire.NodeID, n), firsts: make([][3]wire.NodeID, n), leases: make([]lease, len(cfg.Pools)),
		lineage: cfg.Memory.Lineage,
	}
	m.roster.load(cfg.Memory)
	m.clean()
	return m
}

// Restore takes over what the former process of this incarnation held, as its
// Journal says, together with the number of the newest view that it had applied
// and, if the Journal keeps them, the gives that it took. Call it before the
// first ApplyView. The units are used again after Settled.
func (m *Machine) Restore(now int64, life wire.Incarnation, number uint64, held []int, took ...Taken) {
	m.now, m.life, m.number, m.paused, m.unsure = now, life, number, true, true
	for _, u := range held {
		if u >= 0 && u < m.units {
			m.held.set(u)
			m.carried = true // as far as it knows
		}
	}
	for _, t := range took {
		if t.From < wire.MaxNodes && t.Life != 0 {
			m.peers[t.From] = peer{life: t.Life, took: t.Seq, held: newBitset(m.units), past: newBitset(m.units)}
		}
	}
}

// RestoreGone says, after Restore, which units the Journal of the former process
// has as given away since its newest view: no others were.
func (m *Machine) RestoreGone(gone []int) {
	m.gone = newBitset(m.units)
	for _, u := range gone {
		if u >= 0 && u < m.units {
			m.gone.set(u)
		}
	}
}

// ApplyView makes v the membership; self is this node's id in it. A view older
// than one that this node has applied before, in this process or, as Restore
// said, in the former one, is not applied: units may have been passed on since.
func (m *Machine) ApplyView(now int64, v *wire.View, self wire.NodeID) {
	m.now = now
	number, life := Number(v), v.Member(self).Incarnation
	if life == m.life && number < m.number {
		m.Fence(now)
		return
	}
	if life != m.life {
		if m.life != 0 {
			m.drop()
		}
		clear(m.told)
		// A cluster that begins anew, without anybody who knew the last view,
		// counts from one again.
		m.life, m.number = life, 0
	}
	if number > m.number { // else the same once more, after a Fence or a restart
		clear(m.touched)
		m.unsure, m.gone = false, nil
		m.carried = m.held.count()+m.limbo.count() > 0
	}
	if m.cfg.Journal != nil {
		m.cfg.Journal.View(number)
	}
	m.keepWords(v)
	m.meeting = m.carried && (m.meeting || !within(v, m.former))
	m.view, m.former, m.self, m.number, m.settled = v, v, self, number, false
	for id := range m.peers {
		m.meet(wire.NodeID(id), v.Member(wire.NodeID(id)))
	}
	m.rebuildLimbo()
	for i := range m.touched {
		m.touched[i] |= m.held[i]
	}
	m.noteMembers()
	m.share()
	for u := range m.holder {
		m.holder[u] = m.findHolder(u)
	}
	for i := range m.leases {
		m.leases[i].restart()
	}
	m.changed = true
	m.passAt, m.repeatAt = now, now+int64(m.cfg.RepeatAfter)
	m.tellAll()
	m.flush()
}

// within reports whether all members of v were in the view before.
func within(v, before *wire.View) bool {
	for i := range v.Members {
		if o := before.Named(v.Members[i].Name); o == nil || o.Incarnation != v.Members[i].Incarnation {
			return false
		}
	}
	return true
}

// meet prepares what is known of node id for a new view, in which it is mem.
func (m *Machine) meet(id wire.NodeID, mem *wire.Member) {
	p := &m.peers[id]
	if mem == nil || id == m.self || p.life != mem.Incarnation {
		clear(p.held)
	}
	switch {
	case mem == nil || id == m.self:
	case p.life == mem.Incarnation:
		m.setTook(id, p.took) // this node's journal may have begun anew
	default:
		// Its former life is over, or it is another node. What was on the way
		// to that life is nobody's now.
		held, past := p.held, p.past
		if held == nil {
			held, past = newBitset(m.units), newBitset(m.units)
		}
		*p = peer{life: mem.Incarnation, held: held, past: past}
		m.setTook(id, uint64(m.now))
	}
	p.covered, p.sum, p.leaving, p.unsure, p.stale = 0, 0, false, false, false
}

// Fence takes the node out of the view: nothing is allocated before it is
// Settled in a later one.
func (m *Machine) Fence(now int64) {
	m.now = now
	if m.view == nil {
		return
	}
	m.pause()
	m.view, m.settled = nil, false
	m.changed = true
	for i := range m.leases {
		m.endLease(i, 0)
	}
}

// Lost says that the node's connections are gone, and with them the knowledge
// which ports are in use: its incarnation is over. What it held stays frozen
// until the roster is complete.
func (m *Machine) Lost(now int64) {
	m.Fence(now)
	m.drop()
	m.life = 0
	m.leaving, m.departed = false, false // the next life stays
}

// Settled says that in the present view everybody has registered its
// connections at their directors: Ports.Idle tells the truth. Call it only when
// all members have, not when waiting for them was given up.
func (m *Machine) Settled(now int64) {
	m.now = now
	if m.view == nil {
		return
	}
	if !m.settled {
		m.settled, m.since = true, now
	}
	m.passAt = now
	if m.paused {
		m.paused = false
		for u := m.held.next(0); u >= 0; u = m.held.next(u + 1) {
			m.allocate(u)
		}
	}
	m.pass()
	m.flush()
}

// Message handles a message from a member; others than those of package wire's
// units.go are ignored.
func (m *Machine) Message(now int64, from wire.NodeID, msg wire.Message) {
	m.now = now
	if m.view.Member(from) == nil || from == m.self {
		return
	}
	switch msg := msg.(type) {
	case wire.Units:
		if msg.View == m.view.Tag() && msg.Geometry == m.geometry {
			m.onUnits(from, &msg)
		}
	case wire.GiveUnits:
		if msg.View == m.view.Tag() {
			m.onGive(from, &msg)
		}
	case wire.WantUnits:
		if msg.View == m.view.Tag() {
			m.onWant(from, int(msg.Pool), int(msg.Count))
		}
	case wire.Rests:
		if msg.View == m.view.Tag() {
			m.onRests(from, &msg)
		}
	case wire.Roster:
		m.onRoster(msg.Entries)
	}
	m.flush()
}

// Tick advances time; call it every 10 ms.
func (m *Machine) Tick(now int64) {
	m.now = now
	if m.view == nil {
		return
	}
	if now >= m.repeatAt {
		m.repeatAt = now + int64(m.cfg.RepeatAfter)
		m.repeat()
	}
	if now >= m.passAt {
		m.passAt = now + int64(m.cfg.PassEvery)
		m.pass()
	}
	for i := range m.leases {
		m.tickLease(i)
	}
	m.flush()
}

// PeerReset says that messages to and from a member were lost: its channel
// started over.
func (m *Machine) PeerReset(now int64, id wire.NodeID) {
	m.now = now
	if m.view.Member(id) != nil && id != m.self {
		m.peers[id].stale = true
		m.repeatAt = now
	}
}

// pass moves what should be elsewhere.
func (m *Machine) pass() {
	m.becomeSure()
	m.found()
	if m.settled && !m.departed {
		m.thaw()
		m.handOver()
	}
}

// take makes the unit ours.
func (m *Machine) take(u int) {
	m.held.set(u)
	m.touched.set(u)
	m.remade.clear(u)
	m.told.clear(u)
	if m.cfg.Journal != nil {
		m.cfg.Journal.Hold(u, true)
	}
	if !m.paused {
		m.allocate(u)
	}
	m.holder[u] = m.self
	m.changed = true
	m.dirty(u)
}

// allocate lets connections begin in the unit.
func (m *Machine) allocate(u int) {
	m.restOn(u)
	m.cfg.Ports.SetHeld(u, true)
	m.setLeased(u)
}

// setLeased says whether the unit, which we allocate from, is to go elsewhere.
func (m *Machine) setLeased(u int) {
	m.cfg.Ports.SetLeased(u, m.target[u] != m.self)
}

// release stops allocating from the unit, before anybody else is told.
func (m *Machine) release(u int) {
	if !m.paused {
		m.cfg.Ports.SetHeld(u, false)
	}
	m.held.clear(u)
	m.unrest(u)
	if m.cfg.Journal != nil {
		m.cfg.Journal.Hold(u, false)
	}
	m.holder[u] = m.findHolder(u)
	m.changed = true
	m.dirty(u)
}

// pause stops allocating without giving anything up.
func (m *Machine) pause() {
	if m.paused {
		return
	}
	m.paused = true
	for u := m.held.next(0); u >= 0; u = m.held.next(u + 1) {
		m.cfg.Ports.SetHeld(u, false)
	}
}

// setTook notes which give of a member was taken last. The first number of a
// life is the time, so that it is new to whoever remembers an older one.
func (m *Machine) setTook(from wire.NodeID, seq uint64) {
	p := &m.peers[from]
	p.took = seq
	if j, ok := m.cfg.Journal.(TakeJournal); ok && p.life != 0 {
		j.Took(Taken{from, p.life, seq})
	}
}

// drop gives up everything, to nobody, and whatever is on its way to or from
// here. No former give will be taken any more.
func (m *Machine) drop() {
	for u := m.held.next(0); u >= 0; u = m.held.next(u + 1) {
		m.stats.Dropped++
		m.release(u)
	}
	clear(m.limbo)
	m.paused = false
	for id := range m.peers {
		m.peers[id].out = nil
		m.setTook(wire.NodeID(id), max(m.peers[id].took+1, uint64(m.now)))
	}
}

// findHolder looks for the member that says it holds the unit.
func (m *Machine) findHolder(u int) wire.NodeID {
	if m.view == nil {
		return 0
	}
	if m.held.has(u) {
		return m.self
	}
	for i := range m.view.Members {
		if id := m.view.Members[i].ID; id != m.self && m.peers[id].held != nil && m.peers[id].held.has(u) {
			return id
		}
	}
	return 0
}

// share computes targets and orders anew when those who take part changed.
func (m *Machine) share() {
	leaving := func(id wire.NodeID) bool { return id == m.self && m.leaving || id != m.self && m.peers[id].leaving }
	all := m.sharer.nodes(m.view, nil)
	m.firsts = m.sharer.firsts(all)
	stay := m.sharer.nodes(m.view, func(id wire.NodeID) bool { return !leaving(id) })
	if len(stay.ids) == 0 {
		stay = all
	}
	m.target = m.sharer.targets(stay)
	clear(m.mine)
	for u, t := range m.target {
		if t == m.self {
			m.mine.set(u)
		}
	}
	for u := m.held.next(0); u >= 0 && !m.paused; u = m.held.next(u + 1) {
		m.setLeased(u)
	}
	m.passAt = m.now
	m.changed = true
}

// name returns the index of a name in names.
func (m *Machine) name(id wire.NodeID) uint16 {
	s := m.view.Member(id).Name
	i := slices.Index(m.names, s)
	if i < 0 {
		i = len(m.names)
		m.names = append(m.names, s)
	}
	return uint16(i)
}
