package topology

import (
	"context"
	"time"
)

// pollEvery is how often Poll looks.
const pollEvery = 20 * time.Millisecond

// Poll looks at a condition until it holds, fails or the context ends. It returns the
// condition's error, or that of the context.
func Poll(ctx context.Context, holds func() (bool, error)) error {
	tick := time.NewTicker(pollEvery)
	defer tick.Stop()
	for {
		ok, err := holds()
		if ok || err != nil {
			return err
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}
