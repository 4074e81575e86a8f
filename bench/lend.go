package main

import (
	"context"
	"time"

	"cohort/bench/traffic"
)

// lent is how many of the requests or their answers may still cross when all
// connections are lent.
const lent = 0.01

// lendPause is from one burst of data to the next: what the daemons have to say to each
// other about connections needs the CPU, too.
const lendPause = 250 * time.Millisecond

// lend sends data of so many open connections, past all buckets, until hardly any packet
// crosses the control link, or for so long. It returns how many of the last still did,
// for each request.
func (s *scene) lend(ctx context.Context, t *talk, flows int, most time.Duration) (crossed float64, err error) {
	for end := time.Now().Add(most); ; {
		before, err := s.carried()
		if err != nil {
			return 0, err
		}
		n := traffic.Batches(8 * flows) // some of each, within a lease
		if _, err := t.burst(t.data, n, answered); err != nil {
			return 0, err
		}
		after, err := s.carried()
		if err != nil {
			return 0, err
		}
		crossed = float64(after.Sub(before).DataFrames) / float64(n)
		if crossed <= lent || time.Now().After(end) {
			return crossed, nil
		}
		select {
		case <-time.After(lendPause):
		case <-ctx.Done():
			return crossed, ctx.Err()
		}
	}
}
