package main

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"cohort/bench/stat"
	"cohort/bench/traffic"
	"cohort/config"
)

// scaleConfig bounds the measurement of how a cluster grows.
type scaleConfig struct {
	nodes   []int
	spreads []string // of spreads
	flows   int      // open connections whose packets are sent
	few     int      // of these, whose entries the caches hold
	packets int      // of one sample, from the clients; each is answered
	chunk   int      // connections of one sample of the rate
	burst   int      // connections opened at once, for each node
	rounds  int      // wanted, of each comparison
	time    time.Duration
	watch   time.Duration // of daemons with nothing to do
	once    bool          // rounds of A B C, and entries of ended connections count too
	figures []string      // of scaleFigures
	forward string        // one of forwardings; "" = all
	profile string        // directory for CPU profiles of the cluster's daemons, or ""
	cpu     int
}

// How the routers on both sides spread what they send.
const (
	spreadFlows   = "connections" // ECMP: a connection's packets of one direction go one way
	spreadPackets = "packets"     // each packet goes to a random node
)

var spreads = []string{spreadFlows, spreadPackets}

// The figures of scale, in the order in which they are measured.
const (
	figureRate        = "rate"
	figureConnections = "connections"
	figureThroughput  = "throughput"
)

// maxBurst is how many first packets for one node its rings hold for certain.
const maxBurst = 448

var scaleFigures = []string{figureRate, figureConnections, figureThroughput}

// Forwarding of a cluster: what a node does with a packet of another's
// connection.
const (
	forwardOwner    = "owner-only"
	forwardDelegate = "delegate"
)

// ScaleResult is what n nodes cost that share one CPU, against one node that has
// it alone. A factor is (T1 - floor) / (Tn - floor) of CPU time: the share of
// the combined capacity that survives clustering.
type ScaleResult struct {
	Nodes      int    `json:"nodes"`
	Forwarding string `json:"forwarding"`
	Spread     string `json:"routers_spread"`

	Throughput  *ScaleThroughput  `json:"throughput,omitempty"`
	Few         *ScaleThroughput  `json:"throughput_few,omitempty"` // of connections that the caches hold
	Connections *ScaleConnections `json:"connections,omitempty"`
	Rate        *ScaleRate        `json:"rate,omitempty"`
}

// ScaleThroughput compares packets of open connections, both ways. Times are ns
// of CPU a packet without the generator.
type ScaleThroughput struct {
	Rounds    int          `json:"rounds"`
	Rejected  int          `json:"rounds_rejected"`
	Disturbed bool         `json:"disturbed"`
	Flows     int          `json:"connections"`
	One       stat.Summary `json:"one_ns"`
	Many      stat.Summary `json:"many_ns"` // the switch of the control link included
	Apart     stat.Summary `json:"apart_ns"`
	Switch    stat.Summary `json:"switch_ns"`
	// Crossings is how often a packet crosses the control link, on average.
	Crossings float64 `json:"crossings_per_packet"`
	// Factor is without the time of the switch, which is a machine of its own
	// elsewhere; WithSwitch is with it.
	Factor     stat.Summary `json:"factor"`
	WithSwitch stat.Summary `json:"factor_with_switch"`
	// Upkeep is what of Many the daemons take beyond what they do with nothing to do:
	// ageing, leases and reports of what has traffic, each in a message of its own for
	// each pair of nodes. Packets is the factor without it on both sides, an upper bound of
	// that of the packets alone (doc.go).
	Upkeep  stat.Summary `json:"many_upkeep_ns"`
	Packets stat.Summary `json:"factor_of_packets"`
	// ToApart compares with as many nodes that share the CPU and know nothing of
	// each other, each connection at one of them: what clustering takes, without
	// what it takes to share the CPU.
	ToApart stat.Summary `json:"factor_to_nodes_apart"`
}

