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

	"cohort/api"
	"cohort/testenv/topology"
)

// failure is one kind, and what must hold in each of its rounds.
type failure struct {
	name, what string
	config     topology.Config // beyond what all have
	victims    func(*scene) []*topology.Node
	prepare    func(*scene, []*topology.Node) error // before the load
	strike     func(*scene, []*topology.Node) error
	mend       func(*scene, []*topology.Node) error
	lasts      time.Duration // after the removal, or altogether where nobody leaves
	stays      bool          // the victims must stay in all views
	dies       bool          // the victims take with them what nobody else holds
	blocks     bool          // what meets a victim does not flow before it is mended
	zombie     bool          // the fast path outlives the daemon: it must be silent after the removal
	proof      func(*scene) (string, error)
	patience   time.Duration // of connections; 20 s
	slice      bool          // part of make test
}

const failureHold = time.Second

var (
	syncRules = []string{"{name: sync, from: inside, to: outside, action: allow, durability: sync}"}
	// Nodes come back at once, and are judged by their interfaces from the start.
	promptHealth = "join_grace: 0s, rejoin: {interface: {attempts: forever, interval: 1s, variation: 1}, control_link: {interval: 1s}, node: {interval: 1s}}"
)

var failures = []failure{
	{name: "kill-owner", what: "daemon of an owner killed (-9)", victims: withRole("owner"), strike: each((*topology.Node).KillDaemon), mend: each((*topology.Node).StartDaemon), dies: true, zombie: true},
	{name: "kill-owner-sync", what: "daemon of an owner killed, durability sync", config: topology.Config{Rules: syncRules}, victims: withRole("owner"), strike: each((*topology.Node).KillDaemon), mend: each((*topology.Node).StartDaemon), dies: true, zombie: true},
	{name: "kill-director", what: "daemon of a director with copies killed", victims: withRole("director"), strike: each((*topology.Node).KillDaemon), mend: each((*topology.Node).StartDaemon), dies: true, zombie: true},
	{name: "kill-control", what: "daemon of the control node killed", victims: withRole("control"), strike: each((*topology.Node).KillDaemon), mend: each((*topology.Node).StartDaemon), dies: true, zombie: true},
	{name: "power-owner", what: "power of an owner off", victims: withRole("owner"), strike: each(powerOff), mend: each((*topology.Node).PowerOn), dies: true},
	{name: "power-owner-sync", what: "power of an owner off, durability sync", config: topology.Config{Rules: syncRules}, victims: withRole("owner"), strike: each(powerOff), mend: each((*topology.Node).PowerOn), dies: true, slice: true},
	{name: "power-director", what: "power of a director with copies off", victims: withRole("director"), strike: each(powerOff), mend: each((*topology.Node).PowerOn), dies: true},
	{name: "power-control", what: "power of the control node off", victims: withRole("control"), strike: each(powerOff), mend: each((*topology.Node).PowerOn), dies: true},
	{name: "power-two", what: "power of two owners off at once", victims: some(2), patience: 8 * time.Second, strike: each(powerOff), mend: each((*topology.Node).PowerOn), dies: true},
	{name: "stop", what: "daemon of an owner stopped (SIGSTOP), goes on three hold times after its removal", victims: withRole("owner"), strike: each((*topology.Node).StopDaemon), mend: each((*topology.Node).ContDaemon), lasts: 3 * failureHold, dies: true, zombie: true},
	{name: "link-sends", what: "control link of a node cut one way: what it sends is lost", victims: some(1), strike: each(cut(topology.FromNode)), mend: each(mendCCL), lasts: 2 * failureHold, blocks: true},
	{name: "link-receives", what: "control link of a node cut one way: what is sent to it is lost", victims: some(1), strike: each(cut(topology.ToNode)), mend: each(mendCCL), lasts: 2 * failureHold, blocks: true},
	{name: "link-receives-control", what: "control link of the control node cut one way: what is sent to it is lost", victims: withRole("control"), strike: each(cut(topology.ToNode)), mend: each(mendCCL), lasts: 2 * failureHold, blocks: true},
	{name: "link-both", what: "control link of a node cut both ways", victims: some(1), strike: each(cut(topology.Both)), mend: each(mendCCL), lasts: 2 * failureHold, blocks: true},
	{name: "link-mtu", what: "control link of a node loses what is larger than 1500", victims: some(1), prepare: lineEach, strike: each(setLine(bigLost)), mend: each(setLine(perfect)), lasts: 4 * failureHold, proof: linesProof},
	{name: "link-full", what: "control link of all nodes full, every packet at a random node", config: topology.Config{Spray: true}, prepare: lineAll, strike: fillLinks, mend: emptyLinks, lasts: 5 * failureHold, blocks: true, proof: linesProof},
	{name: "data-link", what: "one data interface of an owner down", victims: withRole("owner"), strike: each(dataLinks(false, topology.OutsideIface)), mend: each(dataLinks(true, topology.OutsideIface)), lasts: failureHold, slice: true},
	{name: "data-links", what: "all data interfaces of all nodes but one down", victims: some(3), strike: each(dataLinks(false, topology.InsideIface, topology.OutsideIface)), mend: each(dataLinks(true, topology.InsideIface, topology.OutsideIface)), lasts: failureHold, dies: true, patience: 8 * time.Second},
	{name: "cpu", what: "all CPUs of the machine busy, with twice as many processes", strike: busyCPUs, mend: idleCPUs, lasts: 5 * failureHold, blocks: true, proof: busyProof},
	{name: "disk-slow", what: fmt.Sprintf("disks of all nodes slow (each change in state_dir takes %v), and the power of an owner off", slowness), victims: withRole("owner"), prepare: diskEach, strike: slowDisks, mend: fastDisks, lasts: 3 * failureHold, dies: true, proof: slowProof},
	{name: "disk-full", what: "state_dir of all nodes full, and the power of an owner off", victims: withRole("owner"), strike: fullDisks, mend: freeDisks, lasts: failureHold, dies: true},
}

