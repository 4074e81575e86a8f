package reliable

import (
	"encoding/binary"
	"errors"
	"math/rand"
	"net/netip"
	"testing"

	"pgregory.net/rapid"

	"cohort/ccl/wire"
)

// network is two ends and a link that loses, repeats and reorders, in virtual
// time.
type network struct {
	now   int64
	rnd   *rand.Rand
	loss  float64
	dup   float64
	delay func() int64
	ends  [2]*end
	air   []flying
}

type flying struct {
	at int64
	to int
	b  []byte
}

type end struct {
	*Channel
	got    []uint32
	resets int
	next   int64
	dec    wire.Decoder
}

// newEra ends what one instance received: order is promised within it.
func (e *end) newEra() {
	for i := 1; i < len(e.got); i++ {
		if e.got[i] <= e.got[i-1] {
			panic("out of order within one instance")
		}
	}
	e.got = nil
}

func newNetwork(seed int64, cfg Config) *network {
	n := &network{rnd: rand.New(rand.NewSource(seed))}
	n.delay = func() int64 { return 50_000 }
	instance := uint32(n.rnd.Int31())
	for i := range n.ends {
		e := &end{next: never}
		c := cfg
		if c.Payload == 0 {
			c.Payload = 200
		}
		c.Kind = 3
		c.NewInstance = func() uint32 { instance++; return instance }
		c.Reset = func() { e.resets++; e.newEra() }
		c.Deliver = func(batch []byte) {
			err := e.dec.Batch(netip.Addr{}, batch, wire.HandlerFunc(func(_ netip.Addr, m wire.Message) {
				e.got = append(e.got, m.(wire.Synced).View)
			}))
			if err != nil {
				panic(err)
			}
		}
		c.Emit = func(b []byte) { n.throw(1-i, b) }
		e.Channel = New(c)
		n.ends[i] = e
	}
	return n
}

func (n *network) throw(to int, b []byte) {
	copies := 1
	if n.rnd.Float64() < n.dup {
		copies = 2
	}
	for range copies {
		if n.rnd.Float64() >= n.loss {
			n.air = append(n.air, flying{n.now + n.delay(), to, append([]byte(nil), b...)})
		}
	}
}

// flush lets both ends send and run their timers.
func (n *network) flush() {
	for _, e := range n.ends {
		e.next = e.Tick(n.now)
	}
}

// step goes to the next event; false when nothing will ever happen again.
func (n *network) step() bool {
	at := min(n.ends[0].next, n.ends[1].next)
	for _, f := range n.air {
		at = min(at, f.at)
	}
	if at == never {
		return false
	}
	n.now = max(n.now, at)
	rest := n.air[:0:0]
	var arrived []flying
	for _, f := range n.air {
		if f.at <= n.now {
			arrived = append(arrived, f)
		} else {
			rest = append(rest, f)
		}
	}
	n.air = rest
	for _, f := range arrived {
		if err := n.ends[f.to].Receive(n.now, f.b); err != nil {
			panic(err)
		}
	}
	n.flush()
	return true
}

func (n *network) run(t fataler, until func() bool) {
	t.Helper()
	n.flush()
	for limit := n.now + 60e9; !until(); {
		if !n.step() || n.now > limit {
			t.Fatalf("wedged at %d ns: %+v / %+v", n.now, n.ends[0].Stats(), n.ends[1].Stats())
		}
	}
}

type fataler interface {
	Helper()
	Fatalf(string, ...any)
}

func inOrder(t fataler, got []uint32, count int) {
	t.Helper()
	if len(got) != count {
		t.Fatalf("delivered %d messages of %d", len(got), count)
	}
	for i, v := range got {
		if v != uint32(i) {
			t.Fatalf("message %d arrived as number %d", v, i)
		}
	}
}

