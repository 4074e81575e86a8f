package sim

import (
	"cohort/ccl/wire"
	"cohort/cluster/ownership"
	"cohort/packet"
)

// pkt is a packet on its way: what a core sees of it, plus what the frame
// between nodes carries.
type pkt struct {
	ownership.Packet
	conn  *conn
	step  int            // which exchange of the conversation it belongs to
	fault bool           // an ICMP error about the request
	tuple packet.FlowKey // reply: the request's tuple at the server
	reply bool
	from  wire.NodeID // node that forwarded it, 0 = from the wire
	entry wire.NodeID // node where it entered, if that is another
	tag   uint32
	hops  int

	cut      *cutPart // it is a fragment
	labelled bool     // ... whose ports came with it
	label    uint32
}

// conn is one conversation: a client behind one interface, a server behind the
// other. Step 0 opens it, every step is a request and its reply, the last
// one closes it. A TCP client also acknowledges the opening reply.
type conn struct {
	w     *World
	id    int
	key   packet.FlowKey
	in    uint8 // interface that the client is behind
	kind  ownership.Kind
	steps int

	step     int   // the client waits for the reply to this step
	progress int64 // when the last reply arrived
	started  int64
	stall    int64 // longest time between two replies
	opening  int64 // time to the first one, if two were lost on the way: early and strayed
	timer    int   // invalidates older retransmission timers
	early    bool  // a frame of it met a node that had not applied the sender's view yet
	strayed  bool  // an answer to its SYN met a node that had given it up to another (FR14)
	done     bool
	failed   bool
	seen     int    // requests that it has got
	reached  bool   // the responder has got a packet
	exposed  bool   // one left before the copy was stored, with durability sync
	open     bool   // its handshake was over, and its owner sure, when the link was first cut
	excused  string // why losing it is no violation
	sighted  sighting
	idled    bool // its last owner closed it behind a cut, see idle.go

	// tuple is what the server knows the client by: with NAT the mapped one. The
	// first reply that the client gets fixes it.
	tuple packet.FlowKey

	sent bill // what has left, and through whom

	parts map[uint16]*gathered // datagrams that have not arrived whole

	// taken is how much further on the responder believes the initiator's numbers, by
	// what it knows the initiator as: the first SYN says so.
	taken map[packet.FlowKey]uint32

	district *district // nil outside the town
	ruling   ruling    // what its rules say
	refused  Reasons   // why its first packet was dropped, each time it was
	warned   bool      // the server has sent its ICMP error
	errors   int       // ICMP errors that reached the client
}

// giveUp is how long a client repeats a request. It is longer than any
// detection plus takeover, and than a partition.
const giveUp = 12 * second

// patience is giveUp of this run's clients: with Backoff twice that, for they try six
// times only.
func (c *Config) patience() int64 {
	if c.Backoff {
		return 2 * giveUp
	}
	return giveUp
}

func (c *conn) start() {
	c.started, c.progress = c.w.clock.now, c.w.clock.now
	c.send()
}

// send puts the request of the current step on the wire and arms its timer.
func (c *conn) send() {
	w := c.w
	w.enter(c.packet(c.step, false, c.key))
	c.timer++
	timer := c.timer
	again := 150*ms + c.draw(timer<<16, 100*ms)
	if w.cfg.Backoff {
		again = max(again, w.clock.now-c.progress+again/2)
	}
	w.clock.after(again, func() {
		if c.timer != timer || c.done || c.failed {
			return
		}
		if w.clock.now-c.progress > w.cfg.patience() {
			c.failed = true
			if c.idled {
				w.check.excuse(c, "it idled out behind a cut")
			}
			if c.excused == "" && !(c.step == 0 && c.refused != 0 && c.district != nil) {
				w.fail("FR11: connection %d (%v) lost at step %d", c.id, c.key, c.step)
			}
			return
		}
		c.send()
	})
}

// draw returns a number below n for the given purpose: what a client does depends
// on the seed and on the conversation, not on what else happens in the world, so
// that it does the same with one node and with many.
func (c *conn) draw(purpose int, n int64) int64 {
	x := c.w.cfg.Seed*0x9e3779b97f4a7c15 + uint64(c.id)<<40 + uint64(purpose)
	x ^= x >> 30
	x *= 0xbf58476d1ce4e5b9
	x ^= x >> 27
	x *= 0x94d049bb133111eb
	return int64((x ^ x>>31) % uint64(n))
}

