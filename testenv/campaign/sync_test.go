package campaign

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"testing"
	"time"

	"cohort/testenv/topology"
)

// volleySize is how many connections begin around a kill, and volleyFor how long that
// takes: so many that some are in every instant of their handshake when it comes.
const (
	volleySize = 240
	volleyFor  = 24 * time.Millisecond
)

// moreVolleys is how many rounds more there may be until a kill has met a handshake.
const moreVolleys = 4

// A node dies at a random instant of a volley of connections that begin through all
// nodes: all its power, or its daemon (kill -9). With durability sync whatever has its
// handshake behind it lives on, translated or not; with async, what was opened in the
// last moment may be lost, and is counted by its age.
func TestFR13_KillsInTheMiddleOfHandshakes(t *testing.T) {
	beside(t)
	for _, c := range []struct {
		name  string
		rules []string
		short int // rounds of the slice
		whole int // and of the whole proof
	}{{"sync", syncRules, 3, 200}, {"async", nil, 1, 60}} {
		t.Run(c.name, func(t *testing.T) { handshakeCampaign(t, c.name, c.rules, killRounds(c.short, c.whole)) })
	}
}

func handshakeCampaign(t *testing.T, durability string, rules []string, n int) {
	l := newLab(t, topology.Config{
		NAT: onePublicAddress, Rules: rules, HoldTime: 500 * time.Millisecond, Track: quick, Health: promptHealth,
		Timeouts: "{tcp_closing: 2s, tcp_time_wait: 1s}",
	}, time.Duration(n+moreVolleys)*20*time.Second+time.Minute)
	old, err := OpenTalks(l.ctx, l.client, l.echo.Addr, TalksConfig{Connections: 60, Bytes: 64, Every: 250 * time.Millisecond, Timeout: 20 * time.Second})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(old.Close)
	k := &handshakes{lab: l, sync: rules != nil, kills: map[string]int{}}
	// A kill at the end of its volley may find every handshake done.
	for i := 0; i < n || k.opening == 0 && i < n+moreVolleys; i++ {
		l.protected(t, old.Keys())
		k.round(t, l.Nodes[rand.IntN(len(l.Nodes))], i%2 == 1)
		l.whole(t)
		if lost := old.Lost(); len(lost) > 0 {
			t.Fatalf("round %d: %d of the old connections lost: %v", i+1, len(lost), lost[0])
		}
	}
	if lost := old.Finish(); len(lost) > 0 {
		t.Errorf("%d of the old connections lost: %v", len(lost), lost)
	}
	r := NewResult("handshakes-"+durability, *command)
	aim := ""
	if k.sync {
		aim = "0 lost"
	}
	r.Add("kills: power of a node off / its daemon alone (-9)", fmt.Sprintf("%d / %d", k.kills["power"], k.kills["daemon"]), "")
	r.Add("old connections at every kill / lost in all", fmt.Sprintf("%d / %d", len(old.Keys()), len(old.Lost())), "0 of the second")
	k.before.Report(r, aim)
	r.Add("handshake while the node died or later: open / lost", fmt.Sprintf("%d / %d", k.later, k.laterLost), aim)
	r.Add("in all: handshakes before the kill / of these lost", fmt.Sprintf("%d / %d", sum(k.before.Open[:]), sum(k.before.Lost[:])), aim)
	r.Add("connections of the dead that others adopted", k.adopted, "")
	r.Add("never opened within "+arrivalPatience.String(), k.never, "")
	r.Add("packets that left before their copy was stored (bound of the wait)", k.exposed, "")
	finish(t, r)
	if k.opening == 0 || k.adopted == 0 {
		t.Errorf("%d handshakes were under way at the kills, %d connections were adopted: this proves nothing", k.opening, k.adopted)
	}
}

func sum(list []int) (n int) {
	for _, x := range list {
		n += x
	}
	return n
}

// handshakes is a campaign under way.
type handshakes struct {
	*lab
	sync             bool
	kills            map[string]int
	before           Exposure
	later, laterLost int
	never, opening   int // of the latter, those that had begun and were not open at the kill
	exposed, adopted uint64
}

// round kills a node while connections begin, and brings it back.
func (k *handshakes) round(t *testing.T, victim *topology.Node, daemon bool) {
	t.Helper()
	others, err := SumCounters(k.ctx, k.Topology, victim)
	if err != nil {
		t.Fatal(err)
	}
	volley := StartVolley(k.client, k.echo.Addr, volleySize, volleyFor, arrivalPatience)
	defer volley.Finish()
	moment := time.NewTimer(volleyFor/6 + rand.N(volleyFor))
	defer moment.Stop()
	<-moment.C
	begin := time.Now()
	what, strike, mend := "power", powerOff, (*topology.Node).PowerOn
	if daemon {
		what, strike, mend = "daemon", (*topology.Node).KillDaemon, (*topology.Node).StartDaemon
	}
	if err := strike(victim); err != nil {
		t.Fatal(err)
	}
	k.kills[what]++
	var lost []string
	list := volley.Finish() // what the victim owned answers when others have adopted it
	for _, a := range list {
		switch {
		case a.Failed():
			k.never++
		case a.Opened.Before(begin):
			k.before.Add(begin.Sub(a.Opened), a.Err != nil)
		default:
			if k.later++; a.Err != nil {
				k.laterLost++
			}
		}
		if a.Began.Before(begin) && (a.Failed() || a.Opened.After(begin)) {
			k.opening++
		}
		if !a.Failed() && a.Err != nil {
			lost = append(lost, fmt.Sprintf("%v, open for %v: %v", a.Key, begin.Sub(a.Opened), a.Err))
		}
	}
	if len(list) != volleySize {
		t.Errorf("%d connections began, want %d", len(list), volleySize)
	}
	now, err := SumCounters(k.ctx, k.Topology, victim)
	if err != nil {
		t.Fatal(err)
	}
	grown := growth(others, now)
	exposed := grown["exposed_packets"]
	k.exposed, k.adopted = k.exposed+exposed, k.adopted+grown["connections_adopted"]
	if k.sync && len(lost) > 0 {
		t.Errorf("%s of %s lost %d connections that had their handshake (%d packets were exposed): %v", what, victim.Name, len(lost), exposed, lost[:min(3, len(lost))])
	}
	slices.Sort(lost)
	t.Logf("%s of %s: %d lost, %d packets exposed; %v", what, victim.Name, len(lost), exposed, lost[:min(3, len(lost))])
	if err := mend(victim); err != nil {
		t.Fatal(err)
	}
}
