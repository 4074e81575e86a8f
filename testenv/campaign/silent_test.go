package campaign

import (
	"testing"
	"time"

	"cohort/testenv/topology"
)

// Connections that say nothing while their owner dies and comes back belong to
// nobody all that time: their copies wait at a director, and move on when the
// return of the node changes the directors (FR11). All of them live when they
// speak again.
func TestFR11_SilentConnectionsSurviveDeathAndReturn(t *testing.T) {
	beside(t)
	n := killRounds(1, 10)
	l := newLab(t, topology.Config{HoldTime: time.Second, Track: quick}, time.Duration(n)*30*time.Second+30*time.Second)
	conns, lost := 0, 0
	for i := range n {
		silent, err := OpenTalks(l.ctx, l.client, l.echo.Addr, TalksConfig{
			Connections: 400, Bytes: 64, Every: 50 * time.Millisecond, Timeout: 10 * time.Second,
		})
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(silent.Close)
		l.protected(t, silent.Keys())
		silent.Silence(true)
		victim := l.Nodes[i%len(l.Nodes)]
		if _, err := victim.PowerOff(); err != nil {
			t.Fatal(err)
		}
		if err := l.WaitFormed(l.ctx, len(l.Nodes)-1); err != nil {
			t.Fatal(err)
		}
		if err := victim.PowerOn(); err != nil {
			t.Fatal(err)
		}
		l.whole(t)
		was := l.census(t)
		silent.Silence(false)
		dead := silent.Finish()
		conns += len(silent.Keys())
		lost += len(dead)
		if len(dead) > 0 {
			t.Errorf("round %d: %s died and returned, and %d silent connections are lost: %v", i+1, victim.Name, len(dead), dead[:min(3, len(dead))])
			for _, k := range silent.DeadKeys()[:min(5, len(dead))] {
				t.Logf("before it spoke: %s", was.Describe(k))
			}
		}
		silent.Close()
	}
	r := NewResult("silent", *command)
	r.Add("deaths and returns of a node", n, "")
	r.Add("silent TCP connections", conns, "")
	r.Add("of them lost", lost, "0")
	finish(t, r)
}
