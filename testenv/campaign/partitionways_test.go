package campaign

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"sync"
	"testing"
	"time"

	"cohort/testenv/topology"
)

// oneWay cuts one direction of the far node's link for as long as a cut lasts. All
// others have a view without it soon. One that is not heard learns so, is fenced and
// forwards nothing, unless it is the control node: then the others elect, and it is a
// side of its own. One that hears nobody cannot be told from the last that lives, and
// is a cluster of its own.
func (p *partition) oneWay(t *testing.T, r *cutRound) {
	t.Helper()
	x, direction := r.far[0], topology.FromNode
	if p.way == deaf {
		direction = topology.ToNode
	}
	info, err := x.API().Info(p.l.ctx)
	if err != nil {
		t.Fatal(err)
	}
	r.ruled = info.Control == x.Name
	if err := x.CutCCL(direction); err != nil {
		t.Fatal(err)
	}
	ctx, stop := context.WithDeadline(p.l.ctx, r.begin.Add(cutFor()))
	defer stop()
	var watching sync.WaitGroup
	watching.Go(func() { err = p.watchBlocks(ctx, r) })
	forwards := watchForwarding(p.l.ctx, x)
	defer forwards.stop()
	fenced := p.alone(t, r, x)
	watching.Wait()
	taken, bad := forwards.stop()
	if err := errors.Join(err, bad, p.l.ctx.Err()); err != nil {
		t.Fatal(err)
	}
	if p.way == mute && !r.ruled {
		r.zombie = taken.since(fenced)
	}
	r.heal = time.Now()
	if err := x.MendCCL(direction); err != nil {
		t.Fatal(err)
	}
}

// alone waits until the others have a view without a node, and it has none with them;
// it returns when both were seen.
func (p *partition) alone(t *testing.T, r *cutRound, x *topology.Node) time.Time {
	t.Helper()
	ctx, cancel := context.WithTimeout(p.l.ctx, 20*time.Second)
	defer cancel()
	last, want := "", 0 // members that x says it has
	if p.way == deaf || r.ruled {
		want = 1 // it is a side of its own (EL5)
	}
	err := topology.Poll(ctx, func() (bool, error) {
		all := true
		for _, n := range p.l.Nodes {
			info, err := n.API().Info(ctx)
			if err != nil {
				return false, err
			}
			switch {
			case n == x:
				all = all && len(info.Members) == want
			default:
				all = all && len(info.Members) == len(p.l.Nodes)-1 && slices.Contains(missing(info, p.l.Nodes), x.Name)
			}
			last = fmt.Sprintf("%s: %+v", n.Name, info)
		}
		return all, nil
	})
	if err != nil {
		t.Fatalf("%s and the others are not apart: %v: %s", x.Name, err, last)
	}
	r.apart = time.Now()
	return r.apart
}

// flap cuts the link and heals it again and again, for random times from a tenth of a
// hold time to two: before anybody has noticed, while the sides elect, while they
// merge. It ends whole.
func (p *partition) flap(t *testing.T, r *cutRound) {
	t.Helper()
	wait := func() {
		timer := time.NewTimer(partitionHold/10 + rand.N(2*partitionHold))
		defer timer.Stop()
		select {
		case <-timer.C:
		case <-p.l.ctx.Done():
			t.Fatal(p.l.ctx.Err())
		}
	}
	for end := r.begin.Add(2 * cutFor()); time.Now().Before(end); r.flaps++ {
		if err := p.l.SplitCCL(r.far...); err != nil {
			t.Fatal(err)
		}
		wait()
		if err := p.l.JoinCCL(); err != nil {
			t.Fatal(err)
		}
		if time.Now().Before(end) {
			wait()
		}
	}
	r.apart, r.heal = r.begin, time.Now() // there was no time between the two that was only cut
}