// packet makes a request, or the server's reply to the request that came as
// tuple.
func (c *conn) packet(step int, reply bool, tuple packet.FlowKey) pkt {
	p := pkt{conn: c, step: step, reply: reply, tuple: tuple}
	p.Packet = ownership.Packet{Key: c.key, Kind: c.kind, In: c.in, Len: 100, Window: 500, WScale: 7}
	if reply {
		p.Key, p.In = tuple.Reverse(), inside+outside-c.in
		if c.kind == ownership.KindICMPQuery {
			p.Kind = ownership.KindICMPResponse
		}
	}
	if c.kind == ownership.KindTCP {
		p.Seq, p.Ack, p.SeqLen = uint32(1000+100*step), uint32(1000+100*step), 100
		if step == 0 {
			p.SeqLen = 1
		}
		if reply {
			p.Ack = p.Seq + p.SeqLen
		}
		switch {
		case step == 0 && reply:
			p.Flags = ownership.SYN | ownership.ACK
		case step == 0:
			p.Flags = ownership.SYN
		case step == c.steps-1:
			p.Flags = ownership.FIN | ownership.ACK
		default:
			p.Flags = ownership.ACK
		}
	}
	return p
}

// arrived is a packet that left the cluster towards its receiver.
func (c *conn) arrived(p pkt, as packet.FlowKey) {
	w := c.w
	if p.cut != nil {
		whole, ok := c.gather(p, as)
		if !ok {
			return
		}
		p = whole
	}
	if p.fault {
		if c.errors++; as != c.key.Reverse() {
			w.fail("NT9: connection %d got an ICMP error about %v", c.id, as.Reverse())
		}
		return
	}
	if !p.reply {
		taken, ok := c.take(&p, as)
		if !ok {
			c.challenge(as, taken)
			return
		}
		if !c.reached || p.step >= c.seen {
			c.reached, c.seen = true, p.step+1
			w.reached(c)
		}
		w.check.ruled(c, as)
		if c.tuple != (packet.FlowKey{}) && as != c.tuple && c.moved(p, as) {
			return
		}
		answer := c.packet(p.step, true, as)
		answer.Ack += taken
		w.clock.after(200*us, func() { w.enter(answer) })
		if p.step == 1 && !c.warned && c.district != nil && c.district.errs {
			c.warned = true
			e := c.packet(1, true, as)
			e.Kind, e.fault = ownership.KindICMPError, true
			w.clock.after(ms, func() { w.enter(e) })
		}
		return
	}
	if as != c.key.Reverse() {
		w.fail("NT: connection %d got a reply as %v", c.id, as)
	}
	if p.step != c.step || c.done || c.failed {
		return
	}
	if c.kind == ownership.KindTCP && p.Ack != c.packet(p.step, true, p.tuple).Ack {
		return // of what the client never sent; it repeats its request
	}
	if c.tuple == (packet.FlowKey{}) || c.kind != ownership.KindTCP {
		c.tuple = p.tuple
	}
	if wait := w.clock.now - c.progress; c.step > 0 || !c.early || !c.strayed {
		c.stall = max(c.stall, wait)
	} else {
		c.opening = wait
	}
	c.progress = w.clock.now
	c.step++
	if c.step == c.steps {
		c.done = true
		return
	}
	c.timer++
	think := w.cfg.Think
	if w.cfg.Backoff && c.step == 1 {
		think /= 10 // it has something to ask when it connects
	}
	w.clock.after(c.draw(c.step, think), func() {
		if !c.done && !c.failed {
			c.progress = w.clock.now
			c.send()
		}
	})
}

// shift is what happens to sequence numbers on the way out (packet.ShiftSequence).
func (p *pkt) shift(seq, ack uint32) {
	if p.Kind != ownership.KindTCP {
		return
	}
	p.Seq += seq
	if p.Flags&ownership.ACK != 0 {
		p.Ack += ack
	}
}

// take compares a request's sequence number with those before. The first SYN decides;
// another one is answered as the first while the handshake is not over, as a
// responder repeats its SYN-ACK. What is not from where the client is is ignored.
func (c *conn) take(p *pkt, as packet.FlowKey) (taken uint32, ok bool) {
	if c.kind != ownership.KindTCP {
		return 0, true
	}
	by := p.Seq - c.packet(p.step, false, c.key).Seq
	taken, known := c.taken[as]
	if !known {
		if c.taken == nil {
			c.taken = map[packet.FlowKey]uint32{}
		}
		c.taken[as], taken = by, by
	}
	return taken, by == taken || p.step == 0
}

// challenge answers what is outside the window with what the responder has got so far
// (RFC 9293, 3.10.7.4).
func (c *conn) challenge(as packet.FlowKey, taken uint32) {
	last := c.packet(max(c.seen-1, 0), false, c.key)
	p := c.packet(c.steps, true, as)
	p.Seq, p.Ack, p.SeqLen, p.Flags = last.Seq+last.SeqLen, last.Seq+last.SeqLen+taken, 0, ownership.ACK
	c.w.clock.after(200*us, func() { c.w.enter(p) })
}

// moved is a request that the server does not recognise: it came from another
// address or port than those before. A TCP server ignores it, or resets it.
func (c *conn) moved(p pkt, as packet.FlowKey) (ignored bool) {
	if c.kind == ownership.KindTCP && p.step == 0 {
		return true // a late copy of the SYN: a connection that nobody completes
	}
	if c.excused == "" && !c.done {
		c.w.fail("NT5: connection %d changed its mapping from %v to %v", c.id, c.tuple, as)
	}
	return c.kind == ownership.KindTCP
}
