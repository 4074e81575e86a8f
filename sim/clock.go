package sim

const (
	us     = int64(1e3)
	ms     = int64(1e6)
	second = int64(1e9)
)

// event is something that happens at an instant; seq keeps those of the same
// instant in order of their making.
type event struct {
	at  int64
	seq uint64
	do  func()
}

func (e *event) before(o *event) bool { return e.at < o.at || e.at == o.at && e.seq < o.seq }

// clock is virtual time: it jumps from event to event. The queue is a binary
// heap (container/heap would allocate for every event).
type clock struct {
	now   int64
	seq   uint64
	queue []event
}

// after schedules do.
func (c *clock) after(d int64, do func()) {
	c.seq++
	e := event{at: c.now + max(d, 0), seq: c.seq, do: do}
	c.queue = append(c.queue, e)
	i := len(c.queue) - 1
	for i > 0 {
		up := (i - 1) / 2
		if !e.before(&c.queue[up]) {
			break
		}
		c.queue[i] = c.queue[up]
		i = up
	}
	c.queue[i] = e
}

// pop takes the earliest event.
func (c *clock) pop() event {
	first := c.queue[0]
	n := len(c.queue) - 1
	e := c.queue[n]
	c.queue[n] = event{}
	c.queue = c.queue[:n]
	i := 0
	for {
		down := 2*i + 1
		if down >= n {
			break
		}
		if right := down + 1; right < n && c.queue[right].before(&c.queue[down]) {
			down = right
		}
		if !c.queue[down].before(&e) {
			break
		}
		c.queue[i] = c.queue[down]
		i = down
	}
	if n > 0 {
		c.queue[i] = e
	}
	return first
}

// run executes events until the given instant.
func (c *clock) run(until int64, step func()) {
	for len(c.queue) > 0 && c.queue[0].at <= until {
		e := c.pop()
		c.now = e.at
		e.do()
		step()
	}
	c.now = until
}
