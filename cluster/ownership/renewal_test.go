package ownership

import (
	"testing"

	"cohort/ccl/wire"
	"cohort/flowtable"
	"cohort/packet"
)

// two lets two connections of node 1 be forwarded by node 2: what is said of all that is
// lent to it is said of both.
func two(t *testing.T) (c *cluster, k, other packet.FlowKey, sent *[2]uint64) {
	c = natCluster(t, 1, 2)
	k, other = inside(1, packet.ProtoTCP), inside(2, packet.ProtoTCP)
	c.talk(k, 2)
	c.talk(other, 2)
	sent = new([2]uint64)
	if c.chat(3*second, sent, k, other); !c.delegated(2, k) || !c.delegated(2, other) {
		t.Fatal("not delegated")
	}
	return c, k, other, sent
}

// chat lets d pass while packets of the keys enter at node 2, ten a second, and checks
// throughout that owners know of all that is in force.
func (c *cluster) chat(d int64, sent *[2]uint64, keys ...packet.FlowKey) {
	c.t.Helper()
	for end := c.now + d; c.now < end; c.run(100 * ms) {
		for _, k := range keys {
			c.pass(2, tcp(k, ACK), sent)
		}
		c.wantKnown()
	}
}

func isRevocation(m wire.Message) bool {
	d, ok := m.(*wire.Delegate)
	return ok && d.Op == wire.DelegateRevoke
}

func isLease(m wire.Message, op wire.LeaseOp) bool {
	l, ok := m.(*wire.Lease)
	return ok && l.Op == op
}

func isGrant(m wire.Message) bool {
	d, ok := m.(*wire.Delegate)
	return ok && d.Op == wire.DelegateGrant
}

// revokeAt lets the owner call a connection back.
func (c *cluster) revokeAt(id wire.NodeID, k packet.FlowKey) {
	n := c.nodes[id]
	n.core.revoke(n.table.Lookup(k).Slot())
}

// NT4: a renewal says nothing about single delegations, and one that was revoked is not
// prolonged by it, although the revocation got lost: now the first time it is said, now
// each time, until the clock settles it. Then the others go on.
func TestNT4_DESIGN5_ARenewalProlongsNothingThatWasRevoked(t *testing.T) {
	for name, lost := range map[string]int{"once": 1, "always": 1 << 20} {
		t.Run(name, func(t *testing.T) {
			c, k, other, sent := two(t)
			n := 0
			c.snatch = func(q delivery) bool {
				if isRevocation(q.m) && n < lost {
					n++
					return true
				}
				return false
			}
			c.revokeAt(1, k)
			revoked, grace := c.now, 2600*ms
			if lost == 1 {
				grace = 1500 * ms // it is repeated
			}
			for c.now < revoked+6*second {
				c.chat(100*ms, sent, other)
				if c.delegated(2, k) && c.now > revoked+grace {
					t.Fatalf("in force %d ms after the revocation", (c.now-revoked)/ms)
				}
				if lost == 1 && !c.delegated(2, other) {
					t.Fatalf("one lost revocation cost another connection its lease, after %d ms", (c.now-revoked)/ms)
				}
			}
			if n == 0 {
				t.Fatal("nothing was lost: nothing was tested")
			}
			c.snatch = nil
			c.chat(4*second, sent, k, other)
			if !c.delegated(2, k) || !c.delegated(2, other) {
				t.Error("they do not go on")
			}
			if unrenewed := c.nodes[2].core.Stats().Unrenewed; unrenewed == 0 {
				t.Error("nobody counts the renewals that were of no use")
			}
		})
	}
}

// The same when the owner gives the connection up at once and forgets what it has lent.
func TestNT4_DESIGN5_WhatIsGivenUpIsNotProlonged(t *testing.T) {
	c, k, other, sent := two(t)
	c.snatch = func(q delivery) bool { return isRevocation(q.m) }
	n := c.nodes[1]
	n.core.remove(n.table.Lookup(k).Slot(), true)
	gone := c.now
	for c.now < gone+4*second {
		c.pass(2, tcp(other, ACK), sent)
		ref := c.nodes[2].table.Lookup(k)
		if d, _ := c.nodes[2].table.Delegation(ref.Slot()); d != nil && ref.IsForward() {
			d.Account(flowtable.TickOf(c.now), 60, flowtable.TCPSent{}) // its packets do not end
		}
		c.wantKnown()
		c.run(100 * ms)
	}
	if c.delegated(2, k) {
		t.Error("still in force")
	}
	c.snatch = nil
	c.chat(2*second, sent, other)
	if !c.delegated(2, other) {
		t.Error("the other one does not go on")
	}
}

