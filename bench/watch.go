package main

import (
	"context"
	"encoding/json"
	"fmt"
	"math"
	"net"
	"os"
	"runtime/metrics"
	"sync"
	"time"

	"golang.org/x/sys/unix"

	"cohort/testenv/topology"
)

// envWatch makes a daemon of this program measure its loop and itself.
const envWatch = "COHORT_BENCH_WATCH"

// aimPause is the longest time that a packet may wait for anything but packets.
const aimPause = 1500 * time.Microsecond

// Pauses is what a watched daemon did since it was last asked. Longest turns are of
// the loop: a packet that Go is to have waits for the end of one. CPU is what the turn
// computed, wall is what it took, with what others on the machine had of its CPU.
type Pauses struct {
	Turns      uint64  `json:"turns"`
	LongestMS  float64 `json:"longest_turn_ms"`
	LongestCPU float64 `json:"longest_turn_cpu_ms"`
	Over       uint64  `json:"turns_over_1500us"`
	OverCPU    uint64  `json:"turns_over_1500us_cpu"`
	StopGC     float64 `json:"longest_stop_the_world_gc_ms"`    // upper bound of its class
	StopOther  float64 `json:"longest_stop_the_world_other_ms"` // the same, of what is no collection
	// Of these two, how long it took until everybody had stopped, which is what a thread
	// adds that does not stop at once. The rest is the work meanwhile, and waking the others
	// up: the runtime looks at the clock behind that, so that the time counts for which the
	// thread that woke them has lost its CPU, often to these.
	StoppingGC    float64 `json:"longest_stopping_gc_ms"`
	StoppingOther float64 `json:"longest_stopping_other_ms"`
	Collections   uint64  `json:"collections"`
	HeapMiB       float64 `json:"heap_mib"`
}

// watch implements node.Watch. One turn costs it four system calls.
type watch struct {
	thread int
	began  time.Time
	cpu    time.Duration

	mu   sync.Mutex // guards what follows
	seen Pauses

	pauses [4][]uint64 // counts when it was last asked
	cycles uint64
}

func (w *watch) TurnBegins() { w.thread, w.began, w.cpu = unix.Gettid(), time.Now(), threadTime() }

func (w *watch) TurnEnds() {
	took, cpu := time.Since(w.began), threadTime()-w.cpu
	if unix.Gettid() != w.thread {
		cpu = 0 // the loop has moved to another thread: this is not its time
	}
	w.mu.Lock()
	s := &w.seen
	s.Turns++
	s.LongestMS, s.LongestCPU = max(s.LongestMS, exactMS(took)), max(s.LongestCPU, exactMS(cpu))
	if took > aimPause {
		s.Over++
	}
	if cpu > aimPause {
		s.OverCPU++
	}
	w.mu.Unlock()
}

func exactMS(d time.Duration) float64 { return math.Round(float64(d.Nanoseconds())/1e3) / 1e3 }

// take returns what was seen since the last take.
func (w *watch) take() Pauses {
	samples := []metrics.Sample{
		{Name: "/sched/pauses/total/gc:seconds"}, {Name: "/sched/pauses/total/other:seconds"},
		{Name: "/sched/pauses/stopping/gc:seconds"}, {Name: "/sched/pauses/stopping/other:seconds"},
		{Name: "/gc/cycles/total:gc-cycles"}, {Name: "/memory/classes/heap/objects:bytes"},
	}
	metrics.Read(samples)
	w.mu.Lock()
	defer w.mu.Unlock()
	p := w.seen
	w.seen = Pauses{}
	for i, to := range [...]*float64{&p.StopGC, &p.StopOther, &p.StoppingGC, &p.StoppingOther} {
		*to = longest(samples[i].Value.Float64Histogram(), &w.pauses[i])
	}
	p.Collections = samples[4].Value.Uint64() - w.cycles
	w.cycles += p.Collections
	p.HeapMiB = math.Round(float64(samples[5].Value.Uint64())/(1<<20)*10) / 10
	return p
}

// longest returns the upper bound in ms of the highest class that has grown.
func longest(h *metrics.Float64Histogram, before *[]uint64) (ms float64) {
	for i, n := range h.Counts {
		if *before == nil && n > 0 || *before != nil && n > (*before)[i] {
			ms = h.Buckets[i+1] * 1e3
			if math.IsInf(ms, 0) {
				ms = h.Buckets[i] * 1e3
			}
		}
	}
	*before = append((*before)[:0], h.Counts...)
	return math.Round(ms*1e3) / 1e3
}

// serve answers whoever connects with what was seen, and begins anew.
func (w *watch) serve(socket string) (stop func() error, err error) {
	l, err := net.Listen("unix", socket)
	if err != nil {
		return nil, fmt.Errorf("watch: %w", err)
	}
	done := make(chan struct{})
	go func() {
		defer close(done)
		for {
			c, err := l.Accept()
			if err != nil {
				return // closed
			}
			_ = json.NewEncoder(c).Encode(w.take()) // who asks sees that it is cut short
			c.Close()
		}
	}()
	return func() error {
		err := l.Close()
		<-done
		return err
	}, nil
}

// startWatch makes a daemon watched, if its environment says so.
func startWatch(control string) (*watch, func() error, error) {
	if os.Getenv(envWatch) == "" {
		return nil, func() error { return nil }, nil
	}
	w := &watch{}
	stop, err := w.serve(watchSocket(control))
	return w, stop, err
}

func watchSocket(control string) string { return control + ".watch" }

// pausesOf asks a node's daemon, which begins anew with that.
func pausesOf(ctx context.Context, n *topology.Node) (p Pauses, err error) {
	var d net.Dialer
	c, err := d.DialContext(ctx, "unix", watchSocket(n.Socket))
	if err != nil {
		return p, fmt.Errorf("%s: watch: %w", n.Name, err)
	}
	defer c.Close()
	if err := json.NewDecoder(c).Decode(&p); err != nil {
		return p, fmt.Errorf("%s: watch: %w", n.Name, err)
	}
	return p, nil
}
