package track

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"sync"
	"time"

	"cohort/testenv/icmp"
	"cohort/testenv/netns"
)

// echoID is the ICMP identifier of all probes; a namespace has one Tracker.
const echoID = 0xc0c0

// Config of a Tracker. Zero values take the defaults named here.
type Config struct {
	Interval time.Duration // between two probes of a hop, and what each has to be answered in; 100 ms
	Losses   int           // unanswered probes in a row that withdraw a hop; 3
	Answers  int           // answered probes in a row that return it; 2
}

func (c Config) withDefaults() Config {
	if c.Interval <= 0 {
		c.Interval = 100 * time.Millisecond
	}
	if c.Losses <= 0 {
		c.Losses = 3
	}
	if c.Answers <= 0 {
		c.Answers = 2
	}
	return c
}

// Event is one change of judgement.
type Event struct {
	At    time.Time // when the judgement changed, before OnChange ran
	Hop   int       // index into the hops given to New
	Alive bool
}

// Tracker probes the next hops of one router. A probe that is unanswered after
// the interval counts as lost, and then the next one is sent: a hop that falls
// silent is withdrawn Losses intervals after the first probe that it does not
// answer. A Tracker that a busy machine keeps from running judges later, and
// nobody harder: what was answered meanwhile is in its socket, and what it did
// not send is not missed.
type Tracker struct {
	hops     []netip.Addr
	conn     pinger
	onChange func(Event)

	mu      sync.Mutex // guards what follows
	rounds  *rounds
	events  []Event
	changed chan struct{} // closed and replaced at every event
	judged  chan struct{} // closed and replaced after every round
}

// pinger is the socket of a Tracker, an icmp.Conn.
type pinger interface {
	Send(to netip.Addr, seq uint16, payload []byte) error
	Queued() (r icmp.Reply, ok bool, err error)
	Close() error
}

// New makes a Tracker whose socket lives in the router's namespace. onChange
// is called from Run, one event at a time, and must not wait for the Tracker.
func New(n *netns.Namespace, cfg Config, hops []netip.Addr, onChange func(Event)) (*Tracker, error) {
	conn, err := icmp.Open(n, echoID)
	if err != nil {
		return nil, fmt.Errorf("tracker: %w", err)
	}
	return newTracker(conn, cfg, hops, onChange), nil
}

func newTracker(conn pinger, cfg Config, hops []netip.Addr, onChange func(Event)) *Tracker {
	return &Tracker{
		hops:     hops,
		conn:     conn,
		onChange: onChange,
		rounds:   newRounds(cfg.withDefaults(), len(hops)),
		changed:  make(chan struct{}),
		judged:   make(chan struct{}),
	}
}

// Run probes until the context ends, then closes the socket and returns nil.
// It is called once.
func (t *Tracker) Run(ctx context.Context) error {
	defer t.conn.Close()
	t.probe()
	for t.wait(ctx) {
		if t.judge(t.read()) {
			t.probe()
		}
	}
	return nil
}

// Close releases the socket of a Tracker that is not run. Idempotent.
func (t *Tracker) Close() error { return t.conn.Close() }

// probe sends the next request to every hop. A send that fails (no neighbour,
// no route) is a probe without an answer.
func (t *Tracker) probe() {
	t.mu.Lock()
	seq := t.rounds.begin()
	t.mu.Unlock()
	for _, hop := range t.hops {
		_ = t.conn.Send(hop, seq, nil)
	}
	t.mu.Lock()
	t.rounds.sent(time.Now())
	t.mu.Unlock()
}

// wait returns true when the round is due and false when the context has ended.
func (t *Tracker) wait(ctx context.Context) bool {
	t.mu.Lock()
	due := t.rounds.due()
	t.mu.Unlock()
	timer := time.NewTimer(time.Until(due))
	defer timer.Stop()
	select {
	case <-ctx.Done():
		return false
	case <-timer.C:
		return true
	}
}

// read notes the answers that the socket has, and returns a time before which
// none has come that it did not note: the clock is read first.
func (t *Tracker) read() time.Time {
	at := time.Now()
	for {
		r, ok, err := t.conn.Queued()
		switch {
		case errors.Is(err, net.ErrClosed):
			return at
		case err != nil: // an ICMP error came back for a probe
		case !ok:
			return at
		default:
			t.note(r)
		}
	}
}

func (t *Tracker) note(r icmp.Reply) {
	t.mu.Lock()
	defer t.mu.Unlock()
	for i, hop := range t.hops {
		if hop == r.From {
			t.rounds.answer(i, r.Seq)
		}
	}
}

// judge ends the round if it is due, all answers before read being noted, and
// reports changes. It returns whether the round has ended.
func (t *Tracker) judge(read time.Time) (ended bool) {
	t.mu.Lock()
	changes, ended := t.rounds.judge(read)
	var events []Event
	now := time.Now()
	for _, i := range changes {
		events = append(events, Event{At: now, Hop: i, Alive: t.rounds.states[i].Alive()})
	}
	t.mu.Unlock()
	for _, e := range events {
		t.onChange(e)
	}
	// Recorded after the routes have changed: who waits for an event may rely
	// on them.
	t.mu.Lock()
	defer t.mu.Unlock()
	if len(events) > 0 {
		t.events = append(t.events, events...)
		close(t.changed)
		t.changed = make(chan struct{})
	}
	if ended {
		close(t.judged)
		t.judged = make(chan struct{})
	}
	return ended
}

// Steady blocks until every hop is alive and has answered so many probes in a
// row, all of them sent after the call, that probes lost before it can no
// longer make a difference. Use it after a start: a machine whose firewall is
// about to come up answers first, then falls silent, then answers again.
func (t *Tracker) Steady(ctx context.Context) error {
	t.mu.Lock()
	first := t.rounds.judged + 1 // the round in flight began before the call
	t.mu.Unlock()
	for {
		t.mu.Lock()
		steady := t.rounds.steadySince(first)
		judged := t.judged
		t.mu.Unlock()
		if steady {
			return nil
		}
		select {
		case <-judged:
		case <-ctx.Done():
			return fmt.Errorf("tracker: not all of %d hops answer steadily: %w", len(t.hops), ctx.Err())
		}
	}
}

// Events returns all changes so far, oldest first.
func (t *Tracker) Events() []Event {
	t.mu.Lock()
	defer t.mu.Unlock()
	return append([]Event(nil), t.events...)
}

// Alive returns the present judgement of a hop.
func (t *Tracker) Alive(hop int) bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.rounds.states[hop].Alive()
}

// Wait blocks until a hop is judged so, OnChange included, and returns the
// moment of the change (zero when it has been so from the start).
func (t *Tracker) Wait(ctx context.Context, hop int, alive bool) (time.Time, error) {
	for {
		t.mu.Lock()
		at, now := time.Time{}, true
		for _, e := range t.events {
			if e.Hop == hop {
				at, now = e.At, e.Alive
			}
		}
		changed := t.changed
		t.mu.Unlock()
		if now == alive {
			return at, nil
		}
		select {
		case <-changed:
		case <-ctx.Done():
			return time.Time{}, fmt.Errorf("tracker: hop %d alive=%v: %w", hop, alive, ctx.Err())
		}
	}
}
