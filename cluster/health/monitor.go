package health

import (
	"math"
	"time"
)

const inf int64 = math.MaxInt64 / 2

// MaxInterface is the highest id of an interface that a Monitor watches.
const MaxInterface = 31

// MonitorConfig says how failures are taken. Zero times are zero.
type MonitorConfig struct {
	Watched  uint32        // bit per interface id: the monitored ones
	Debounce time.Duration // how long a failure lasts before it counts (HL2); 0.5 s, 0.3-9 s
	Grace    time.Duration // after a join: failures are no reason to go (HL2); 90 s
}

// Monitor knows which monitored interfaces of a node have failed. An interface
// fails by its link, or by its targets (HL6), and works when both do.
type Monitor struct {
	cfg    MonitorConfig
	iface  [MaxInterface + 1]iface
	joined int64 // -inf: not, or so long ago that it does not matter
}

// iface is one interface. since is when it began to be as it is.
type iface struct {
	down, lost bool // by link, by targets
	since      int64
}

func (i *iface) bad() bool { return i.down || i.lost }

// NewMonitor makes a Monitor that believes that everything works.
func NewMonitor(cfg MonitorConfig) *Monitor { return &Monitor{cfg: cfg, joined: -inf} }

// Link takes the state of an interface's link; an unchanged one changes nothing.
func (m *Monitor) Link(now int64, id uint8, up bool) { m.set(now, id, func(i *iface) { i.down = !up }) }

// Targets takes whether an interface's targets can be reached (HL6).
func (m *Monitor) Targets(now int64, id uint8, reached bool) {
	m.set(now, id, func(i *iface) { i.lost = !reached })
}

func (m *Monitor) set(now int64, id uint8, change func(*iface)) {
	if id == 0 || id > MaxInterface || m.cfg.Watched&(1<<id) == 0 {
		return
	}
	i := &m.iface[id]
	was := i.bad()
	change(i)
	if was != i.bad() {
		i.since = now
	}
}

// Joined says that the node has become a member: grace begins.
func (m *Monitor) Joined(now int64) { m.joined = now }

// Settled says that the node has been a member for long: there is no grace.
func (m *Monitor) Settled() { m.joined = -inf }

// Grace reports whether the node has just joined.
func (m *Monitor) Grace(now int64) bool { return now < m.joined+int64(m.cfg.Grace) }

// Failed are the monitored interfaces that failed at least the debounce time ago
// and do not work yet, a bit per id.
func (m *Monitor) Failed(now int64) (set uint32) {
	for id := range m.iface {
		if i := &m.iface[id]; i.bad() && now >= i.since+int64(m.cfg.Debounce) {
			set |= 1 << id
		}
	}
	return set
}

// Broken reports whether an interface does not work at this moment, and since
// when it is as it is.
func (m *Monitor) Broken(id uint8) (broken bool, since int64) {
	if id > MaxInterface {
		return false, 0
	}
	return m.iface[id].bad(), m.iface[id].since
}

// AnyBroken reports whether a monitored interface does not work at this moment.
func (m *Monitor) AnyBroken() bool {
	for id := range m.iface {
		if m.iface[id].bad() {
			return true
		}
	}
	return false
}
