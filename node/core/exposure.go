package core

import (
	"net/netip"
	"time"

	"cohort/ccl/reliable"
	"cohort/ccl/wire"
	"cohort/cluster/ownership"
)

// exposureEvery is how often a member tells the others what would be lost with it.
const exposureEvery = int64(time.Second)

// exposure is what every member has said of itself (MG9), this one included.
type exposure struct {
	next  int64 // when to say it again
	held  []wire.HeldBy
	told  [wire.MaxNodes]wire.Exposure
	at    [wire.MaxNodes]int64 // 0 = nothing said in this view's life of the member
	lives [wire.MaxNodes]wire.Incarnation
}

// Exposure is what one member has said of itself.
type Exposure struct {
	Node wire.NodeID
	At   int64 // when it was heard, 0 = not yet; the counts were up to 2 s old then
	wire.Exposure
}

// Peer is how replication to one member goes.
type Peer struct {
	Node   wire.NodeID
	Oldest int64 // ns that the oldest state message has been waiting for its acknowledgement
	Queued int   // state messages that are not acknowledged
	Lags   reliable.Lags
}

// progress answers ownership.Config.Progress.
func (c *Core) progress(to wire.NodeID) ownership.Progress {
	p, _ := c.link.Progress(c.addrs[to]) // not known: nothing has been sent
	return ownership.Progress{Instance: p.Instance, Sent: p.Sent, Acked: p.Acked}
}

// tickExposure says once a second what would be lost with this node.
func (c *Core) tickExposure() {
	x := &c.exposure
	if c.view == nil || c.now < x.next {
		return
	}
	e, at := c.own.Exposure()
	if at == 0 {
		return
	}
	x.next = c.now + exposureEvery
	m := wire.Exposure{
		Owned: uint32(e.Owned), NoCopy: uint32(e.NoCopy), Async: uint32(e.Async), Sync: uint32(e.Sync), Behind: uint32(e.Behind),
	}
	x.held = x.held[:0]
	for id, n := range e.Held {
		if n > 0 {
			x.held = append(x.held, wire.HeldBy{Node: wire.NodeID(id), Count: uint32(n)})
		}
	}
	m.Held = x.held
	var lags reliable.Lags
	oldest := int64(0)
	for i := range c.view.Members {
		if p := &c.view.Members[i]; p.ID != c.self {
			oldest = max(oldest, c.link.Replication(c.now, p.VTEP, &lags))
		}
	}
	m.Oldest, m.P50, m.P99 = micros(oldest), micros(lags.Quantile(0.5)), micros(lags.Quantile(0.99))
	c.note(c.self, &m)
	if len(c.view.Members) > 1 {
		c.link.Datagram(c.now, netip.Addr{}, m)
	}
}

// micros is ns in µs, rounded up and held to 32 bits: an hour.
func micros(ns int64) uint32 { return uint32(min((ns+999)/1000, 1<<32-1)) }

func (c *Core) onExposure(from netip.Addr, m wire.Exposure) {
	if id := c.ids[from]; id != 0 && id != c.self {
		c.note(id, &m)
	}
}

func (c *Core) note(id wire.NodeID, m *wire.Exposure) {
	x := &c.exposure
	held := append(x.told[id].Held[:0], m.Held...)
	x.told[id], x.at[id] = *m, c.now
	x.told[id].Held = held
	if p := c.view.Member(id); p != nil {
		x.lives[id] = p.Incarnation
	}
}

// Exposure returns what every member of the view has said of itself, in the order of
// the view; nil while fenced. The slices are valid until the next call into the Core.
func (c *Core) Exposure() (list []Exposure) {
	if c.view == nil {
		return nil
	}
	for i := range c.view.Members {
		p, e := &c.view.Members[i], Exposure{}
		if e.Node = p.ID; c.exposure.at[p.ID] != 0 && c.exposure.lives[p.ID] == p.Incarnation {
			e.At, e.Exposure = c.exposure.at[p.ID], c.exposure.told[p.ID]
		}
		list = append(list, e)
	}
	return list
}

// Replication returns how replication to every other member goes now.
func (c *Core) Replication(now int64) (list []Peer) {
	if c.view == nil {
		return nil
	}
	for i := range c.view.Members {
		m := &c.view.Members[i]
		if m.ID == c.self {
			continue
		}
		p := Peer{Node: m.ID}
		p.Oldest = c.link.Replication(now, m.VTEP, &p.Lags)
		if s, ok := c.link.Stats(m.VTEP); ok {
			p.Queued = s.Lag()
		}
		list = append(list, p)
	}
	return list
}
