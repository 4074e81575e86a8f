package campaign

import (
	"context"
	"fmt"
	"net/netip"
	"strings"
	"sync"
	"time"

	"cohort/api"
	"cohort/testenv/topology"
)

// tuple is what NT4 wants to belong to one connection.
type tuple struct {
	protocol       string
	mapped, remote netip.AddrPort
}

// Rivals looks again and again into the tables of all nodes for two connections
// with one tuple. Nodes are not asked at one instant: an owner that hands over
// meanwhile may be missed or seen twice, but a connection has one client's side.
type Rivals struct {
	cancel context.CancelFunc
	done   sync.WaitGroup
	looks  int
	found  map[tuple]string
	err    error
}

// WatchRivals begins.
func WatchRivals(ctx context.Context, top *topology.Topology, every time.Duration) *Rivals {
	ctx, cancel := context.WithCancel(ctx)
	r := &Rivals{cancel: cancel, found: make(map[tuple]string)}
	r.done.Go(func() {
		tick := time.NewTicker(every)
		defer tick.Stop()
		for {
			c, err := TakeCensus(ctx, top, api.ConnFilter{Role: api.Owner})
			if ctx.Err() != nil {
				return
			}
			if err != nil {
				r.err = err
				return
			}
			r.looks++
			for t, said := range c.Rivals() {
				if r.found[t] == "" {
					r.found[t] = time.Now().Format("04:05.000") + " " + said
				}
			}
			select {
			case <-tick.C:
			case <-ctx.Done():
				return
			}
		}
	})
	return r
}

// Stop ends the looking and returns how often it looked, and what was found, in
// words. Idempotent.
func (r *Rivals) Stop() (looks int, found []string, err error) {
	r.cancel()
	r.done.Wait()
	for t, said := range r.found {
		found = append(found, fmt.Sprintf("%s %v > %v: %s", t.protocol, t.mapped, t.remote, said))
	}
	return r.looks, found, r.err
}

// Rivals returns the tuples that owners have for more than one connection, with
// who has it for whom.
func (c Census) Rivals() map[tuple]string {
	by := make(map[tuple][]Holding)
	for _, holdings := range c {
		for _, h := range holdings {
			if h.Roles.Has(api.Owner) && h.MappedSource.IsValid() {
				t := tuple{h.Protocol, h.MappedSource, h.Destination}
				by[t] = append(by[t], h)
			}
		}
	}
	rivals := make(map[tuple]string)
	for t, list := range by {
		clients := make(map[netip.AddrPort]bool)
		var said []string
		for _, h := range list {
			clients[h.Source] = true
			said = append(said, fmt.Sprintf("%v for %v (age %d ms, idle %d ms)", h, h.Source, h.AgeMS, h.IdleMS))
		}
		if len(clients) > 1 {
			rivals[t] = strings.Join(said, ", ")
		}
	}
	return rivals
}