// An owner counts what it has renewed: for as long as F may forward, whenever the
// answer arrives, and on clocks that differ by an eighth.
func TestNT4_DESIGN5_TheOwnerCountsLongerThanTheLease(t *testing.T) {
	for name, tt := range map[string]struct {
		fast  map[wire.NodeID]int64
		delay int64
	}{
		"at once":         {delay: ms / 10},
		"late":            {delay: 700 * ms},
		"fast owner":      {fast: map[wire.NodeID]int64{1: 120}, delay: ms / 10},
		"slow owner":      {fast: map[wire.NodeID]int64{2: 120}, delay: ms / 10},
		"fast, and late":  {fast: map[wire.NodeID]int64{1: 120}, delay: 700 * ms},
		"slow, and later": {fast: map[wire.NodeID]int64{2: 120}, delay: 1100 * ms},
	} {
		t.Run(name, func(t *testing.T) {
			c := natCluster(t, 1, 2)
			c.fast = tt.fast
			k := inside(1, packet.ProtoTCP)
			c.talk(k, 2)
			var sent [2]uint64
			c.delay = func() int64 { return tt.delay }
			inForce := 0
			for range 100 {
				c.pass(2, tcp(k, ACK), &sent)
				for range 10 {
					inForce += c.wantKnown()
					c.run(10 * ms)
				}
			}
			c.cut(1, 2, func() { // and now nobody hears the other
				for range 400 {
					inForce += c.wantKnown()
					c.run(10 * ms)
				}
			})
			if inForce < 100 || c.delegated(2, k) {
				t.Errorf("in force at %d looks; in the end: %v", inForce, c.delegated(2, k))
			}
		})
	}
}

// An answer of before the newest one prolongs nothing, nor one that was not asked for,
// nor one of another view. One that was does.
func TestDESIGN5_OnlyTheNewestRenewalCounts(t *testing.T) {
	for _, x := range []struct {
		name   string
		change func(m *wire.Lease, asked uint32)
		counts bool
	}{
		{"of now", func(m *wire.Lease, asked uint32) { m.Stamp = asked }, true},
		{"again", func(*wire.Lease, uint32) {}, false},
		{"of tomorrow", func(m *wire.Lease, asked uint32) { m.Stamp = asked + 1000 }, false},
		{"of another view", func(m *wire.Lease, asked uint32) { m.Stamp, m.View = asked, m.View+1 }, false},
		{"before the last", func(m *wire.Lease, _ uint32) { m.Stamp, m.Lease = m.Stamp-1, 1e6 }, false},
		{"of a revocation", func(m *wire.Lease, asked uint32) { m.Stamp, m.Revoked = asked, m.Revoked+1 }, false},
		{"of another process", func(m *wire.Lease, asked uint32) { m.Stamp, m.Process = asked, m.Process+1 }, false},
	} {
		t.Run(x.name, func(t *testing.T) {
			c, k, other, sent := two(t)
			var m wire.Lease
			c.snatch = func(q delivery) bool {
				if isLease(q.m, wire.LeaseRenew) {
					m = *q.m.(*wire.Lease)
				}
				return false
			}
			c.chat(1200*ms, sent, k, other)
			n := c.nodes[2]
			lease := func() uint32 {
				d, _ := n.table.Delegation(n.table.Lookup(k).Slot())
				return d.Lease
			}
			c.snatch = func(q delivery) bool { // nor is a single one renewed: it asks when another process seems to own it
				_, report := q.m.(*wire.Report)
				return report || isLease(q.m, wire.LeaseRenew)
			}
			c.chat(1100*ms, sent, k, other) // what was answered before is written by now
			before := lease()
			x.change(&m, n.core.lenders[1].asked)
			n.core.Message(c.now, 1, &m)
			c.chat(1100*ms, sent, k, other) // a pass of ageing
			if counts := c.delegated(2, k) && lease() != before; counts != x.counts {
				t.Errorf("it prolongs: %v", counts)
			}
			c.snatch = nil
			if c.chat(4*second, sent, k, other); !c.delegated(2, k) {
				t.Error("it does not go on")
			}
		})
	}
}

// A process of the owner renews what it has granted itself. What its forerunner has lent
// it does not know, and takes to be in force for a lease only.
func TestNT4_DESIGN5_AnotherProcessRenewsNothingOfTheFirst(t *testing.T) {
	c, k, other, sent := two(t)
	c.snatch = func(q delivery) bool { // what is said of single delegations
		_, d := q.m.(*wire.Delegate)
		_, r := q.m.(*wire.Report)
		return d || r
	}
	c.rebirth(1)
	n := c.nodes[1]
	n.core.blindTo(flowtable.TickOf(c.now))
	c.chat(4*second, sent, k, other)
	if c.delegated(2, k) {
		t.Error("still in force")
	}
	if l := &c.nodes[2].core.lenders[1]; l.answered == 0 {
		t.Error("it has not answered for anything: nothing was tested")
	}
	c.snatch = nil
	c.chat(4*second, sent, k, other)
	if !c.delegated(2, k) || !c.delegated(2, other) {
		t.Error("they are not lent again")
	}
}

