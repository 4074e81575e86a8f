package traffic

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"time"
)

// maxErrors bounds the failures a Report keeps; the rest is only counted.
const maxErrors = 10

// Report is the result of a number of like things: connections, exchanges or
// pings.
type Report struct {
	Wanted  int
	Done    int             // completed, content verified
	Failed  int             // the rest
	Retries int             // datagrams sent again
	Errors  []error         // the first failures
	Stalls  []time.Duration // longest of each completed one, ascending
}

// Longest returns the longest stall of all, 0 without any.
func (r *Report) Longest() time.Duration { return r.Quantile(1) }

// Quantile returns the stall that a part q (0 to 1) of all does not exceed.
func (r *Report) Quantile(q float64) time.Duration {
	if len(r.Stalls) == 0 {
		return 0
	}
	return r.Stalls[min(len(r.Stalls)-1, int(q*float64(len(r.Stalls))))]
}

// Err returns nil if all is done, or else what failed first.
func (r *Report) Err() error {
	if r.Done == r.Wanted {
		return nil
	}
	return fmt.Errorf("%d of %d failed: %w", r.Wanted-r.Done, r.Wanted, errors.Join(r.Errors...))
}

// String is one line for people.
func (r *Report) String() string {
	return fmt.Sprintf("%d of %d done, %d retries, stall median %v, 99 %% %v, longest %v", r.Done, r.Wanted, r.Retries,
		r.Quantile(0.5).Round(time.Microsecond), r.Quantile(0.99).Round(time.Microsecond), r.Longest().Round(time.Microsecond))
}

// result is the fate of one thing.
type result struct {
	stall   time.Duration
	retries int
	err     error
}

// add is used by one goroutine at a time.
func (r *Report) add(one result) {
	r.Retries += one.retries
	if one.err != nil {
		r.Failed++
		if len(r.Errors) < maxErrors {
			r.Errors = append(r.Errors, one.err)
		}
		return
	}
	r.Done++
	r.Stalls = append(r.Stalls, one.stall)
}

// repeat does a thing n times, at most atOnce side by side, and reports. When
// the context ends, what has not begun counts as failed.
func repeat(ctx context.Context, n, atOnce int, one func(i int) result) *Report {
	report := &Report{Wanted: n}
	var mu sync.Mutex // guards report and next
	next := 0
	work := func() {
		for {
			mu.Lock()
			i := next
			next++
			mu.Unlock()
			if i >= n {
				return
			}
			r := result{err: ctx.Err()}
			if r.err == nil {
				r = one(i)
			}
			mu.Lock()
			report.add(r)
			mu.Unlock()
		}
	}
	var workers sync.WaitGroup
	for range min(n, max(atOnce, 1)) {
		workers.Go(work)
	}
	workers.Wait()
	slices.Sort(report.Stalls)
	return report
}
