package ownership

import (
	"cohort/ccl/wire"
	"cohort/cluster/list"
	"cohort/packet"
)

// ask is a question that this director cannot answer yet.
type ask struct {
	from  wire.NodeID
	claim bool
	conn  wire.Conn // of a query only the key
	heard uint32    // newest view that the asker had said it applied
}

// spot holds the questions about one connection.
type spot struct {
	key      packet.FlowKey // canonical
	asks     []ask
	deadline int64

	at list.Link[spot]
}

// parkedTable keeps spots in order of arrival: the walk is deterministic and
// the oldest expire first.
type parkedTable struct {
	byKey map[packet.FlowKey]*spot
	list  list.List[spot]
	free  []*spot
}

func (t *parkedTable) init(cfg Config) { t.byKey = make(map[packet.FlowKey]*spot, 256) }

func (t *parkedTable) add(k packet.FlowKey) *spot {
	var s *spot
	if n := len(t.free); n > 0 {
		s, t.free = t.free[n-1], t.free[:n-1]
	} else {
		s = new(spot)
	}
	*s = spot{key: k, asks: s.asks[:0]}
	t.list.Push(&s.at, s)
	t.byKey[k] = s
	return s
}

func (t *parkedTable) take(s *spot) {
	delete(t.byKey, s.key)
	t.list.Remove(&s.at)
}

// park keeps a question open until its connection is registered, the owners
// have re-registered, or time is up.
func (c *Core) park(k packet.FlowKey, a ask) {
	s := c.parked.byKey[k]
	if s == nil {
		if len(c.parked.byKey) >= c.cfg.MaxParked {
			c.giveUp(&a)
			return
		}
		s = c.parked.add(k)
		s.deadline = c.now + int64(c.cfg.ParkTime)
		if !c.complete(k) {
			s.deadline = max(s.deadline, c.sync.deadline)
		}
	}
	a.heard = c.sync.applied[a.from]
	for i := range s.asks {
		if s.asks[i].from == a.from && s.asks[i].claim == a.claim {
			s.asks[i] = a // the same question again
			return
		}
	}
	c.stats.Parked++
	s.asks = append(s.asks, a)
}

// unpark asks the questions about k again: there is an answer now.
func (c *Core) unpark(k packet.FlowKey) {
	if s := c.parked.byKey[k]; s != nil {
		c.reopen(s)
	}
}

// reopen takes a spot and puts its questions again.
func (c *Core) reopen(s *spot) {
	c.parked.take(s)
	for i := range s.asks {
		switch a := s.asks[i]; {
		case c.outdated(&a):
			c.giveUp(&a)
		case a.claim:
			c.onClaim(a.from, a.conn, false, 0)
		default:
			c.onQuery(a.from, a.conn.Key)
		}
	}
	c.parked.free = append(c.parked.free, s)
}

// outdated reports whether a claim is from before the claimant applied the present view.
// It repeats those that are open then, or soon (reaskAll, registerFlows, ageing); this one
// it may have given up, for another owner that it found. Were it granted the connection,
// who has claimed it since would give way to nobody.
func (c *Core) outdated(a *ask) bool {
	return a.claim && a.from != c.self && a.heard != c.view.Tag()
}

// giveUp answers what nobody registered: a query gets "nobody"; a claim is
// told to come again, for only a settled director may invent an owner.
func (c *Core) giveUp(a *ask) {
	if a.claim {
		c.redirect(a.from, a.conn.Key, wire.OwnerRetry, 0)
		return
	}
	c.answer(a.from, a.conn.Key, 0, 0)
}

// tickParked expires questions, oldest first. While owners re-register, a
// question about what may have moved waits longer than a younger one.
func (c *Core) tickParked() {
	for s := c.parked.list.First(); s != nil; {
		next := s.at.Next()
		if c.now >= s.deadline {
			c.parked.take(s)
			for i := range s.asks {
				c.giveUp(&s.asks[i])
			}
			c.parked.free = append(c.parked.free, s)
		} else if c.sync.waiting == 0 {
			return
		}
		if next != nil && c.parked.byKey[next.key] != next {
			next = c.parked.list.First()
		}
		s = next
	}
}

// hurryParked shortens the wait of questions that waited for the owners'
// re-registration: from now on only a claim on its way can answer them.
func (c *Core) hurryParked() {
	for s := c.parked.list.First(); s != nil; s = s.at.Next() {
		s.deadline = min(s.deadline, c.now+int64(c.cfg.ParkTime))
	}
}

// reopenClaims puts again the claims that waited for re-registration, and what
// is asked about connections that are known.
func (c *Core) reopenClaims() {
	for s := c.parked.list.First(); s != nil; {
		next := s.at.Next()
		for i := range s.asks {
			if _, known := c.dir.Get(s.key); known || s.asks[i].claim {
				c.reopen(s)
				break
			}
		}
		if next != nil && c.parked.byKey[next.key] != next {
			next = c.parked.list.First()
		}
		s = next
	}
}
