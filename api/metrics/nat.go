package metrics

import (
	"context"
	"errors"
	"fmt"

	"github.com/prometheus/client_golang/prometheus"

	"cohort/api"
)

// natDescs are the metrics of the pools (NT11). A node without NAT has none.
type natDescs struct {
	blocks, held, free, frozen *prometheus.Desc
	ports, used, use, alarm    *prometheus.Desc
	xlates, refused, leases    *prometheus.Desc
}

func newNATDescs() natDescs {
	return natDescs{
		blocks:  desc("nat_pool_blocks", "Blocks of the pool in the cluster.", "pool"),
		held:    desc("nat_pool_blocks_held", "Blocks that this node may allocate from.", "pool"),
		free:    desc("nat_pool_blocks_free", "Blocks that this node holds and that are idle.", "pool"),
		frozen:  desc("nat_pool_blocks_frozen", "Blocks of nodes that are gone, as this node knows; nobody may allocate from them.", "pool"),
		ports:   desc("nat_pool_ports", "Ports of the blocks that this node holds; of a pool of addresses, addresses.", "pool"),
		used:    desc("nat_pool_ports_used", "Those of them that are in use.", "pool"),
		use:     desc("nat_pool_use_ratio", "Share in use of the ports that this node has or can still get from others.", "pool"),
		alarm:   desc("nat_pool_alarm", "1 if the pool's use has reached the level in percent.", "pool", "level"),
		xlates:  desc("nat_xlates", "Translations of connections that this node owns.", "pool"),
		refused: desc("nat_refused_total", "Connections that got no translation.", "pool", "reason"),
		leases:  desc("nat_leases_total", "Blocks that nodes gave each other on request; in: to this node.", "pool", "direction"),
	}
}

func (d *natDescs) describe(ch chan<- *prometheus.Desc) {
	for _, one := range []*prometheus.Desc{d.blocks, d.held, d.free, d.frozen, d.ports, d.used, d.use, d.alarm, d.xlates, d.refused, d.leases} {
		ch <- one
	}
}

func (c *collector) natPools(ctx context.Context, e emit) error {
	pools, err := api.NATPools(ctx, c.from)
	if errors.Is(err, api.ErrNoNAT) {
		return nil
	}
	if err != nil {
		return err
	}
	d := &c.nat
	for i := range pools {
		p := &pools[i]
		e.gauge(d.blocks, float64(p.Blocks.Total), p.Name)
		e.gauge(d.held, float64(p.Here.Held), p.Name)
		e.gauge(d.free, float64(p.Here.Free), p.Name)
		e.gauge(d.frozen, float64(p.Blocks.Frozen), p.Name)
		e.gauge(d.ports, float64(p.Here.Ports), p.Name)
		e.gauge(d.used, float64(p.Here.PortsUsed), p.Name)
		e.gauge(d.use, float64(p.Use)/100, p.Name)
		for _, level := range []int{api.AlarmHigh, api.AlarmFull} {
			e.gauge(d.alarm, truth(p.Alarm >= level), p.Name, fmt.Sprint(level))
		}
		e.gauge(d.xlates, float64(p.Here.Xlates), p.Name)
		for _, r := range p.Here.Refused {
			e.counter(d.refused, r.Count, p.Name, r.Reason)
		}
		e.counter(d.leases, p.Here.LeasesIn, p.Name, "in")
		e.counter(d.leases, p.Here.LeasesOut, p.Name, "out")
	}
	return nil
}