// ScaleConnections compares the memory of one connection: all entries of all
// nodes, with their share of the index.
type ScaleConnections struct {
	Connections int     `json:"connections"`
	Owned       float64 `json:"owner_entries"` // each a connection
	Copies      float64 `json:"backup_entries"`
	Stubs       float64 `json:"stubs"`
	Joined      float64 `json:"joined"` // of the copies: that are stubs as well
	Forwards    float64 `json:"forward_entries"`
	OneBytes    float64 `json:"one_bytes"`
	ManyBytes   float64 `json:"many_bytes"`
	Factor      float64 `json:"factor"`
}

// ScaleRate compares whole short connections: handshake, data both ways, close,
// and the end of all entries. Times are us of CPU a connection without the
// generator and without what idle daemons take.
type ScaleRate struct {
	Rounds      int          `json:"rounds"`
	Rejected    int          `json:"rounds_rejected"`
	Disturbed   bool         `json:"disturbed"`
	Connections int          `json:"connections_per_sample"`
	One         stat.Summary `json:"one_us"`
	Many        stat.Summary `json:"many_us"`
	Masquerade  stat.Summary `json:"masquerade_us"`
	Apart       stat.Summary `json:"apart_us"`
	Factor      stat.Summary `json:"factor"`
	ToApart     stat.Summary `json:"factor_to_nodes_apart"` // see ScaleThroughput
	// ToMasquerade is how many times masquerade's connections one node takes.
	ToMasquerade stat.Summary `json:"one_to_masquerade"`
	// Frames and Bytes are what the control link carries for a connection, with
	// forwarded packets apart.
	Frames  float64 `json:"link_frames"`
	Bytes   float64 `json:"link_bytes"`
	Crossed float64 `json:"forwarded_packets"`
	// Switch is what the switch of the control link takes for one frame, in us.
	// Factor is without that, as often as frames cross; WithSwitch is with it.
	Switch     stat.Summary `json:"switch_us"`
	WithSwitch stat.Summary `json:"factor_with_switch"`
	// Raw is the factor when neither the switch nor what idle daemons take is
	// subtracted, from none of its two times.
	Raw stat.Summary `json:"factor_raw"`
	// Idle is the share of a CPU that one node's daemon takes with nothing to do,
	// and IdleOne and IdleMany what all of them took for a connection, in us.
	Idle     float64      `json:"idle_share_of_cpu"`
	IdleOne  stat.Summary `json:"idle_one_us"`
	IdleMany stat.Summary `json:"idle_many_us"`
}

// forwardings are the ways that this build knows, with the line of the
// configuration that chooses each.
func forwardings() map[string]string {
	all := make(map[string]string)
	for _, f := range []string{forwardOwner, forwardDelegate} {
		line := "forwarding: " + f + "\n"
		c := clusterConfig{nodes: 2, flows: 1024, more: line}
		if _, err := config.ParseCluster("", []byte(c.yaml())); err == nil {
			all[f] = line
		}
	}
	if len(all) == 0 {
		all[forwardOwner] = ""
	}
	return all
}

// measureScale compares clusters with one node, one number of nodes and one way
// of forwarding after the other.
func measureScale(ctx context.Context, cfg scaleConfig) (all []ScaleResult, err error) {
	restore, err := confine(cfg.cpu)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, restore()) }()
	for _, n := range cfg.nodes {
		ways := forwardings()
		for _, way := range sorted(ways) {
			if cfg.forward != "" && way != cfg.forward {
				continue
			}
			if n == 1 && cfg.forward == "" && way != sorted(ways)[0] {
				continue // nobody is there to forward to
			}
			for _, spread := range cfg.spreads {
				if n == 1 && spread != cfg.spreads[0] {
					continue
				}
				r := ScaleResult{Nodes: n, Forwarding: way, Spread: spread}
				if err := r.measure(ctx, cfg, ways[way]); err != nil {
					return all, fmt.Errorf("%d nodes, %s, routers that spread %s: %w", n, way, spread, err)
				}
				all = append(all, r)
			}
		}
	}
	return all, nil
}

