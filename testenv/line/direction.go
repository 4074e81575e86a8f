package line

import (
	"container/heap"
	"encoding/binary"
	"math/rand/v2"
)

const (
	etherHeader = 14
	classes     = 8
	second      = int64(1e9)
)

// frame is one that is on its way.
type frame struct {
	b   []byte
	nth uint64 // of those that entered
	due int64
	put uint64 // order of equal times
	// Drawn when it entered, so that queues do not change the draws.
	jitter [2]int64
	twice  bool
}

// direction decides about frames: offer puts one in, next tells when the next
// comes out, take takes it. All times are nanoseconds of one monotonic clock.
// One goroutine.
type direction struct {
	fault Fault
	since int64 // of Set
	rnd   *rand.Rand

	queues [classes][]frame // of the rate
	free   int64            // when the rate lets the next frame begin

	flying frames
	puts   uint64
	newest uint64 // highest nth delivered
	count  Counters
}

func newDirection(seed uint64) *direction {
	return &direction{rnd: rand.New(rand.NewPCG(seed, 0x6c696e65))}
}

// set changes the fault. What is on its way stays on it.
func (d *direction) set(now int64, f Fault) { d.fault, d.since = f, now }

// offer takes a frame that enters; b is kept.
func (d *direction) offer(now int64, b []byte) {
	f := &d.fault
	d.count.Frames++
	// Always the same number of draws: one frame's fate is no other's.
	lost, twice := d.rnd.IntN(1000) < f.Loss, d.rnd.IntN(1000) < f.Duplicate
	fr := frame{b: b, nth: d.count.Frames, twice: twice}
	for i := range fr.jitter {
		fr.jitter[i] = int64(d.rnd.Float64() * float64(f.Jitter))
	}
	switch {
	case f.down(now - d.since):
		d.count.Down++
	case lost:
		d.count.Lost++
	case f.MTU > 0 && len(b) > f.MTU+etherHeader:
		d.count.TooBig++
	case f.Rate == 0:
		d.fly(now, fr)
	default:
		d.enqueue(now, fr)
	}
}

// enqueue lets a frame wait for the rate.
func (d *direction) enqueue(now int64, fr frame) {
	d.serve(now)
	c := 0
	if d.fault.Classes {
		c = class(fr.b)
	}
	if len(d.queues[c]) >= d.fault.room() {
		d.count.Full++
		return
	}
	d.free = max(d.free, now)
	d.queues[c] = append(d.queues[c], fr)
	d.serve(now)
}

// serve sends the frames whose turn came up to now, the highest class first.
func (d *direction) serve(now int64) {
	for d.free <= now {
		c := classes - 1
		for c >= 0 && len(d.queues[c]) == 0 {
			c--
		}
		if c < 0 {
			return
		}
		fr := d.queues[c][0]
		d.queues[c] = d.queues[c][1:]
		if d.fault.Rate > 0 { // 0: the limit was lifted while it waited
			d.free += int64(len(fr.b)) * second / int64(d.fault.Rate)
		}
		d.fly(d.free, fr)
	}
}

// fly gives a frame its delay, and its copy another one.
func (d *direction) fly(from int64, fr frame) {
	copies := 1
	if fr.twice {
		copies = 2
		d.count.Duplicated++
	}
	for i := range copies {
		d.puts++
		fr.put, fr.due = d.puts, from+int64(d.fault.Delay)+fr.jitter[i]
		heap.Push(&d.flying, fr)
	}
}

// next returns when take has something, false when never.
func (d *direction) next() (at int64, ok bool) {
	if len(d.flying) > 0 {
		at, ok = d.flying[0].due, true
	}
	for c := range d.queues {
		if len(d.queues[c]) > 0 && (!ok || d.free < at) {
			at, ok = d.free, true
		}
	}
	return at, ok
}

// take returns a frame that comes out, nil when none is due.
func (d *direction) take(now int64) []byte {
	d.serve(now)
	if len(d.flying) == 0 || d.flying[0].due > now {
		return nil
	}
	fr := heap.Pop(&d.flying).(frame)
	d.count.Delivered++
	if fr.nth < d.newest {
		d.count.Overtaken++
	}
	d.newest = max(d.newest, fr.nth)
	return fr.b
}

// class is the DSCP class selector of an Ethernet frame.
func class(b []byte) int {
	if len(b) < etherHeader+20 || binary.BigEndian.Uint16(b[12:]) != 0x0800 {
		return 0
	}
	return int(b[etherHeader+1] >> 5)
}

// frames is a heap by time.
type frames []frame

func (f frames) Len() int      { return len(f) }
func (f frames) Swap(i, j int) { f[i], f[j] = f[j], f[i] }
func (f frames) Less(i, j int) bool {
	return f[i].due < f[j].due || f[i].due == f[j].due && f[i].put < f[j].put
}
func (f *frames) Push(x any) { *f = append(*f, x.(frame)) }
func (f *frames) Pop() any {
	old := *f
	x := old[len(old)-1]
	*f = old[:len(old)-1]
	return x
}