func failureNames() (names []string) {
	for _, f := range failures {
		names = append(names, f.name)
	}
	return names
}

// Every failure that the design has an answer to: who leaves the cluster, when,
// who takes over, and what clients notice. Losses of what somebody else held,
// and removals of nodes that nothing happened to, are failures of the test.
func TestFR11_FR13_HL2_HL5_EL9_Failures(t *testing.T) {
	beside(t)
	for _, f := range failures {
		t.Run(f.name, func(t *testing.T) {
			if !*full && !f.slice {
				t.Skip("a part of the whole proof")
			}
			beside(t)
			failureCampaign(t, f)
		})
	}
}

func failureCampaign(t *testing.T, f failure) {
	n := killRounds(1, 20)
	cfg := f.config
	cfg.HoldTime, cfg.Track, cfg.Health = failureHold, quick, promptHealth
	l := newLab(t, cfg, time.Duration(n)*40*time.Second+time.Minute)
	machine := NewResult(f.name, *command)
	row := Failure{Name: f.name, What: f.what, Command: machine.Command, Machine: machine.Machine, Time: machine.Time, HoldMS: ms(failureHold)}
	for i := range n {
		s := &scene{lab: l, t: t, f: f}
		r := s.round()
		t.Logf("round %d: %+v", i+1, r)
		row.Rounds = append(row.Rounds, r)
	}
	t.Log(row.cells())
	if *results != "" && !t.Failed() {
		if err := WriteFailure(*results, row, failureNames()); err != nil {
			t.Error(err)
		}
	}
}

// scene is one round.
type scene struct {
	*lab
	t        *testing.T
	f        failure
	o        *load
	arrivals *Arrivals
	undo     []func() // of what a strike began beside the nodes
	begin    time.Time
	struck   []*topology.Node
	watches  []*watch
	idle     uint64 // ticks, when the CPUs became busy
}

func (s *scene) check(err error) {
	s.t.Helper()
	if err != nil {
		s.t.Fatal(err)
	}
}

// until waits for a moment.
func (s *scene) until(at time.Time) {
	s.t.Helper()
	timer := time.NewTimer(time.Until(at))
	defer timer.Stop()
	select {
	case <-timer.C:
	case <-s.ctx.Done():
		s.t.Fatal(s.ctx.Err())
	}
}

// flows waits until everything that lives had an answer after a moment.
func (s *scene) flows(since time.Time) {
	s.t.Helper()
	ctx, cancel := context.WithTimeout(s.ctx, 30*time.Second)
	defer cancel()
	if err := topology.Poll(ctx, func() (bool, error) { return s.o.allSince(since), nil }); err != nil {
		s.t.Fatalf("not everything flows: %v", err)
	}
}

func (s *scene) survivors(victims []*topology.Node) (list []*topology.Node) {
	for _, n := range s.Nodes {
		if !slices.Contains(victims, n) {
			list = append(list, n)
		}
	}
	return list
}

func names(nodes []*topology.Node) (list []string) {
	for _, n := range nodes {
		list = append(list, n.Name)
	}
	return list
}

// lead is how long connections arrive before the failure.
const lead = 700 * time.Millisecond

