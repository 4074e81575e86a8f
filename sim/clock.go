package sim

import "container/heap"

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

type eventQueue []event

func (q eventQueue) Len() int { return len(q) }
func (q eventQueue) Less(i, j int) bool {
	return q[i].at < q[j].at || q[i].at == q[j].at && q[i].seq < q[j].seq
}
func (q eventQueue) Swap(i, j int) { q[i], q[j] = q[j], q[i] }
func (q *eventQueue) Push(x any)   { *q = append(*q, x.(event)) }
func (q *eventQueue) Pop() any {
	old := *q
	e := old[len(old)-1]
	old[len(old)-1] = event{}
	*q = old[:len(old)-1]
	return e
}

// clock is virtual time: it jumps from event to event.
type clock struct {
	now   int64
	seq   uint64
	queue eventQueue
}

// after schedules do.
func (c *clock) after(d int64, do func()) {
	c.seq++
	heap.Push(&c.queue, event{at: c.now + max(d, 0), seq: c.seq, do: do})
}

// run executes events until the given instant.
func (c *clock) run(until int64, step func()) {
	for len(c.queue) > 0 && c.queue[0].at <= until {
		e := heap.Pop(&c.queue).(event)
		c.now = e.at
		e.do()
		step()
	}
	c.now = until
}