// Whatever the link does, messages arrive in order, once, and all of them.
func TestCL6OrderedExactlyOnceUnderLossReorderAndDuplication(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		n := newNetwork(rapid.Int64().Draw(t, "seed"), Config{Pace: rapid.SampledFrom([]int64{0, 300_000, 3_000_000}).Draw(t, "pace"), Linger: rapid.SampledFrom([]int64{0, 50_000_000}).Draw(t, "linger")})
		n.loss = rapid.Float64Range(0, 0.4).Draw(t, "loss")
		n.dup = rapid.Float64Range(0, 0.3).Draw(t, "dup")
		jitter := rapid.Int64Range(1, 5e6).Draw(t, "jitter")
		n.delay = func() int64 { return 20_000 + n.rnd.Int63n(jitter) }
		var sent [2]int
		for range rapid.IntRange(1, 40).Draw(t, "bursts") {
			i := rapid.IntRange(0, 1).Draw(t, "from")
			for range rapid.IntRange(1, 150).Draw(t, "burst") {
				send := n.ends[i].Send
				if rapid.Bool().Draw(t, "later") {
					send = n.ends[i].SendLater
				}
				if err := send(wire.Synced{View: uint32(sent[i])}); err != nil {
					t.Fatalf("%v", err)
				}
				sent[i]++
			}
			n.flush()
			for range rapid.IntRange(0, 5).Draw(t, "steps") {
				n.step()
			}
		}
		n.run(t, func() bool { return len(n.ends[0].got) == sent[1] && len(n.ends[1].got) == sent[0] })
		inOrder(t, n.ends[0].got, sent[1])
		inOrder(t, n.ends[1].got, sent[0])
		n.run(t, func() bool { return n.ends[0].Stats().UnackedMessages+n.ends[1].Stats().UnackedMessages == 0 })
		for _, e := range n.ends {
			if s := e.Stats(); s.UnackedBytes != 0 || s.Segments != 0 || e.resets != 0 {
				t.Fatalf("left behind: %+v, resets %d", s, e.resets)
			}
		}
		for n.step() { // and then there is silence
			if n.now > 120e9 {
				t.Fatalf("the ends never fall silent")
			}
		}
	})
}

// Whichever end starts over, at any moment: no wedge, no reset storm, and what
// arrives in one instance is a prefix, in order.
func TestRestartOfEitherEndNeverWedges(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		n := newNetwork(rapid.Int64().Draw(t, "seed"), Config{Pace: rapid.SampledFrom([]int64{0, 300_000, 3_000_000}).Draw(t, "pace")})
		n.loss = rapid.Float64Range(0, 0.3).Draw(t, "loss")
		n.delay = func() int64 { return 20_000 + n.rnd.Int63n(2e6) }
		restarts := rapid.IntRange(1, 6).Draw(t, "restarts")
		serial := uint32(0)
		for range restarts {
			for range rapid.IntRange(0, 60).Draw(t, "steps") {
				serial++
				_ = n.ends[rapid.IntRange(0, 1).Draw(t, "from")].Send(wire.Synced{View: serial})
				n.flush()
				n.step()
			}
			who := n.ends[rapid.IntRange(0, 1).Draw(t, "who")]
			who.Restart()
			who.newEra()
		}
		// Let both say something, so that they find each other, then count.
		n.loss = 0
		for _, e := range n.ends {
			_ = e.Send(wire.Synced{View: 1 << 30}) // larger than all before
		}
		n.run(t, func() bool { return len(n.air) == 0 && n.ends[0].messages+n.ends[1].messages == 0 })
		for _, e := range n.ends {
			e.newEra()
			for i := range 100 {
				if err := e.Send(wire.Synced{View: uint32(i)}); err != nil {
					t.Fatalf("%v", err)
				}
			}
		}
		n.run(t, func() bool { return n.ends[0].messages+n.ends[1].messages == 0 })
		inOrder(t, n.ends[0].got, 100)
		inOrder(t, n.ends[1].got, 100)
		if r := n.ends[0].resets + n.ends[1].resets; r > restarts {
			t.Fatalf("%d restarts made %d more resets", restarts, r)
		}
	})
}

func TestCL7MessagesShareSegments(t *testing.T) {
	n := newNetwork(1, Config{Payload: 1000})
	for i := range 270 { // seven bytes each
		if err := n.ends[0].Send(wire.Synced{View: uint32(i)}); err != nil {
			t.Fatal(err)
		}
	}
	n.run(t, func() bool { return len(n.ends[1].got) == 270 })
	if s := n.ends[0].Stats(); s.SentSegments != 2 {
		t.Errorf("1890 bytes took %d segments of 1000: %+v", s.SentSegments, s)
	}
}

