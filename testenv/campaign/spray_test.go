package campaign

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"cohort/api"
	"cohort/testenv/topology"
	"cohort/testenv/track"
	"cohort/testenv/traffic"
)

// A double owner is provisional: the director's answer must end it in time.
const resolveWithin = time.Second

// Every single packet takes a random one of four nodes. Connections with data
// both ways, UDP exchanges and pings all complete, and each has one owner.
func TestFR1_FR7_FR9_SprayedConnectionsComplete(t *testing.T) {
	beside(t)
	l := newLab(t, topology.Config{
		Spray: true,
		// Nothing dies here, and a machine under load must not say so.
		Track: track.Config{Interval: 100 * time.Millisecond, Losses: 20},
	}, time.Duration(size(90, 1200))*time.Second)
	datagrams, err := traffic.ServeUDPEcho(l.server.Namespace, l.at(9))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { datagrams.Close() })

	before := l.counters(t)
	watch := watchOwners(l)
	tcp := traffic.TCP(l.ctx, l.client, l.echo.Addr, traffic.TCPLoad{Connections: size(1000, 10_000), AtOnce: 100})
	udp := traffic.UDP(l.ctx, l.client, datagrams.Addr, traffic.DatagramLoad{Exchanges: size(1000, 10_000)})
	pings := traffic.Pings(l.ctx, l.client, l.server.Addr, traffic.DatagramLoad{Exchanges: size(200, 1000)})
	for _, of := range []struct {
		what string
		r    *traffic.Report
	}{{"tcp", tcp}, {"udp", udp}, {"pings", pings}} {
		if err := of.r.Err(); err != nil {
			t.Errorf("%s: %v", of.what, err)
		}
	}
	owners, err := watch.stop()
	if err != nil {
		t.Error(err)
	}
	if owners.seen == 0 {
		t.Error("no connection was seen at any node while all of them ran")
	}
	d := growth(before, l.counters(t))
	held := holdOwners(t, l, size(500, 2000))

	r := NewResult("spray", *command)
	for _, of := range []struct {
		what string
		r    *traffic.Report
	}{{"TCP connections", tcp}, {"UDP exchanges", udp}, {"pings", pings}} {
		r.Add(of.what+" wanted / done", fmt.Sprintf("%d / %d", of.r.Wanted, of.r.Done), "equal")
		r.Add(of.what+": datagrams sent again", of.r.Retries, "")
		r.Add(of.what+": longest wait, min / median / p99 / max", Distribute(of.r.Stalls), "")
	}
	r.Add("censuses while connections lived / connections seen", fmt.Sprintf("%d / %d", owners.censuses, owners.seen), "")
	r.Add("seen with two owners, provisionally", owners.doubles, "")
	r.Add("of them after "+resolveWithin.String(), len(owners.stuck), "0")
	r.Add("idle connections with exactly one owner and one copy", held, "")
	for _, name := range []string{
		"connections_created", "claims_sent", "queries_sent", "questions_answered", "questions_parked",
		"duplicate_owners", "non_owner_packets", "forward_owner", "forward_owner_ccl", "forward_ccl", "slow_sent",
	} {
		r.Add("counter "+name, d[name], "")
	}
	r.Add("counters of drops that grew", drops(d), "")
	finish(t, r)
	if len(owners.stuck) > 0 {
		t.Errorf("%d connections kept two owners for %v: %v", len(owners.stuck), resolveWithin, owners.stuck[:min(10, len(owners.stuck))])
	}
}

// drops lists the drop counters among others, in words.
func drops(d map[string]uint64) string {
	var list []string
	for _, name := range slices.Sorted(maps.Keys(d)) {
		if strings.HasPrefix(name, "drop_") || strings.HasPrefix(name, "slow_") && name != "slow_sent" {
			list = append(list, fmt.Sprintf("%s %d", name, d[name]))
		}
	}
	if list == nil {
		return "none"
	}
	return strings.Join(list, ", ")
}

// ownership is what repeated censuses found.
type ownership struct {
	censuses, seen, doubles int
	stuck                   []string
}

// ownerWatch takes a census again and again.
type ownerWatch struct {
	cancel context.CancelFunc
	done   sync.WaitGroup
	found  ownership
	err    error
}

func watchOwners(l *lab) *ownerWatch {
	ctx, cancel := context.WithCancel(l.ctx)
	w := &ownerWatch{cancel: cancel}
	w.done.Go(func() { w.run(ctx, l) })
	return w
}

func (w *ownerWatch) run(ctx context.Context, l *lab) {
	seen := make(map[Key]bool)
	tick := time.NewTicker(300 * time.Millisecond)
	defer tick.Stop()
	for ctx.Err() == nil {
		c, err := TakeCensus(ctx, l.Topology, api.ConnFilter{})
		if ctx.Err() != nil {
			break
		}
		if err != nil {
			w.err = err
			break
		}
		w.found.censuses++
		for k := range c {
			seen[k] = true
		}
		doubles := c.Doubles()
		w.found.doubles += len(doubles)
		for _, k := range doubles {
			w.resolve(ctx, l, k)
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
		}
	}
	w.found.seen = len(seen)
}

// resolve waits until a connection has at most one owner.
func (w *ownerWatch) resolve(ctx context.Context, l *lab, k Key) {
	within, cancel := context.WithTimeout(ctx, resolveWithin)
	defer cancel()
	var last Census
	err := topology.Poll(within, func() (bool, error) {
		// Both ports tell the connection apart; the filter takes one.
		c, err := TakeCensus(within, l.Topology, api.ConnFilter{Protocol: k.Protocol, Port: max(k.Low.Port(), k.High.Port())})
		if err == nil {
			last = c
		}
		return err == nil && len(c.With(k, api.Owner)) < 2, nil
	})
	if err != nil && ctx.Err() == nil {
		w.found.stuck = append(w.found.stuck, last.Describe(k))
	}
}

func (w *ownerWatch) stop() (ownership, error) {
	w.cancel()
	w.done.Wait()
	return w.found, w.err
}

// holdOwners opens connections at once, keeps them and proves of each that one
// node owns it and one other keeps its copy (FR3).
func holdOwners(t *testing.T, l *lab, n int) int {
	t.Helper()
	talks, err := OpenTalks(l.ctx, l.client, l.echo.Addr, TalksConfig{
		Connections: n, Bytes: 64, Every: 2 * time.Second, Timeout: 30 * time.Second,
	})
	if err != nil {
		t.Fatal(err)
	}
	defer talks.Close()
	l.protected(t, talks.Keys())
	if lost := talks.Finish(); len(lost) > 0 {
		t.Errorf("%d idle connections are lost: %v", len(lost), lost)
	}
	return n
}
