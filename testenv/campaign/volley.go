package campaign

import (
	"context"
	"fmt"
	"net/netip"
	"sync"
	"time"

	"cohort/testenv/netns"
)

// StartVolley is StartArrivals of n connections that begin one after the other
// within a time, and of no more.
func StartVolley(from *netns.Namespace, to netip.AddrPort, n int, over, patience time.Duration) *Arrivals {
	ctx, cancel := context.WithCancel(context.Background())
	a := &Arrivals{patience: patience, cancel: cancel}
	a.all.Go(func() {
		var begun sync.WaitGroup
		began := time.Now()
		tick := time.NewTicker(time.Millisecond)
		defer tick.Stop()
		for i := 0; i < n; {
			for due := min(n, 1+int(time.Since(began)*time.Duration(n)/over)); i < due; i++ {
				begun.Go(func() { a.open(from, to) })
			}
			select {
			case <-tick.C:
			case <-ctx.Done():
				i = n
			}
		}
		begun.Wait()
	})
	return a
}

// Exposure counts connections by how old they were when something happened, and the
// lost among them. Old is from the moment when the client had its handshake.
type Exposure struct {
	Open, Lost [len(ages) + 1]int
}

// ages are the upper bounds of all but the last class of an Exposure.
var ages = [...]time.Duration{time.Millisecond, 2 * time.Millisecond, 5 * time.Millisecond, 10 * time.Millisecond, 20 * time.Millisecond, 50 * time.Millisecond}

// Add counts one connection.
func (e *Exposure) Add(age time.Duration, lost bool) {
	i := 0
	for i < len(ages) && age >= ages[i] {
		i++
	}
	e.Open[i]++
	if lost {
		e.Lost[i]++
	}
}

// Report adds a line for every class.
func (e *Exposure) Report(r *Result, aim string) {
	for i := range e.Open {
		what, low := "", time.Duration(0)
		if i > 0 {
			low = ages[i-1]
		}
		if i < len(ages) {
			what = fmt.Sprintf("handshake %v to %v before the kill: open / lost", low, ages[i])
		} else {
			what = fmt.Sprintf("handshake longer ago than %v: open / lost", low)
		}
		r.Add(what, fmt.Sprintf("%d / %d", e.Open[i], e.Lost[i]), aim)
	}
}
