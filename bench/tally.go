package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// tally adds up what talks cost on the one CPU that everything runs on:
// generator, nodes, and the kernel for both.
type tally struct {
	cpu      int
	meter    *meter
	admitted []*talk
}

func newTally(cpu int) (*tally, error) {
	m, err := newMeter(cpu)
	if err != nil {
		return nil, err
	}
	return &tally{cpu: cpu, meter: m}, nil
}

// cost is CPU time.
type cost struct {
	sender  time.Duration // the thread that sends, the softirqs that run in it included
	softirq time.Duration // the softirq thread
	daemons time.Duration // all threads of all nodes
	idle    time.Duration // what the daemons would have taken anyway
	others  time.Duration // that had the CPU and are no part of the comparison: neither these nor the idle nodes of other talks
	wall    time.Duration
}

func (c cost) whole() time.Duration { return c.sender + c.softirq + c.daemons - c.idle }

// idleShare is what idle daemons take, measured by whole.
func (c cost) idleShare() float64 { return float64(c.idle) / float64(max(c.whole(), 1)) }

// upkeepShare is what daemons take beyond that, measured by whole.
func (c cost) upkeepShare() float64 {
	return float64(c.daemons-c.idle) / float64(max(c.whole(), 1))
}

// company is who had the CPU in a round. It is the round that is judged: what others
// had of a sample is known to a step or two of the clock, 10 ms, too much or too
// little, which a sample may not last much longer than, and which adds up to little.
type company struct{ ours, others time.Duration }

func (o *company) add(c cost) {
	o.ours += c.sender + c.softirq + c.daemons
	o.others += c.others
}

// maxShared is maxDisturbed for a CPU on which samples sleep: small services run
// where nobody is.
const maxShared = 0.05

// quiet reports whether others had so little that the round counts.
func (o *company) quiet() bool { return float64(o.others) <= maxShared*float64(o.ours) }

// admit puts what a talk needs on the CPU and finds out what its daemons take
// when nobody talks.
func (a *tally) admit(ctx context.Context, t *talk, watch time.Duration) error {
	if err := t.pin(a.cpu); err != nil {
		return err
	}
	if err := t.ns.Do(func() error { return pinThread(a.cpu) }); err != nil {
		return err
	}
	a.admitted = append(a.admitted, t)
	pids, err := t.daemons()
	if err != nil || len(pids) == 0 {
		return err
	}
	return a.watchIdle(ctx, t, watch)
}

// pin puts the thread that sends and the daemons on one CPU, as equals.
func (t *talk) pin(cpu int) error {
	var set unix.CPUSet
	set.Set(cpu)
	if err := t.ns.Do(func() error { return unix.SchedSetaffinity(0, &set) }); err != nil {
		return fmt.Errorf("%s: pin to CPU %d: %w", t.name, cpu, err)
	}
	pids, err := t.daemons()
	if err != nil {
		return err
	}
	for _, pid := range pids {
		if err := pinProcess(pid, cpu); err != nil {
			return err
		}
	}
	return nil
}

// watchIdle measures what the daemons of a talk take in a second when nobody
// talks.
func (a *tally) watchIdle(ctx context.Context, t *talk, watch time.Duration) error {
	c, err := a.measure(t, func() error {
		select {
		case <-time.After(watch):
			return nil
		case <-ctx.Done():
			return ctx.Err()
		}
	})
	t.idle = c.daemons.Seconds() / c.wall.Seconds()
	return err
}

// measure returns what a piece of work of a talk cost. The work itself does not
// run on the CPU; only what it has the talk's thread do.
func (a *tally) measure(t *talk, work func() error) (c cost, err error) {
	before, err := a.read(t)
	if err != nil {
		return c, err
	}
	if err := work(); err != nil {
		return c, err
	}
	after, err := a.read(t)
	if err != nil {
		return c, err
	}
	c = cost{
		sender: after.sender - before.sender, softirq: after.softirq - before.softirq,
		daemons: after.daemons - before.daemons, wall: after.at.Sub(before.at),
	}
	c.idle = time.Duration(min(t.idle*float64(c.wall), float64(c.daemons)))
	c.others = after.busy - before.busy - c.sender - c.softirq - c.daemons - (after.resting - before.resting)
	return c, nil
}

// clocks are readings of everything.
type clocks struct {
	at                             time.Time
	sender, softirq, daemons, busy time.Duration
	resting                        time.Duration // daemons of the talks that are not measured, which idle on the same CPU whoever is
}

func (a *tally) read(t *talk) (c clocks, err error) {
	if c.daemons, err = t.daemonTime(); err != nil {
		return c, err
	}
	for _, other := range a.admitted {
		if other == t {
			continue
		}
		d, err := other.daemonTime()
		if err != nil {
			return c, err
		}
		c.resting += d
	}
	if err := t.ns.Do(func() error { c.sender = threadTime(); return nil }); err != nil {
		return c, err
	}
	c.softirq, c.at = a.meter.softirqTime(), time.Now()
	c.busy, err = busyTime(a.cpu)
	return c, err
}

// daemonTime is what all daemons of a talk have used.
func (t *talk) daemonTime() (sum time.Duration, err error) {
	pids, err := t.daemons()
	for _, pid := range pids {
		d, err := processTime(pid)
		if err != nil {
			return 0, err
		}
		sum += d
	}
	return sum, err
}

// daemons are the processes between clients and servers.
func (t *talk) daemons() (pids []int, err error) {
	if t.cluster == nil {
		return nil, nil
	}
	for _, p := range t.cluster.others {
		pids = append(pids, p.PID())
	}
	for _, n := range t.cluster.Nodes {
		if t.cluster.tracked {
			break
		}
		p, err := n.Daemon()
		if err != nil {
			return nil, err
		}
		pids = append(pids, p.PID())
	}
	return pids, nil
}

var errNoCPU = errors.New("no such CPU in /proc/stat")

// busyTime is for how long a CPU has not been idle, in steps of 10 ms.
func busyTime(cpu int) (time.Duration, error) {
	b, err := os.ReadFile("/proc/stat")
	if err != nil {
		return 0, err
	}
	for line := range strings.Lines(string(b)) {
		f := strings.Fields(line)
		if len(f) < 9 || f[0] != fmt.Sprintf("cpu%d", cpu) {
			continue
		}
		var ticks int64
		for _, at := range []int{1, 2, 3, 6, 7, 8} { // all but idle and iowait
			n, err := strconv.ParseInt(f[at], 10, 64)
			if err != nil {
				return 0, err
			}
			ticks += n
		}
		return time.Duration(ticks) * 10 * time.Millisecond, nil
	}
	return 0, errNoCPU
}

// confine keeps this process from the CPU that is measured, as far as there is
// another one. What sends there goes back by itself.
func confine(from int) (restore func() error, err error) {
	var was unix.CPUSet
	if err := unix.SchedGetaffinity(os.Getpid(), &was); err != nil {
		return nil, err
	}
	if from == 0 {
		return func() error { return nil }, nil
	}
	if err := pinProcess(os.Getpid(), 0); err != nil {
		return nil, err
	}
	return func() error { return allowProcess(os.Getpid(), &was) }, nil
}
