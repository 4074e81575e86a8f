package campaign

import (
	"context"
	"sync"
	"time"

	"cohort/testenv/topology"
)

// sample is what a node's counters said at a moment.
type sample struct {
	at     time.Time // when reading began
	counts map[string]uint64
}

// samples of one node, oldest first.
type samples []sample

func (s samples) last() sample { return s[len(s)-1] }

// since returns how many packets were forwarded after a moment for certain:
// from the first sample begun after it to the last.
func (s samples) since(t time.Time) uint64 {
	for _, x := range s {
		if x.at.After(t) {
			return forwarded(s.last().counts) - forwarded(x.counts)
		}
	}
	return 0
}

// watch reads a node's counters again and again.
type watch struct {
	cancel context.CancelFunc
	done   sync.WaitGroup
	taken  samples
	err    error
}

// watchForwarding begins to read the node's counters every few milliseconds.
func watchForwarding(ctx context.Context, n *topology.Node) *watch {
	ctx, cancel := context.WithCancel(ctx)
	w := &watch{cancel: cancel}
	w.done.Go(func() {
		tick := time.NewTicker(5 * time.Millisecond)
		defer tick.Stop()
		for {
			at := time.Now()
			c, err := Counters(n)
			if err != nil {
				w.err = err
				return
			}
			w.taken = append(w.taken, sample{at, c})
			select {
			case <-tick.C:
			case <-ctx.Done():
				return
			}
		}
	})
	return w
}

// stop ends the reading and returns what was read. Idempotent.
func (w *watch) stop() (samples, error) {
	w.cancel()
	w.done.Wait()
	return w.taken, w.err
}
