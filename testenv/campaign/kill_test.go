package campaign

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
	"strings"
	"testing"
	"time"

	"cohort/api"
	"cohort/testenv/topology"
	"cohort/testenv/traffic"
)

// load is what runs while nodes die.
type load struct {
	idle, busy *Talks
	streams    *Streams
	churn      context.CancelFunc
	churned    chan *traffic.Report
}

// loadSize is how much of a load.
type loadSize struct {
	idle, busy, streams int
	every               time.Duration // between two packets of a UDP flow
	timeout             time.Duration // an exchange that takes longer has failed
}

// openLoad opens mostly idle connections, a few busy ones and UDP flows.
func openLoad(t *testing.T, l *lab, size loadSize) *load {
	t.Helper()
	o := &load{churned: make(chan *traffic.Report, 1)}
	var err error
	o.idle, err = OpenTalks(l.ctx, l.client, l.echo.Addr, TalksConfig{
		Connections: size.idle, Bytes: 64, Every: 250 * time.Millisecond, Timeout: size.timeout,
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(o.idle.Close)
	o.busy, err = OpenTalks(l.ctx, l.client, l.echo.Addr, TalksConfig{
		Connections: size.busy, Bytes: 8 << 10, Every: 10 * time.Millisecond, Timeout: size.timeout,
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(o.busy.Close)
	o.streams, err = OpenStreams(l.client, l.server.Namespace, l.at(9), size.streams, size.every)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(o.streams.Close)
	return o
}

// startLoad opens 200 mostly idle connections, a few busy ones and UDP flows,
// and begins to open and close others.
func startLoad(t *testing.T, l *lab) *load {
	t.Helper()
	o := openLoad(t, l, loadSize{idle: 200, busy: 4, streams: 24, every: 5 * time.Millisecond, timeout: 30 * time.Second})
	ctx, cancel := context.WithCancel(l.ctx)
	o.churn = cancel
	go func() {
		o.churned <- traffic.TCP(ctx, l.client, l.echo.Addr, traffic.TCPLoad{Connections: 1 << 20, AtOnce: 2, Rounds: 2, Bytes: 512})
	}()
	t.Cleanup(func() { cancel(); <-o.churned })
	return o
}

// close ends what openLoad opened.
func (o *load) close() {
	o.idle.Close()
	o.busy.Close()
	o.streams.Close()
}

// keys are the connections that must not be lost.
func (o *load) keys() []Key {
	return append(append(o.idle.Keys(), o.busy.Keys()...), o.streams.Keys()...)
}

func (o *load) mark() {
	o.idle.Mark()
	o.busy.Mark()
	o.streams.Mark()
}

// allSince reports whether everything has been heard of after t.
func (o *load) allSince(t time.Time) bool {
	return o.idle.AllSince(t) && o.busy.AllSince(t) && o.streams.AllSince(t)
}

func (o *load) lost() []error { return append(o.idle.Lost(), o.busy.Lost()...) }

// role picks the node to kill for a connection; nil if there is none now.
func role(l *lab, t *testing.T, what string, keys []Key) *topology.Node {
	t.Helper()
	if what == "control" {
		n, err := l.ControlNode(l.ctx)
		if err != nil {
			t.Fatal(err)
		}
		return n
	}
	c := l.census(t)
	for range 1000 {
		k := keys[rand.IntN(len(keys))]
		for _, h := range c[k] {
			switch {
			case what == "owner" && h.Roles.Has(api.Owner),
				what == "director" && h.Roles.Has(api.Director) && !h.Roles.Has(api.Owner),
				what == "backup" && h.Roles == "B":
				return h.Node
			}
		}
	}
	return nil
}

// kill is one way for a node to die.
type kill struct {
	name   string
	role   string
	daemon bool // kill -9 of the daemon alone instead of the power
	spray  bool // every packet meets a random node
	nat    string
	fast   bool // the fast profile (HL7)
	short  int  // rounds of the slice
	whole  int  // and of the whole proof
}

var kills = []kill{
	{name: "owner", role: "owner", short: 2, whole: 200},
	{name: "director", role: "director", short: 1, whole: 40},
	{name: "backup", role: "backup", short: 1, whole: 40},
	{name: "control", role: "control", short: 1, whole: 40},
	{name: "daemon", role: "owner", daemon: true, short: 1, whole: 60},
	{name: "sprayed", role: "owner", spray: true, short: 1, whole: 40},
	{name: "translated", role: "owner", nat: onePublicAddress, short: 1, whole: 40},
}

// The owner (director, backup, control node) of running connections dies at
// random moments under traffic, and no established connection is lost. After
// kill -9 of the daemon alone the fast path that it leaves behind stops before
// anybody else takes its connections (HL5), so nothing is owned twice.
func TestFR11_FR12_EL4_HL5_KillsLoseNoConnection(t *testing.T) {
	beside(t)
	for _, k := range kills {
		t.Run(k.name, func(t *testing.T) { killCampaign(t, k) })
	}
}

func killCampaign(t *testing.T, k kill) {
	n := killRounds(k.short, k.whole)
	cfg := topology.Config{Spray: k.spray, NAT: k.nat, HoldTime: time.Second, Track: quick}
	if k.fast {
		cfg.Health, cfg.Track = "profile: fast", swift
	}
	l := newLab(t, cfg, time.Duration(n)*30*time.Second+time.Minute)
	o := startLoad(t, l)
	keys := o.keys()
	s := kept{dropped: map[string]uint64{}}
	for i := range n {
		l.protected(t, keys)
		victim := role(l, t, k.role, keys)
		if victim == nil {
			t.Fatalf("nobody is %s of any connection", k.role)
		}
		moment := time.NewTimer(rand.N(500 * time.Millisecond))
		select {
		case <-moment.C:
		case <-l.ctx.Done():
			t.Fatal(l.ctx.Err())
		}
		r, err := o.round(l, k, victim)
		if err != nil {
			t.Fatalf("round %d, %s: %v", i+1, victim.Name, err)
		}
		t.Logf("round %d: %s %v", i+1, victim.Name, r)
		s.add(r)
		if r.zombie > 0 {
			t.Errorf("round %d: the fast path of %s forwarded %d packets after the others had a view without it", i+1, victim.Name, r.zombie)
		}
		if k.daemon && r.expired == 0 {
			t.Errorf("round %d: the fast path of %s dropped nothing by lease", i+1, victim.Name)
		}
		if lost := o.lost(); len(lost) > s.lost {
			t.Errorf("round %d: killing %s lost %d connections (%d views followed; more than 1 means that another node was taken for dead): %v",
				i+1, victim.Name, len(lost)-s.lost, r.views, lost[s.lost:])
			s.lost = len(lost)
			c := l.census(t)
			for _, key := range keys {
				if len(c[key]) == 0 {
					t.Logf("nobody holds %v", key)
				}
			}
		}
		l.whole(t)
	}
	l.protected(t, keys)
	o.churn()
	churned := <-o.churned
	o.churned <- churned // for the clean-up
	lost := append(o.idle.Finish(), o.busy.Finish()...)
	tally := o.streams.Finish(2 * time.Second)
	if len(lost) > s.lost {
		t.Errorf("at the end %d connections are lost: %v", len(lost), lost[s.lost:])
	}
	if tally.Moves > 0 {
		t.Errorf("%d times a UDP flow came to the server from another port (NT5)", tally.Moves)
	}
	r := NewResult("kill-"+k.name, *command)
	r.Add("rounds", len(s.detection), "")
	r.Add("established TCP connections at each kill", len(keys)-len(o.streams.flows), "")
	r.Add("of them lost in all rounds", len(lost), "0")
	r.Add("UDP flows at each kill", len(o.streams.flows), "")
	r.Add("UDP packets sent / lost there / lost back in all rounds", fmt.Sprintf("%d / %d / %d", tally.Sent, tally.LostThere, tally.LostBack), "")
	if k.nat != "" {
		r.Add("times that a flow came to the server from another port (NT5)", tally.Moves, "0")
	}
	r.Add("short connections opened and closed meanwhile", churned.Done, "")
	r.Add("of them failed, in words", broken(churned), "")
	r.Add("routers withdraw the node after, min / median / p99 / max", Distribute(s.routers), "")
	r.Add("detection: until the last node has the new view", Distribute(s.detection), k.aim("p99 max 200 ms"))
	r.Add("between the first and the last node's view", Distribute(s.spread), "")
	r.Add("longest UDP gap minus detection", Distribute(s.blackout), "aim: max 50 ms")
	r.Add("longest UDP gap", Distribute(s.gap), k.aim("p99 max 230 ms"))
	r.Add("longest TCP stall (its retransmission timer doubles)", Distribute(s.stall), "")
	r.Add("connections of living owners protected again after the new view (FR12)", Distribute(s.healed), "")
	r.Add("rounds in which more than one view followed", s.disturbed, "")
	r.Add("survivors dropped from kill to recovery, in all rounds", drops(s.dropped), "")
	if k.daemon {
		r.Add("packets that the dead daemon's fast path forwarded after the new view", s.zombie, "0")
		r.Add("packets that it dropped by lease", s.expired, "")
	}
	finish(t, r)
}

// aim is what must hold of a time in the fast profile; the others only report it.
func (k *kill) aim(text string) string {
	if k.fast {
		return text
	}
	return ""
}

// broken lists the first short connections that failed before the end. With
// durability async one may die with its owner before its copy is made.
func broken(r *traffic.Report) string {
	var list []string
	for _, err := range r.Errors {
		if !errors.Is(err, context.Canceled) && !errors.Is(err, net.ErrClosed) {
			list = append(list, err.Error())
		}
	}
	if list == nil {
		return "none"
	}
	return strings.Join(list, "; ")
}

// one is what a round measured.
type one struct {
	routers, detection, spread, blackout, gap, stall, healed time.Duration

	views           int
	zombie, expired uint64
	dropped         map[string]uint64 // by the survivors
}

func (r one) String() string {
	ms := func(d time.Duration) string { return fmt.Sprintf("%.1f", float64(d.Microseconds())/1000) }
	return fmt.Sprintf("routers %s, detection %s (spread %s), gap-detection %s, tcp stall %s, healed %s ms; views %d, zombie %d, lease drops %d, survivors dropped: %s",
		ms(r.routers), ms(r.detection), ms(r.spread), ms(r.blackout), ms(r.stall), ms(r.healed), r.views, r.zombie, r.expired, drops(r.dropped))
}

// kept are the measures of all rounds.
type kept struct {
	routers, detection, spread, blackout, gap, stall, healed []time.Duration

	disturbed       int
	zombie, expired uint64
	dropped         map[string]uint64
	lost            int
}

func (s *kept) add(r one) {
	s.routers = append(s.routers, r.routers)
	s.detection = append(s.detection, r.detection)
	s.spread = append(s.spread, r.spread)
	s.blackout = append(s.blackout, r.blackout)
	s.gap = append(s.gap, r.gap)
	s.stall = append(s.stall, r.stall)
	s.healed = append(s.healed, r.healed)
	if r.views > 1 {
		s.disturbed++
	}
	for name, n := range r.dropped {
		s.dropped[name] += n
	}
	s.zombie += r.zombie
	s.expired += r.expired
}

// awaitProtected waits until the connections have one owner and one copy each.
func awaitProtected(ctx context.Context, l *lab, keys []Key) error {
	var why []string
	err := topology.Poll(ctx, func() (bool, error) {
		c, err := TakeCensus(ctx, l.Topology, api.ConnFilter{})
		if err == nil {
			why = c.Unprotected(keys)
		}
		return err == nil && len(why) == 0, nil
	})
	if err != nil {
		return fmt.Errorf("%d of %d connections stay unprotected: %w: %v", len(why), len(keys), err, why[:min(len(why), 5)])
	}
	return nil
}

// round kills the victim, measures, and brings it back.
func (o *load) round(l *lab, k kill, victim *topology.Node) (r one, err error) {
	ctx, cancel := context.WithTimeout(l.ctx, 25*time.Second)
	defer cancel()
	was, err := TakeCensus(ctx, l.Topology, api.ConnFilter{})
	if err != nil {
		return r, err
	}
	others, err := SumCounters(ctx, l.Topology, victim)
	if err != nil {
		return r, err
	}
	keys := o.keys()
	o.mark()
	before, err := Counters(victim)
	if err != nil {
		return r, err
	}
	outage := topology.Outage{Begin: time.Now()}
	if k.daemon {
		err = victim.KillDaemon()
		outage.End = time.Now()
	} else {
		outage, err = victim.PowerOff()
	}
	if err != nil {
		return r, err
	}
	var zombie *watch
	if k.daemon {
		zombie = watchForwarding(ctx, victim)
		defer zombie.stop()
	}
	d, err := Detect(ctx, l.Topology, victim, outage.Begin)
	if err != nil {
		return r, err
	}
	r.detection, r.spread, r.views = d.Last.Sub(outage.Begin), d.Last.Sub(d.First), d.Views
	// Those of living owners are re-registered; those of the dead one are
	// adopted when their next packet comes.
	var kept []Key
	for _, key := range keys {
		if owners := was.With(key, api.Owner); len(owners) == 1 && owners[0] != victim {
			kept = append(kept, key)
		}
	}
	if err := awaitProtected(ctx, l, kept); err != nil {
		return r, err
	}
	r.healed = time.Since(d.Last)
	if err := topology.Poll(ctx, func() (bool, error) { return o.allSince(d.Last), nil }); err != nil {
		return r, fmt.Errorf("not everything lives after the new view: %w", err)
	}
	if err := awaitProtected(ctx, l, keys); err != nil {
		return r, err
	}
	othersNow, err := SumCounters(ctx, l.Topology, victim)
	if err != nil {
		return r, err
	}
	r.dropped = growth(others, othersNow)
	for _, g := range o.streams.Gaps() {
		r.gap = max(r.gap, g.Length())
	}
	r.blackout = r.gap - r.detection
	for _, s := range append(o.idle.Stalls(), o.busy.Stalls()...) {
		r.stall = max(r.stall, s)
	}
	for _, router := range []*topology.Router{l.Inside, l.Outside} {
		at, err := router.Tracker().Wait(ctx, victim.Index-1, false)
		if err != nil {
			return r, err
		}
		r.routers = max(r.routers, at.Sub(outage.Begin))
	}
	if k.daemon {
		after, err := zombie.stop()
		if err != nil {
			return r, err
		}
		r.zombie = after.since(d.First)
		r.expired = growth(before, after.last().counts)["drop_lease_expired"]
		return r, victim.StartDaemon()
	}
	return r, victim.PowerOn()
}
