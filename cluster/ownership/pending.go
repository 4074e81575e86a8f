package ownership

import (
	"cohort/ccl/wire"
	"cohort/cluster/list"
	"cohort/packet"
)

// waitKind is the question that a pending connection waits on.
type waitKind uint8

const (
	waitQuery   waitKind = iota // who owns it?
	waitClaim                   // I would own it
	waitPorts                   // there is no port to translate it with yet
	waitGrant                   // the claim beside its first packet is not answered yet
	waitKept                    // durability sync: the copy is not stored yet
	waitReports                 // delegations of it have to end first
)

// maxAsked bounds how often the answer to one question may lead to the next
// for the same packet (a view that moves under it).
const maxAsked = 16

// holdFragments is what a wait has room for if later fragments are among what it holds:
// the longest datagram on an Ethernet has 45 (FR10).
const holdFragments = 64

// wait is one connection whose packets are held until its director answers.
type wait struct {
	key      packet.FlowKey // canonical
	kind     waitKind
	conn     wire.Conn // waitClaim, waitKept; waitGrant: its keys only
	missing  awaited   // waitKept
	deadline int64
	retryAt  int64 // 0 = not scheduled
	askedAt  int64 // when the question was put first
	held     []Packet
	away     bool           // waitClaim: another node has been asked
	unheard  bool           // ... and may have granted it without this one knowing
	about    packet.FlowKey // waitQuery: the key to ask for
	second   packet.FlowKey // key of the connection that an Alias named; zero = none

	born uint64 // place in the order of arrival
	at   list.Link[wait]
}

// pendingTable keeps waits in order of arrival, so that every walk is
// deterministic.
type pendingTable struct {
	byKey     map[packet.FlowKey]*wait
	byAlias   map[packet.FlowKey]*wait // by the canonical key that an Alias named
	list      list.List[wait]
	free      []*wait
	born      uint64
	held      int
	refused   int // of them
	strangers strangers
	proposal  wire.Conn // of the packet at hand
	hops      [2]uint16 // its next hops: to the responder, to the initiator
}

func (t *pendingTable) init(cfg Config) {
	t.byKey, t.byAlias = make(map[packet.FlowKey]*wait, 1024), map[packet.FlowKey]*wait{}
	t.strangers.of = map[packet.FlowKey]uint32{}
}

func (t *pendingTable) get(k packet.FlowKey) *wait { return t.byKey[k] }

// aliased returns the wait that an Alias has led to the connection of k.
func (t *pendingTable) aliased(k packet.FlowKey) *wait { return t.byAlias[k] }

// alias makes w wait for the connection of key, too; false when another wait does that
// already, with another translation of the same connection.
func (t *pendingTable) alias(w *wait, key packet.FlowKey) bool {
	t.unalias(w)
	k, _ := key.Canonical()
	if t.byAlias[k] != nil {
		return false
	}
	w.second, t.byAlias[k] = key, w
	return true
}

func (t *pendingTable) unalias(w *wait) {
	if w.second == (packet.FlowKey{}) {
		return
	}
	k, _ := w.second.Canonical()
	delete(t.byAlias, k)
	w.second = packet.FlowKey{}
}

func (t *pendingTable) add(k packet.FlowKey, kind waitKind) *wait {
	var w *wait
	if n := len(t.free); n > 0 {
		w, t.free = t.free[n-1], t.free[:n-1]
	} else {
		w = new(wait)
	}
	t.born++
	*w = wait{key: k, kind: kind, held: w.held[:0], born: t.born}
	t.list.Push(&w.at, w)
	t.byKey[k] = w
	return w
}

// take removes a wait from the table; the caller answers its packets and then
// gives it back with recycle.
func (t *pendingTable) take(w *wait) {
	delete(t.byKey, w.key)
	t.unalias(w)
	t.strangers.settled(w)
	t.held -= len(w.held)
	for i := range w.held {
		if w.held[i].refused != ReasonNone {
			t.refused--
		}
	}
	t.list.Remove(&w.at)
}

func (t *pendingTable) recycle(w *wait) { t.free = append(t.free, w) }

// keep puts a packet into a wait.
func (t *pendingTable) keep(w *wait, p *Packet) {
	w.held = append(w.held, *p)
	t.held++
	if p.refused != ReasonNone {
		t.refused++
	}
}

// mayHold shares the room for held packets out, so that a flood of what nobody
// allowed does not keep new connections waiting outside: a quarter at most for
// packets that policy refused, a quarter always for claims of those that have a
// port.
func (c *Core) mayHold(p *Packet, kind waitKind) bool {
	room := c.cfg.MaxHeld
	if kind == waitQuery || kind == waitPorts {
		room -= room / 4
	}
	return c.pending.held < room && (p.refused == ReasonNone || c.pending.refused < c.cfg.MaxHeld/4)
}

// hold adds a packet to a wait.
func (c *Core) hold(w *wait, p *Packet) Verdict {
	room := c.cfg.HoldPerKey
	if p.Kind == KindFragment {
		room = max(room, holdFragments) // those of one datagram come at once
	}
	if len(w.held) >= room || !c.mayHold(p, w.kind) {
		return drop(ReasonHoldLimit)
	}
	c.pending.keep(w, p)
	return Verdict{Op: OpHold}
}

// ask holds p and puts the question to the director of k.
func (c *Core) ask(p *Packet, k packet.FlowKey, kind waitKind, conn *wire.Conn) Verdict {
	return c.askFor(p, k, p.Key, kind, conn)
}

// askAbout holds p and asks who owns about, whose canonical form is k.
func (c *Core) askAbout(p *Packet, k, about packet.FlowKey) Verdict {
	return c.askFor(p, k, about, waitQuery, nil)
}