func TestCL7FullQueueRefusesAndMemoryStaysBounded(t *testing.T) {
	n := newNetwork(1, Config{Payload: 1000, QueueBytes: 10_000})
	n.loss = 1
	refused := 0
	for i := range 20_000 {
		if err := n.ends[0].Send(wire.Synced{View: uint32(i)}); errors.Is(err, ErrBacklog) {
			refused++
		} else if refused > 0 || err != nil {
			t.Fatalf("message %d after %d refusals: %v", i, refused, err)
		}
		if i%7 == 0 {
			n.flush()
			n.now += 1e5
		}
	}
	s := n.ends[0].Stats()
	if s.UnackedBytes > 10_006 || s.Segments > Window+12 || s.InFlight > Window {
		t.Errorf("queue grew beyond its bound: %+v", s)
	}
	if uint64(refused) != s.Backlogs || refused == 0 {
		t.Errorf("%d refused, %d counted", refused, s.Backlogs)
	}
	n.loss = 0
	n.run(t, func() bool { return n.ends[0].messages == 0 })
	inOrder(t, n.ends[1].got, 20_000-refused)
}

func TestLossIsRepairedByTheBitmapBeforeTheTimer(t *testing.T) {
	n := newNetwork(1, Config{})
	send := func(v int) {
		if err := n.ends[0].Send(wire.Synced{View: uint32(v)}); err != nil {
			t.Fatal(err)
		}
		n.flush()
	}
	send(0)
	n.run(t, func() bool { return n.ends[0].messages == 0 })
	n.loss = 1
	send(1)
	n.loss = 0
	for i := 2; i < 6; i++ {
		send(i)
	}
	began := n.now
	n.run(t, func() bool { return len(n.ends[1].got) == 6 })
	if s := n.ends[0].Stats(); s.Timeouts != 0 || s.Retransmits != 1 || n.now-began > 1e6 {
		t.Errorf("repaired after %d ns: %+v", n.now-began, s)
	}
}

func TestTimeoutIsBetween5And500Milliseconds(t *testing.T) {
	n := newNetwork(1, Config{})
	if err := n.ends[0].Send(wire.Synced{}); err != nil {
		t.Fatal(err)
	}
	n.run(t, func() bool { return n.ends[0].messages == 0 })
	n.loss = 1
	if err := n.ends[0].Send(wire.Synced{View: 1}); err != nil {
		t.Fatal(err)
	}
	n.flush()
	last := n.now
	for i := range 12 {
		n.now = n.ends[0].next
		n.flush()
		gap := n.now - last
		last = n.now
		if gap < 5e6 || gap > 500e6 || i >= 7 && gap != 500e6 {
			t.Errorf("timeout %d after %d ns", i, gap)
		}
	}
	if s := n.ends[0].Stats(); s.Timeouts != 12 || s.Retransmits != 12 {
		t.Errorf("%+v", s)
	}
}

func TestAcknowledgementWaitsAtMostAMillisecondAndRidesOnData(t *testing.T) {
	n := newNetwork(1, Config{})
	if err := n.ends[0].Send(wire.Synced{}); err != nil {
		t.Fatal(err)
	}
	n.flush()
	n.step()
	if e := n.ends[1]; len(e.got) != 1 || e.Stats().SentSegments != 0 || e.next != n.now+1e6 {
		t.Fatalf("got %d, sent %d, next tick in %d ns", len(e.got), e.Stats().SentSegments, e.next-n.now)
	}
	if err := n.ends[1].Send(wire.Synced{}); err != nil {
		t.Fatal(err)
	}
	n.flush()
	n.step()
	if n.ends[0].messages != 0 || n.ends[1].Stats().SentSegments != 1 {
		t.Error("the data did not carry the acknowledgement")
	}
}

