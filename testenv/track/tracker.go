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
	Interval time.Duration // between two probes of a hop; 100 ms
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

// Tracker probes the next hops of one router. A probe that is unanswered when
// the next one is due counts as lost.
type Tracker struct {
	cfg      Config
	hops     []netip.Addr
	conn     *icmp.Conn
	onChange func(Event)

	mu       sync.Mutex // guards what follows
	states   []*State
	seq      uint16
	answered []bool // hop's answer to probe seq
	events   []Event
	changed  chan struct{} // closed and replaced at every event
	rounds   int           // of probes judged
	streak   []int         // answered probes of a hop in a row
	judged   chan struct{} // closed and replaced after every round
}

// New makes a Tracker whose socket lives in the router's namespace. onChange
// is called from Run, one event at a time, and must not wait for the Tracker.
func New(n *netns.Namespace, cfg Config, hops []netip.Addr, onChange func(Event)) (*Tracker, error) {
	conn, err := icmp.Open(n, echoID)
	if err != nil {
		return nil, fmt.Errorf("tracker: %w", err)
	}
	t := &Tracker{
		cfg:      cfg.withDefaults(),
		hops:     hops,
		conn:     conn,
		onChange: onChange,
		states:   make([]*State, len(hops)),
		answered: make([]bool, len(hops)),
		changed:  make(chan struct{}),
		streak:   make([]int, len(hops)),
		judged:   make(chan struct{}),
	}
	for i := range t.states {
		t.states[i] = NewState(t.cfg.Losses, t.cfg.Answers)
	}
	return t, nil
}

// Run probes until the context ends, then closes the socket and returns nil
// after its goroutines have ended. It is called once.
func (t *Tracker) Run(ctx context.Context) error {
	var reader sync.WaitGroup
	reader.Go(t.read)
	defer reader.Wait()
	defer t.conn.Close()
	tick := time.NewTicker(t.cfg.Interval)
	defer tick.Stop()
	t.probe()
	for {
		select {
		case <-ctx.Done():
			return nil
		case now := <-tick.C:
			t.judge(now)
			t.probe()
		}
	}
}

// Close releases the socket of a Tracker that is not run. Idempotent.
func (t *Tracker) Close() error { return t.conn.Close() }

// probe sends the next request to every hop. A send that fails (no neighbour,
// no route) is a probe without an answer.
func (t *Tracker) probe() {
	t.mu.Lock()
	t.seq++
	seq := t.seq
	clear(t.answered)
	t.mu.Unlock()
	for _, hop := range t.hops {
		_ = t.conn.Send(hop, seq, nil)
	}
}

// read notes the answers until the socket is closed.
func (t *Tracker) read() {
	for {
		r, err := t.conn.Read()
		if errors.Is(err, net.ErrClosed) {
			return
		}
		if err != nil {
			continue // an ICMP error came back for a probe
		}
		t.mu.Lock()
		for i, hop := range t.hops {
			if hop == r.From && r.Seq == t.seq {
				t.answered[i] = true
			}
		}
		t.mu.Unlock()
	}
}

// judge feeds the fate of the last probes to the states and reports changes.
func (t *Tracker) judge(now time.Time) {
	t.mu.Lock()
	var events []Event
	defer t.endRound()
	for i, s := range t.states {
		t.streak[i]++
		if !t.answered[i] {
			t.streak[i] = 0
		}
		if s.Result(t.answered[i]) {
			events = append(events, Event{At: now, Hop: i, Alive: s.Alive()})
		}
	}
	t.mu.Unlock()
	if len(events) == 0 {
		return
	}
	for _, e := range events {
		t.onChange(e)
	}
	// Recorded after the routes have changed: who waits for an event may rely
	// on them.
	t.mu.Lock()
	t.events = append(t.events, events...)
	close(t.changed)
	t.changed = make(chan struct{})
	t.mu.Unlock()
}

func (t *Tracker) endRound() {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.rounds++
	close(t.judged)
	t.judged = make(chan struct{})
}

// Steady blocks until every hop is alive and has answered so many probes in a
// row, all of them sent after the call, that probes lost before it can no
// longer make a difference. Use it after a start: a machine whose firewall is
// about to come up answers first, then falls silent, then answers again.
func (t *Tracker) Steady(ctx context.Context) error {
	t.mu.Lock()
	first := t.rounds + 1 // the round in flight began before the call
	t.mu.Unlock()
	need := max(t.cfg.Losses, t.cfg.Answers)
	for {
		t.mu.Lock()
		steady := t.rounds-first >= need
		for i, s := range t.states {
			steady = steady && s.Alive() && t.streak[i] >= need
		}
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
	return t.states[hop].Alive()
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
