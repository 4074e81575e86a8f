package campaign

import (
	"context"
	"net"
	"net/netip"
	"sync"
	"time"

	"cohort/testenv/netns"
)

// Arrival is one TCP connection that began at some moment and was kept.
type Arrival struct {
	Key           Key
	Began, Opened time.Time // Opened is zero where it never was
	Err           error     // of the opening, of its first exchange or of its last; nil: it lived to the end
}

// Failed reports whether it never opened.
func (a *Arrival) Failed() bool { return a.Opened.IsZero() }

// How the table of failures has connections arrive.
const (
	arrivalEvery    = 10 * time.Millisecond
	arrivalPatience = 10 * time.Second
	freshFor        = 250 * time.Millisecond // one opened so shortly before the failure may not have its copy, with durability async
)

// arrivalBytes of every exchange.
const arrivalBytes = 64

// Arrivals begins a TCP connection to an echo server every interval, exchanges
// a block on it and keeps it open in silence: whatever happens, there is one
// that was opened a moment ago.
type Arrivals struct {
	patience time.Duration
	cancel   context.CancelFunc
	all      sync.WaitGroup
	mu       sync.Mutex // guards what follows
	list     []*Arrival
	conns    []*net.TCPConn // of the same index, nil where it never opened
}

// StartArrivals begins. An opening or an exchange that takes longer than
// patience has failed.
func StartArrivals(ctx context.Context, from *netns.Namespace, to netip.AddrPort, every, patience time.Duration) *Arrivals {
	ctx, cancel := context.WithCancel(ctx)
	a := &Arrivals{patience: patience, cancel: cancel}
	a.all.Go(func() {
		tick := time.NewTicker(every)
		defer tick.Stop()
		for {
			a.all.Go(func() { a.open(from, to) })
			select {
			case <-tick.C:
			case <-ctx.Done():
				return
			}
		}
	})
	return a
}

func (a *Arrivals) open(from *netns.Namespace, to netip.AddrPort) {
	ctx, cancel := context.WithTimeout(context.Background(), a.patience)
	defer cancel()
	k := &Arrival{Began: time.Now()}
	c, err := from.DialTCP(ctx, to)
	if err == nil {
		k.Opened, k.Key = time.Now(), keyOf("tcp", c)
	}
	a.mu.Lock()
	k.Err = err
	a.list, a.conns = append(a.list, k), append(a.conns, c)
	a.mu.Unlock()
	if err != nil {
		return
	}
	c.SetKeepAlive(false)
	err = a.exchange(c)
	a.mu.Lock()
	k.Err = err
	a.mu.Unlock()
}

func (a *Arrivals) exchange(c *net.TCPConn) error {
	return exchange(c, make([]byte, arrivalBytes), make([]byte, arrivalBytes), time.Now().Add(a.patience))
}

// Finish begins nothing more, waits for what runs, exchanges one more block on
// every connection that lives, closes all and returns them. Idempotent.
func (a *Arrivals) Finish() []*Arrival {
	a.cancel()
	a.all.Wait()
	for i, k := range a.list {
		c := a.conns[i]
		if c == nil {
			continue
		}
		a.conns[i] = nil
		a.all.Go(func() {
			if k.Err == nil {
				k.Err = a.exchange(c)
			}
			c.SetLinger(0) // nothing of it stays in the cluster's tables for long
			c.Close()
		})
	}
	a.all.Wait()
	return a.list
}