func TestTooLargeMessageIsRefusedAndHarmsNothing(t *testing.T) {
	n := newNetwork(1, Config{Payload: 100})
	big := wire.JoinRefused{Reason: string(make([]byte, 90))}
	for i := range 3 {
		if err := n.ends[0].Send(big); !errors.Is(err, ErrTooLarge) {
			t.Fatal(err)
		}
		if err := n.ends[0].Send(wire.Synced{View: uint32(i)}); err != nil {
			t.Fatal(err)
		}
	}
	n.run(t, func() bool { return n.ends[0].messages == 0 })
	inOrder(t, n.ends[1].got, 3)
}

func TestMalformedSegmentsAreRefused(t *testing.T) {
	n := newNetwork(1, Config{})
	ack := make([]byte, 13)
	binary.BigEndian.PutUint32(ack[1:], 1)
	for _, b := range [][]byte{nil, {3}, make([]byte, 12), make([]byte, 13), append([]byte{3 | flagSack}, make([]byte, 15)...),
		append([]byte{3 | flagData}, make([]byte, 15)...), append([]byte{3 | 0x40}, ack[1:]...), append(ack[:13:13], 1)} {
		if err := n.ends[0].Receive(0, b); !errors.Is(err, ErrMalformed) {
			t.Errorf("%x: %v", b, err)
		}
	}
}

// Numbers on the wire wrap; nothing else does.
func TestExpandFollowsTheWrap(t *testing.T) {
	for _, base := range []uint64{1, 1 << 31, 1<<32 - 3, 1 << 32, 1<<33 + 5} {
		for d := int64(-100); d <= 100; d++ {
			want := uint64(int64(base) + d)
			if int64(want) < 0 {
				continue
			}
			if got := expand(base, uint32(want)); got != want {
				t.Fatalf("expand(%d, low of %d) = %d", base, want, got)
			}
		}
	}
}

func TestSteadyStateDoesNotAllocate(t *testing.T) {
	var a, b *Channel
	instance := uint32(0)
	var toA, toB [][]byte
	mk := func(out *[][]byte) *Channel {
		return New(Config{
			Kind: 1, Payload: 1500, Deliver: func([]byte) {},
			NewInstance: func() uint32 { instance++; return instance },
			Emit: func(s []byte) {
				n := len(*out)
				if n < cap(*out) {
					*out = (*out)[:n+1]
					(*out)[n] = append((*out)[n][:0], s...)
				} else {
					*out = append(*out, append(make([]byte, 0, 2000), s...))
				}
			},
		})
	}
	a, b = mk(&toB), mk(&toA)
	now := int64(0)
	round := func() {
		for i := range 200 {
			if err := a.Send(wire.Synced{View: uint32(i)}); err != nil {
				t.Fatal(err)
			}
		}
		a.Flush(now)
		for _, s := range toB {
			_ = b.Receive(now, s)
		}
		toB = toB[:0]
		now += 1e6
		b.Flush(now)
		for _, s := range toA {
			_ = a.Receive(now, s)
		}
		toA = toA[:0]
	}
	if n := testing.AllocsPerRun(200, round); n > 0.1 {
		t.Errorf("%v allocations for 200 messages there and their acknowledgement", n)
	}
	if a.messages != 0 {
		t.Errorf("%d messages left", a.messages)
	}
}