// scene is all talks of one comparison.
type scene struct {
	cfg    scaleConfig
	tally  *tally
	floor1 *talk // generator with one port
	floorN *talk // and with one for each node
	peer   *talk
	wire   *talk           // the switch
	hop    *traffic.Fabric // of wire
	one    *talk
	many   *talk
	apart  *talk           // as many nodes that know nothing of each other
	link   *traffic.Fabric // of many
	lends  bool            // many does
}

// scalePool has addresses enough for all that is opened while ports rest.
const scalePool = "nat: {hold_down: 1s, pools: {egress: {addresses: 203.0.113.16-203.0.113.31}}, rules: [{name: out, type: dynamic-pat, from: inside, to: outside, source: 10.0.0.0/8, pool: egress}]}\n"

// room is how many connections the tables of a node hold.
func (cfg *scaleConfig) room() int { return max(2*(cfg.flows+2*cfg.chunk), 1<<15) }

func (r *ScaleResult) measure(ctx context.Context, cfg scaleConfig, line string) (err error) {
	undo, err := conntrackRoom(8 * cfg.chunk * (cfg.rounds + 1))
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, undo()) }()
	s := &scene{cfg: cfg, lends: r.Nodes > 1 && r.Forwarding == forwardDelegate}
	if s.tally, err = newTally(cfg.cpu); err != nil {
		return err
	}
	var closes []func() error
	defer func() {
		for _, c := range slices.Backward(closes) {
			err = errors.Join(err, c())
		}
	}()
	shape := traffic.Talk{Flows: traffic.MaxSpread, Hosts: 4096, ByFlow: r.Spread == spreadFlows}
	start := func(name string, nodes int, shape traffic.Talk) (*talk, error) {
		profile := cfg.profile
		if nodes < r.Nodes || shape.Back {
			profile = ""
		}
		c, err := newCluster(ctx, clusterConfig{nodes: nodes, flows: cfg.room(), more: scalePool + line, talks: true, apart: shape.Back, profile: profile})
		if err != nil {
			return nil, err
		}
		closes = append(closes, c.close)
		return c.talk(name, shape)
	}
	if r.Nodes > 1 { // they take a while to find out that they are alone
		alone := shape
		alone.ByFlow, alone.Back = true, true
		if s.apart, err = start("nodes apart", r.Nodes, alone); err != nil {
			return err
		}
	}
	if s.one, err = start("one node", 1, shape); err != nil {
		return err
	}
	s.many = s.one
	if r.Nodes > 1 {
		if s.many, err = start("cluster", r.Nodes, shape); err != nil {
			return err
		}
		if s.link, err = s.many.cluster.controlLink(nil); err != nil {
			return err
		}
	}
	l := s.one.cluster.lab
	if s.floor1, err = l.directTalk("floor1", 1, shape); err != nil {
		return err
	}
	if s.floorN, err = l.directTalk("floor", r.Nodes, shape); err != nil {
		return err
	}
	if s.wire, s.hop, err = l.switchedTalk("wire", shape); err != nil {
		return err
	}
	if s.peer, err = l.masqueradeTalk("masq", shape); err != nil {
		return err
	}
	if s.apart != nil {
		if err := s.apart.cluster.waitApart(ctx); err != nil {
			return err
		}
	}
	if err := r.compare(ctx, s); err != nil {
		return err
	}
	return s.many.cluster.saveProfiles(ctx, connectConfig{profile: cfg.profile})
}

// talks are all, each once, in the order of a round.
func (s *scene) talks() []*talk {
	all := []*talk{s.floor1, s.peer, s.wire, s.one}
	if s.many != s.one {
		all = append(all, s.many, s.apart, s.floorN)
	}
	return all
}