func (s *scene) round() (r FailureRound) {
	t := s.t
	t.Helper()
	s.whole(t)
	size := failureLoad
	if s.f.patience > 0 {
		size.timeout = s.f.patience
	}
	s.o = openLoad(t, s.lab, size)
	s.protected(t, s.o.keys())
	var victims []*topology.Node
	if s.f.victims != nil {
		victims = s.f.victims(s)
	}
	r.Victims = names(victims)
	survivors := s.survivors(victims)
	if s.f.prepare != nil {
		s.check(s.f.prepare(s, victims))
		s.flows(time.Now())
	}
	control, err := s.ControlNode(s.ctx)
	s.check(err)
	r.Control = control.Name
	s.arrivals = StartArrivals(s.ctx, s.client, s.echo.Addr, arrivalEvery, arrivalPatience)
	t.Cleanup(func() { s.arrivals.Finish() })
	s.until(time.Now().Add(lead + rand.N(500*time.Millisecond)))
	exposed := s.counters(t)["exposed_packets"]
	was := s.census(t)
	s.o.mark()
	s.begin, s.struck = time.Now(), victims
	defer func() {
		for _, f := range s.undo {
			f()
		}
	}()
	s.check(s.f.strike(s, victims))
	if s.f.zombie {
		for _, v := range victims {
			w := watchForwarding(s.ctx, v)
			defer w.stop()
			s.watches = append(s.watches, w)
		}
	}
	gone := s.begin
	if !s.f.stays && len(victims) > 0 {
		gone = s.removal(&r, victims, survivors)
	}
	if !s.f.blocks {
		s.flows(gone)
		r.FlowsAgain = ms(time.Since(s.begin))
	}
	s.until(gone.Add(s.f.lasts))
	s.look(&r, was, victims, survivors, gone)
	mended := time.Now()
	r.LastedMS = ms(mended.Sub(s.begin))
	s.check(s.f.mend(s, victims))
	s.whole(t)
	s.flows(time.Now())
	flowed := time.Now()
	if s.f.blocks {
		r.FlowsAgain = ms(flowed.Sub(s.begin))
	}
	s.judge(&r, was, victims, survivors, flowed)
	if now := s.counters(t)["exposed_packets"]; len(s.f.config.Rules) > 0 && now > exposed {
		r.Exposed = now - exposed
	}
	return r
}

// removal waits until all others have removed the victims.
func (s *scene) removal(r *FailureRound, victims, survivors []*topology.Node) (last time.Time) {
	s.t.Helper()
	ctx, cancel := context.WithTimeout(s.ctx, 15*time.Second)
	defer cancel()
	var gone *Removals
	err := topology.Poll(ctx, func() (ok bool, err error) {
		if gone, err = TakeRemovals(ctx, survivors, s.Nodes, s.begin); err != nil {
			return false, err
		}
		return gone.All(r.Victims, len(survivors)), nil
	})
	if err != nil {
		s.t.Fatalf("%v are not removed by all others: %v: %+v", r.Victims, err, gone)
	}
	first := time.Time{}
	for _, v := range victims {
		if at := gone.Last[v.Name]; at.After(last) {
			last = at
		}
		if at := gone.First[v.Name]; first.IsZero() || at.Before(first) {
			first = at
		}
		r.Removed = append(r.Removed, v.Name)
		r.Why = gone.Why[v.Name]
	}
	r.RemovedMS = ms(last.Sub(s.begin))
	return last
}

// look is what the nodes say while the failure is there.
func (s *scene) look(r *FailureRound, was Census, victims, survivors []*topology.Node, gone time.Time) {
	t := s.t
	t.Helper()
	for i, w := range s.watches {
		taken, err := w.stop()
		s.check(err)
		if n := taken.since(gone); n > 0 {
			t.Errorf("the fast path of %s forwarded %d packets after all others had a view without it", victims[i].Name, n)
		}
	}
	info, err := survivors[0].API().Info(s.ctx)
	s.check(err)
	if info.Control != r.Control {
		r.NewControl = info.Control
	}
	now, err := censusOf(s.ctx, survivors, api.ConnFilter{})
	s.check(err)
	for _, k := range s.o.keys() {
		if owners := was.With(k, api.Owner); len(owners) == 0 || !slices.Contains(victims, owners[0]) {
			continue
		}
		r.Owned++
		for _, n := range now.With(k, api.Owner) {
			if r.TakenBy == nil {
				r.TakenBy = map[string]int{}
			}
			r.TakenBy[n.Name]++
		}
	}
	for _, v := range victims {
		ctx, cancel := context.WithTimeout(s.ctx, 300*time.Millisecond)
		info, err := v.API().Info(ctx)
		cancel()
		switch {
		case err != nil:
			r.VictimsSay = append(r.VictimsSay, "nothing")
		case len(info.Members) == 0:
			r.VictimsSay = append(r.VictimsSay, info.State)
		default:
			r.VictimsSay = append(r.VictimsSay, fmt.Sprintf("%s, %d members", info.State, len(info.Members)))
		}
	}
	if s.f.proof != nil {
		if r.Proof, err = s.f.proof(s); err != nil {
			t.Errorf("the failure did not take place: %v", err)
		}
	}
}