func (c *Core) askFor(p *Packet, k, about packet.FlowKey, kind waitKind, conn *wire.Conn) Verdict {
	if len(c.pending.byKey) >= c.cfg.MaxPending || !c.mayHold(p, kind) {
		return drop(ReasonHoldLimit)
	}
	if p.asked++; p.asked > maxAsked {
		return drop(ReasonOwnerTimeout)
	}
	w := c.pending.add(k, kind)
	w.about = about
	if conn != nil {
		w.conn = *conn
		c.pending.strangers.claimed(w)
	}
	w.deadline, w.askedAt = c.now+int64(c.cfg.AnswerTimeout), c.now
	c.pending.keep(w, p)
	c.question(w)
	return Verdict{Op: OpHold}
}

// question sends (or repeats) what w waits for. The answer may arrive inside
// the call when this node is the director.
func (c *Core) question(w *wait) {
	w.retryAt = 0
	switch w.kind {
	case waitPorts:
		c.answered(w)
		return
	case waitGrant:
		return // ageing claims again
	case waitKept:
		c.secureAgain(w)
		return
	case waitReports:
		c.settleReports(w)
		return
	}
	key, place := w.about, w.about
	switch {
	case w.kind == waitClaim:
		place, _ = w.conn.Key.Canonical()
	case w.second != (packet.FlowKey{}):
		key = w.second
		place, _ = key.Canonical()
	}
	director := c.director(place)
	var sent bool
	if w.kind == waitClaim {
		c.stats.Claims++
		w.unheard = w.away
		if sent = c.sendClaim(director, 0, &w.conn); sent && director != c.self {
			w.away = true // what the link did not take, nobody grants
		}
	} else {
		c.stats.Queries++
		c.msg.query = wire.Query{Key: key}
		sent = c.send(director, &c.msg.query)
	}
	if !sent {
		c.refuse(w, ReasonLinkBacklog)
	}
}

// retryLater schedules the question again: the director could not answer in
// its present view.
func (c *Core) retryLater(w *wait) { w.retryAt = c.now + int64(c.cfg.TickEvery) }

// answered runs the held packets again, now that the table knows the answer.
func (c *Core) answered(w *wait) {
	c.pending.take(w)
	for i := range w.held {
		p := &w.held[i]
		if v := c.Packet(c.now, p); v.Op != OpHold {
			c.out.Release(p.Handle, v)
		}
	}
	c.done(w)
}

// done gives a wait back that has been taken and answered.
func (c *Core) done(w *wait) {
	if w.kind == waitClaim {
		c.claimed(w)
	}
	c.pending.recycle(w)
}

// refuse drops the held packets and corrects those who sent them here.
func (c *Core) refuse(w *wait, r Reason) {
	if c.pending.get(w.key) != w {
		return // answered meanwhile
	}
	c.pending.take(w)
	if r == ReasonNoConnection && c.beginsBehind(w) {
		return
	}
	for i := range w.held {
		p, why := &w.held[i], r
		if (p.refused == ReasonNATPorts || p.refused == ReasonNATProtocol) && r == ReasonNoConnection {
			// It begins a connection after all: a unit may have come meanwhile, or another
			// node has one that serves.
			p.refused, p.denied = ReasonNone, p.denied+1
			if v := c.Packet(c.now, p); v.Op != OpHold {
				c.out.Release(p.Handle, v)
			}
			continue
		}
		if p.From != 0 {
			c.tellGone(p.From, p.Key)
		}
		if p.refused != ReasonNone && r == ReasonNoConnection {
			why = p.refused
		}
		c.out.Release(p.Handle, drop(why))
	}
	w.unheard = w.away
	c.done(w)
}

// beginsBehind looks for packets that may begin the connection among what is held behind
// a fragment that cannot: on their way from the fragment owner the two may have changed
// places (FR10). If there are any, all are judged anew, once, and those first.
func (c *Core) beginsBehind(w *wait) bool {
	if w.kind != waitQuery || len(w.held) == 0 || w.held[0].Kind != KindFragment {
		return false
	}
	any := false
	for i := range w.held {
		p := &w.held[i]
		any = any || startsConnection(p) && p.refused == ReasonNone && !p.anew
	}
	if !any {
		return false
	}
	for _, first := range [...]bool{true, false} {
		for i := range w.held {
			p := &w.held[i]
			if startsConnection(p) != first {
				continue
			}
			p.anew = true
			if v := c.Packet(c.now, p); v.Op != OpHold {
				c.out.Release(p.Handle, v)
			}
		}
	}
	c.done(w)
	return true
}

// tickPending repeats and expires questions, oldest first. Waits that appear
// during the walk are younger and sit at the end.
func (c *Core) tickPending() {
	for w := c.pending.list.First(); w != nil; {
		next := w.at.Next()
		switch {
		case c.now >= w.deadline && w.kind == waitKept:
			c.expose(w)
		case c.now >= w.deadline && w.kind == waitReports:
			c.answered(w)
		case c.now >= w.deadline:
			c.refuse(w, ReasonOwnerTimeout)
		case w.retryAt != 0 && c.now >= w.retryAt:
			c.question(w)
		}
		if next != nil && c.pending.get(next.key) != next {
			next = c.pending.list.First() // an answer took more than one
		}
		w = next
	}
}

// reaskAll repeats every open question after a change of view.
func (c *Core) reaskAll() {
	for w := c.pending.list.First(); w != nil; w = w.at.Next() {
		w.retryAt = c.now
	}
	c.tickPending()
}