// A forwarder that was restarted has its delegations renewed one by one first, and then
// all together.
func TestDESIGN5_ARestartedForwarderAsksForEachOnce(t *testing.T) {
	c, k, other, sent := two(t)
	c.rebirth(2)
	asked := 0
	c.snatch = func(q delivery) bool {
		if r, ok := q.m.(*wire.Report); ok && r.Op == wire.ReportRenew {
			asked++
		}
		return false
	}
	for range 60 {
		c.stays(2, tcp(k, ACK), sent)
		c.stays(2, tcp(other, ACK), sent)
		c.wantKnown()
		c.run(100 * ms)
	}
	if asked != 2 { // the replies pause: theirs end by themselves
		t.Errorf("%d renewals of single delegations, want one of each of the two", asked)
	}
}

// A grant that is lost leaves an owner who believes that something is lent. It is called
// back, although what else is lent to that node is renewed, and offered again.
func TestDESIGN5_ALostGrantIsCalledBack(t *testing.T) {
	c := natCluster(t, 1, 2)
	k, other := inside(1, packet.ProtoTCP), inside(2, packet.ProtoTCP)
	c.talk(other, 2)
	lost := 0
	c.snatch = func(q delivery) bool {
		if isGrant(q.m) && lost == 0 {
			lost++
			return true
		}
		return false
	}
	var sent [2]uint64
	c.shake(k, &sent)
	c.chat(6*second, &sent, k, other)
	if lost != 1 || !c.delegated(2, k) {
		t.Errorf("%d grants were lost; delegated in the end: %v", lost, c.delegated(2, k))
	}
}

// What the owner counts of one that has been in use for long is new, too: a tick of 26 days
// ago cannot be compared with.
func TestNT4_DESIGN5_WhatIsLentForLongIsCountedFromNow(t *testing.T) {
	c, k, _, sent := two(t)
	c.chat(25*second, sent, k)
	f := c.nodes[1].table.Lookup(k).Slot()
	l := &c.nodes[1].core.lending
	for i := l.first[f]; i != 0; i = l.list[i].next {
		e, now := &l.list[i], c.nodes[1].core.tick()
		if old := flowtable.Since(now, e.until); old > int32(flowtable.TickOf(11*second)) {
			t.Errorf("its own end is %d ticks ago", old)
		}
		return
	}
	t.Fatal("not lent")
}

// An ask that is lost, or its answer, is repeated before a lease can end.
func TestDESIGN5_ALostAskCostsNoLease(t *testing.T) {
	c, k, _, sent := two(t)
	answered := c.now
	c.snatch = func(q delivery) bool {
		if isLease(q.m, wire.LeaseRenew) {
			answered = c.now
		}
		return false
	}
	for at := c.now; answered <= at; c.run(10 * ms) {
	}
	from := answered
	lost := 0
	c.snatch = func(q delivery) bool {
		_, lease := q.m.(*wire.Lease)
		if lease && c.now < from+2200*ms {
			lost++
			return true
		}
		return false
	}
	for range 40 {
		c.stays(2, tcp(k, ACK), sent)
		c.run(100 * ms)
	}
	if lost < 2 {
		t.Errorf("%d messages were lost: nothing was tested", lost)
	}
}

// What is idle ends by itself, although another one goes on between the same nodes.
func TestFR15_DELEGATED_WhatIsIdleIsNotRenewed(t *testing.T) {
	c, k, other, sent := two(t)
	idle := c.now
	for c.delegated(2, k) {
		c.chat(100*ms, sent, other)
		if c.now > idle+5*second {
			t.Fatal("still in force after 5 s without a packet")
		}
	}
	if !c.delegated(2, other) {
		t.Error("so has the other one ended")
	}
	if c.now < idle+2*second {
		t.Errorf("ended after %d ms", (c.now-idle)/ms)
	}
}

