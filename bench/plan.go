package main

import (
	"math"
	"time"
)

// plan is how much is measured. The whole must stay below ten minutes on two
// CPUs that do nothing else, which is why every part has its own bound.
type plan struct {
	roles   rolesConfig
	path    pathConfig
	connect connectConfig
	natPath []pathConfig
	natConn natConnectConfig
	entries int
	scale   scaleConfig
	tiers   tiersConfig
	link    linkConfig

	failover failoverConfig
	capacity capacityConfig
	takeover takeoverConfig
}

func planFor(quick bool) plan {
	p := plan{
		roles:   rolesConfig{sizes: []int{1 << 10, 1 << 16, 1 << 20}, packets: 1 << 17, rounds: 9, time: 4 * time.Second, cpu: lastCPU()},
		path:    pathConfig{flows: 60_000, packets: 1 << 17, rounds: 25, time: 60 * time.Second, cpu: lastCPU()},
		connect: connectConfig{connections: 1 << 20, hosts: 4096, rate: 80_000, time: 20 * time.Second},
		natConn: natConnectConfig{chunk: 1 << 14, burst: 448, rounds: 24, time: 40 * time.Second},
		entries: 1 << 20,
		scale: scaleConfig{
			nodes: []int{1, 2, 4, 8, 16}, spreads: spreads, figures: scaleFigures, flows: 1 << 14, few: 1 << 10, packets: 1 << 17, chunk: 1 << 14, burst: 128,
			rounds: 7, time: 60 * time.Second, watch: 2 * time.Second, cpu: lastCPU(),
		},
		tiers: tiersConfig{
			tiers: [][]float64{{1, 1, 1, 1}, {1, 1, 1, 0.5}, {1, 1, 1, 0.25}}, loads: steps(0.2, 1, 0.05),
			flows: 1 << 12, packets: 1 << 17, burst: 128,
			lend: 30 * time.Second, cpu: lastCPU(),
		},
		link: linkConfig{
			who: []string{whoConntrackd, whoCohort, whoPAT}, what: []string{linkTCP, linkUDP},
			chunk: 1 << 14, burst: 256, rounds: 7, time: 90 * time.Second, watch: 4 * time.Second, cpu: lastCPU(),
		},
	}
	p.failover = failoverConfig{
		tcp: 200, beat: 500 * time.Millisecond, udp: 32, tick: 10 * time.Millisecond, rounds: 3,
		settle: 2 * time.Second, after: time.Second, most: 15 * time.Second, all: contenders(3 * time.Second),
	}
	p.capacity = capacityConfig{
		sizes: []int{1 << 20, 1 << 22}, nodes: []int{1, 2}, fill: 200_000, most: 4 * time.Minute, watch: 6 * time.Second, churn: 20_000,
	}
	p.takeover = takeoverConfig{
		sizes: []int{1 << 10, 100_000, 1 << 20}, sample: 64, every: time.Millisecond, fill: 60_000, most: 2 * time.Minute, watch: 2 * time.Second,
	}
	for _, flows := range []int{60_000, 1 << 20} {
		c := p.path
		c.flows = flows
		p.natPath = append(p.natPath, c)
	}
	if quick {
		p.roles.sizes, p.roles.packets, p.roles.rounds = []int{1 << 8}, 1<<10, 1
		p.path.flows, p.path.packets, p.path.rounds, p.path.time = 500, 1<<12, 1, 0
		p.connect.connections, p.connect.hosts = 512, 4096
		p.natPath = []pathConfig{p.path}
		p.natConn.chunk, p.natConn.rounds, p.natConn.time = 512, 1, 0
		p.entries = 1 << 12
		p.scale.nodes, p.scale.spreads, p.scale.flows, p.scale.few, p.scale.packets, p.scale.chunk = []int{1, 2}, spreads[:1], 512, 128, 1<<13, 512
		p.scale.once, p.scale.rounds, p.scale.time, p.scale.watch = true, 3, 0, 100*time.Millisecond
		p.tiers.tiers, p.tiers.loads, p.tiers.flows, p.tiers.packets, p.tiers.lend = [][]float64{{3, 1}}, []float64{0.3, 0.9}, 512, 1<<15, 20*time.Second
		p.link.who, p.link.what = p.link.who[:2], p.link.what[:1]
		p.link.once = true
		p.link.chunk, p.link.burst, p.link.rounds, p.link.time, p.link.watch = 512, 256, 1, 0, 100*time.Millisecond
		p.capacity.sizes, p.capacity.nodes, p.capacity.watch, p.capacity.churn = []int{1 << 13}, []int{1}, 300*time.Millisecond, 2_000
		p.takeover.sizes, p.takeover.watch = []int{1 << 10}, 200*time.Millisecond
		p.failover.tcp, p.failover.udp, p.failover.rounds, p.failover.half = 20, 8, 1, true
		p.failover.settle, p.failover.all = 500*time.Millisecond, contenders(900*time.Millisecond)
	}
	return p
}

// steps are numbers from one to another.
func steps(from, to, by float64) (all []float64) {
	for i := range int((to-from)/by+0.5) + 1 {
		all = append(all, math.Round((from+float64(i)*by)*1e6)/1e6)
	}
	return all
}

// contenders are those of the failover part, with the same time until a silent
// router counts as dead. One with other timers goes in here too.
func contenders(hold time.Duration) []contender {
	return []contender{linuxPair("keepalived + conntrackd", hold), cohortPair("cohort", hold, "")}
}