// compare measures the rate before the open connections are there.
func (r *ScaleResult) compare(ctx context.Context, s *scene) (err error) {
	for _, t := range s.talks() {
		if err := s.tally.admit(ctx, t, s.cfg.watch); err != nil {
			return err
		}
	}
	for _, t := range s.talks() {
		if err := s.warm(ctx, t); err != nil {
			return err
		}
	}
	wants := func(figure string) bool { return slices.Contains(s.cfg.figures, figure) }
	if wants(figureRate) {
		if r.Rate, err = s.rate(ctx); err != nil {
			return fmt.Errorf("rate: %w", err)
		}
	}
	if !wants(figureConnections) && !wants(figureThroughput) {
		return nil
	}
	if r.Connections, err = s.entries(ctx); err != nil {
		return fmt.Errorf("connections: %w", err)
	}
	if !wants(figureThroughput) {
		return nil
	}
	if few := s.cfg.few; few < s.cfg.flows {
		if r.Few, err = s.throughput(ctx, few); err != nil {
			return fmt.Errorf("throughput of %d connections: %w", few, err)
		}
	}
	if r.Throughput, err = s.throughput(ctx, s.cfg.flows); err != nil {
		return fmt.Errorf("throughput: %w", err)
	}
	for _, t := range s.talks() {
		err = errors.Join(err, t.sound())
	}
	return err
}

// lap is one round of a comparison: the mean of both samples of each talk. each
// is without idle, what the talk's daemons would have taken anyway, and with upkeep,
// what they took beyond that.
type lap struct {
	each, idle   map[*talk]float64
	upkeep       map[*talk]float64
	crossings    float64
	quiet, whole bool
}

// laps has rounds of A B C C B A until enough are quiet, or the time is over and one
// is whole.
func (s *scene) laps(ctx context.Context, talks []*talk, sample sampler) ([]lap, error) {
	var all []lap
	var lost []string
	quiet := 0
	for end := time.Now().Add(s.cfg.time); quiet < s.cfg.rounds && len(all) < 2*s.cfg.rounds && (!slices.ContainsFunc(all, isWhole) || time.Now().Before(end)); {
		one := lap{each: make(map[*talk]float64), idle: make(map[*talk]float64), upkeep: make(map[*talk]float64), whole: true}
		var with company
		order, passes := slices.Clone(talks), passesOf(s.cfg.once)
		for range passes {
			for _, t := range order {
				each, c, missed, err := watched(ctx, t, sample)
				if err != nil {
					return nil, err
				}
				if missed != "" {
					lost = append(lost, missed)
				}
				one.each[t] += each / float64(passes)
				one.idle[t] += each / float64(passes) * c.idleShare()
				one.upkeep[t] += each / float64(passes) * c.upkeepShare()
				with.add(c)
				one.whole = one.whole && missed == ""
			}
			slices.Reverse(order)
		}
		one.quiet = with.quiet()
		all = append(all, one)
		if one.quiet && one.whole {
			quiet++
		}
	}
	if !slices.ContainsFunc(all, isWhole) {
		return nil, fmt.Errorf("%w: %s", errLost, strings.Join(lost, "; "))
	}
	return all, nil
}

func isWhole(o lap) bool { return o.whole }

func passesOf(once bool) int {
	if once {
		return 1
	}
	return 2
}

// used are the quiet laps, or all if fewer are quiet than a quarter of what is wanted,
// but never one with losses.
func (s *scene) used(all []lap) (use []lap, rejected int, disturbed bool) {
	whole := slices.DeleteFunc(slices.Clone(all), func(o lap) bool { return !o.whole })
	use = slices.DeleteFunc(slices.Clone(whole), func(o lap) bool { return !o.quiet })
	if len(use) < (s.cfg.rounds+3)/4 {
		use, disturbed = whole, true
	}
	return use, len(all) - len(use), disturbed
}

// column is a figure of each lap.
func column(laps []lap, of func(lap) float64) (v []float64) {
	for _, o := range laps {
		v = append(v, of(o))
	}
	return v
}