// judge counts what was lost and who left for nothing.
func (s *scene) judge(r *FailureRound, was Census, victims, survivors []*topology.Node, flowed time.Time) {
	t := s.t
	t.Helper()
	arrivals := s.arrivals.Finish()
	var lost []string
	// Nothing but the victims held it when they died. One victim alone holds
	// nothing alone for long; what it does is the window of durability async.
	doomed := func(k Key) bool {
		if !s.f.dies || len(victims) < 2 || len(was[k]) == 0 {
			return false
		}
		return !slices.ContainsFunc(was[k], func(h Holding) bool {
			return (h.Roles.Has(api.Owner) || h.Roles.Has(api.Backup)) && !slices.Contains(victims, h.Node)
		})
	}
	fates := s.o.idle.Finish()
	dead := append(s.o.idle.DeadKeys(), s.o.busy.DeadKeys()...)
	fates = append(fates, s.o.busy.Finish()...)
	for _, k := range append(s.o.idle.Keys(), s.o.busy.Keys()...) {
		r.Open++
		if doomed(k) {
			r.Doomed++
		}
	}
	for i, k := range dead {
		r.Lost++
		if !doomed(k) {
			lost = append(lost, fmt.Sprintf("%v; %s", fates[i], was.Describe(k)))
		}
	}
	for _, a := range arrivals {
		switch {
		case !a.Failed() && a.Opened.Before(s.begin):
			r.Open++
			if doomed(a.Key) {
				r.Doomed++
			}
			if a.Err == nil {
				continue
			}
			r.Lost++
			fresh := s.begin.Sub(a.Opened) < freshFor
			if fresh && !doomed(a.Key) {
				r.Fresh++
			}
			if !doomed(a.Key) && (!fresh || len(s.f.config.Rules) > 0) {
				lost = append(lost, fmt.Sprintf("opened %v before: %v; %s", s.begin.Sub(a.Opened), a.Err, was.Describe(a.Key)))
			}
		case !a.Began.Before(s.begin) && a.Began.Before(flowed):
			r.New++
			if a.Err != nil {
				r.NewFailed++
			} else {
				r.NewLongest = max(r.NewLongest, ms(a.Opened.Sub(a.Began)))
			}
		}
	}
	if len(lost) > 0 {
		t.Errorf("%d connections lost that should live: %v", len(lost), lost[:min(4, len(lost))])
	}
	for _, g := range s.o.streams.Gaps() {
		r.GapMS = max(r.GapMS, ms(g.Length()))
	}
	for _, d := range append(s.o.idle.Stalls(), s.o.busy.Stalls()...) {
		r.StallMS = max(r.StallMS, ms(d))
	}
	all, err := TakeRemovals(s.ctx, survivors, s.Nodes, s.begin)
	s.check(err)
	may := r.Victims
	if s.f.stays {
		may = nil
	}
	if r.Others = all.Others(may); len(r.Others) > 0 {
		t.Errorf("%v left for nothing: %v", r.Others, all.Why)
	}
	s.o.close()
}

// failureLoad is small: the machine carries clients, routers and servers too.
var failureLoad = loadSize{idle: 60, busy: 4, streams: 24, every: 10 * time.Millisecond, timeout: 20 * time.Second}

// powerOff forgets when it was.
func powerOff(n *topology.Node) error {
	_, err := n.PowerOff()
	return err
}

// each does something to all victims at once.
func each(do func(*topology.Node) error) func(*scene, []*topology.Node) error {
	return func(_ *scene, victims []*topology.Node) error {
		errs := make([]error, len(victims))
		var all sync.WaitGroup
		for i, n := range victims {
			all.Go(func() { errs[i] = do(n) })
		}
		all.Wait()
		return errors.Join(errs...)
	}
}

func withRole(what string) func(*scene) []*topology.Node {
	return func(s *scene) []*topology.Node {
		n := role(s.lab, s.t, what, s.o.keys())
		if n == nil {
			s.t.Fatalf("nobody is %s of any connection", what)
		}
		return []*topology.Node{n}
	}
}

// some picks nodes at random.
func some(n int) func(*scene) []*topology.Node {
	return func(s *scene) (list []*topology.Node) {
		for _, i := range rand.Perm(len(s.Nodes))[:n] {
			list = append(list, s.Nodes[i])
		}
		return list
	}
}