// TestPaceGathersUnderLoadAndNeverWaitsIdle: after a silence a message leaves with
// the Flush behind it; messages that follow within Pace share a segment, which
// leaves when it is full or Pace is over, whichever comes first.
func TestPaceGathersUnderLoadAndNeverWaitsIdle(t *testing.T) {
	const pace = int64(500_000)
	sent := 0
	c := New(Config{
		Kind: 1, Payload: 1000, Pace: pace, NewInstance: func() uint32 { return 7 },
		Emit: func([]byte) { sent++ }, Deliver: func([]byte) {},
	})
	at := int64(1e9)
	say := func(n int, now int64, want int, due int64) {
		t.Helper()
		for range n {
			if err := c.Send(wire.Synced{View: 1}); err != nil {
				t.Fatal(err)
			}
		}
		sent = 0
		c.Flush(now)
		if sent != want || c.Due() != due {
			t.Errorf("at %d ns: %d segments and due in %d, want %d and %d", now-at, sent, c.Due()-at, want, due-at)
		}
	}
	say(0, at, 0, never)
	say(1, at, 1, never) // nothing left for long: at once
	say(1, at+1, 0, at+pace)
	say(5, at+pace-1, 0, at+pace)
	if next := c.Tick(at + pace - 1); next != at+pace {
		t.Errorf("Tick wants to be called in %d, want %d", next-at, pace)
	}
	say(0, at+pace, 1, never)           // all six together
	say(400, at+pace+1, 2, at+2*pace+1) // two are full and do not wait; what is left over does, from then on
	say(0, at+2*pace+1, 1, never)       // the rest
	say(1, at+4*pace, 1, never)         // a silence again
	say(1, at+4*pace+1, 0, at+5*pace)   // and load
	c.Hurry()
	say(0, at+4*pace+2, 1, never) // but not when nothing may follow
	say(1, at+4*pace+3, 0, at+5*pace+2)
	c.Restart()
	if c.Due() != never {
		t.Error("something of a former instance is due")
	}
}

// TestCL8_WhatNobodyWaitsForLeavesWithWhatComesNext: a message of SendLater leaves with
// one of Send, in order, with a full segment, and when Linger is over, whichever comes
// first. Until it leaves, it is no replication lag (MG9).
func TestCL8_WhatNobodyWaitsForLeavesWithWhatComesNext(t *testing.T) {
	const linger = int64(50e6)
	sent := 0
	c := New(Config{
		Kind: 1, Payload: 1000, Linger: linger, NewInstance: func() uint32 { return 7 },
		Emit: func([]byte) { sent++ }, Deliver: func([]byte) {},
	})
	at := int64(1e9)
	say := func(later, now int, when int64, want int, due int64) {
		t.Helper()
		for i := range later + now {
			send := c.SendLater
			if i >= later {
				send = c.Send
			}
			if err := send(wire.Synced{View: 1}); err != nil {
				t.Fatal(err)
			}
		}
		sent = 0
		c.Flush(when)
		if sent != want || c.Due() != due {
			t.Errorf("at %d ns: %d segments and due in %d, want %d and %d", when-at, sent, c.Due()-at, want, due-at)
		}
	}
	say(1, 0, at, 0, at+linger)
	if w := c.Waiting(at + linger - 1); w != 0 {
		t.Errorf("waits for %d ns, although nobody does", w)
	}
	say(3, 0, at+linger-1, 0, at+linger)
	say(0, 0, at+linger, 1, never)
	if w := c.Waiting(at + linger + 5); w != 5 {
		t.Errorf("what has left waits for %d ns, want 5", w)
	}
	say(2, 1, at+2*linger, 1, never) // with what comes next
	say(1, 0, at+2*linger, 0, at+3*linger)
	say(0, 1, at+2*linger+1, 1, never) // at once
	say(400, 0, at+3*linger, 2, at+4*linger)
	c.Hurry()
	say(0, 0, at+3*linger+1, 1, never) // when nothing may follow
	if s := c.Stats(); s.SentMessages != 409 || s.UnackedMessages != 409 {
		t.Errorf("%+v", s)
	}
}

func FuzzReceive(f *testing.F) {
	f.Add(make([]byte, 40))
	f.Add([]byte{0x33, 0, 0, 0, 9, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 3, 0, 0, 0, 5, 9, 4, 0, 0, 0, 1})
	f.Fuzz(func(t *testing.T, b []byte) {
		n := newNetwork(1, Config{})
		n.ends[0].cfg.Deliver = func([]byte) {}
		for i := range 20 {
			_ = n.ends[0].Send(wire.Synced{View: uint32(i)})
			n.ends[0].Flush(int64(i))
		}
		for len(b) > 0 {
			k := min(len(b), 1+int(b[0])%64)
			if k > 9 {
				binary.BigEndian.PutUint32(b[5:], n.ends[0].self)
			}
			_ = n.ends[0].Receive(1e6, b[:k])
			n.ends[0].Tick(1e9)
			b = b[k:]
		}
	})
}