// A delegate that dies takes its last words with it. The connection was not idle until
// then, however old its last report.
func TestFR15_DELEGATED_WhoDiesWithoutAWordWasNotIdle(t *testing.T) {
	c := newCluster(t, 1, 2, 3)
	k := inside(1, packet.ProtoUDP)
	reply, sent := c.talk(k, 2)
	report := c.now
	c.snatch = func(q delivery) bool {
		if r, ok := q.m.(*wire.Report); ok && r.Op == wire.ReportUse && r.Key == reply {
			report = c.now
		}
		return false
	}
	for c.now < report+8*second {
		c.stays(2, udp(reply), &sent)
		c.run(100 * ms)
	}
	c.kill(2)
	died := c.now
	c.apply(1, 2, 1, 3)
	c.run(5 * second)
	if at := c.flow(1, k).SeenAt(1); flowtable.Since(flowtable.TickOf(died), at) > int32(flowtable.Ticks(2)) {
		t.Errorf("it was heard last %d ticks before its delegate died", flowtable.Since(flowtable.TickOf(died), at))
	}
	c.wantNoneLent()
}

// Revocations are counted when all before them have been carried out, or are settled:
// also those that came before one that was lost, and where numbers begin anew.
func TestNT4_DESIGN5_RevocationsAreCountedInOrder(t *testing.T) {
	for _, base := range []uint32{0, ^uint32(3)} {
		l := lender{settled: base, newest: base}
		for i, step := range []struct {
			settle        bool
			number, wants uint32
		}{
			{false, 1, 1}, {false, 1, 1}, {false, 3, 1}, {false, 4, 1}, {false, 2, 4}, // the second came late
			{false, 6, 4}, {false, 8, 4}, {true, 4, 4}, {true, 5, 6}, {true, 3, 6}, // the fifth never did
			{false, 7, 8}, {false, 12, 8}, {true, 10, 10}, {false, 9, 10}, {false, 11, 12}, {true, 20, 20},
		} {
			if step.settle {
				l.settle(base + step.number)
			} else {
				l.carried(base + step.number)
			}
			if l.settled != base+step.wants {
				t.Fatalf("from %d, step %d: %d are carried out, want %d", base, i, l.settled-base, step.wants)
			}
		}
		if len(l.early) != 0 || l.newest != base+20 {
			t.Errorf("from %d: %d are kept, the newest is %d", base, len(l.early), l.newest-base)
		}

		b := borrower{revoked: base}
		for i := range uint32(4) {
			b.revoked++
			b.calls = append(b.calls, call{id: uint16(i), until: 100})
		}
		b.call(base + 2).done = true
		if b.settle(10); b.settled() != base {
			t.Errorf("from %d: %d are settled before the first", base, b.settled()-base)
		}
		b.call(base + 1).done = true
		if b.settle(10); b.settled() != base+2 || b.call(base+2) != nil || b.call(base+3).id != 2 || b.call(base+5) != nil {
			t.Errorf("from %d: %d are settled, want two", base, b.settled()-base)
		}
		if b.settle(100); b.settled() != base+4 || b.call(base+4) != nil {
			t.Errorf("from %d: %d are settled when nothing can be in force, want four", base, b.settled()-base)
		}
	}
}

// What was given up is not called back again by ageing. So the renewal that nobody can
// use has it repeated, and the others keep their leases.
func TestNT4_DESIGN5_ALostRevocationOfWhatIsGivenUpIsRepeated(t *testing.T) {
	c, k, other, sent := two(t)
	lost := 0
	c.snatch = func(q delivery) bool {
		if isRevocation(q.m) && q.m.(*wire.Delegate).Key == k && lost == 0 {
			lost++
			return true
		}
		return false
	}
	n := c.nodes[1]
	n.core.remove(n.table.Lookup(k).Slot(), true)
	gone := c.now
	for c.now < gone+5*second {
		c.stays(2, tcp(other, ACK), sent)
		c.wantKnown()
		c.run(100 * ms)
		if c.now > gone+1500*ms && c.delegated(2, k) {
			t.Fatal("still in force")
		}
	}
	if lost != 1 {
		t.Error("nothing was lost: nothing was tested")
	}
}

// A grant that comes after it was revoked begins nothing, although nobody here remembers
// the revocation but by its number.
func TestNT4_DESIGN5_AGrantAfterItsRevocationBeginsNothing(t *testing.T) {
	c := natCluster(t, 1, 2)
	k := inside(1, packet.ProtoTCP)
	var grant *wire.Delegate
	c.snatch = func(q delivery) bool {
		if isGrant(q.m) && grant == nil {
			grant = q.m.(*wire.Delegate)
			return true
		}
		return false
	}
	var sent [2]uint64
	c.shake(k, &sent)
	for grant == nil {
		c.pass(2, tcp(k, ACK), &sent)
		c.run(100 * ms)
	}
	c.revokeAt(1, k)
	c.run(300 * ms)
	if n := len(c.nodes[2].core.ending.list); n != 0 {
		t.Fatalf("%d are ending", n)
	}
	c.nodes[2].core.Message(c.now, 1, grant)
	c.wantKnown()
	if c.delegated(2, k) {
		t.Error("in force")
	}
}
