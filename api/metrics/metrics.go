package metrics

import (
	"context"
	"net/http"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
	"github.com/prometheus/client_golang/prometheus/promhttp"

	"cohort/api"
)

// scrapeTimeout bounds how long a scrape waits for the node.
const scrapeTimeout = 5 * time.Second

// desc names a metric of this package.
func desc(name, help string, labels ...string) *prometheus.Desc {
	return prometheus.NewDesc("cohort_"+name, help, labels, nil)
}

// collector turns a Provider's answers into metrics.
type collector struct {
	from api.Provider

	up, info, term, epoch, control  *prometheus.Desc
	memberControl, memberHeard      *prometheus.Desc
	lease, check                    *prometheus.Desc
	entries, capacity               *prometheus.Desc
	drops, packets, events          *prometheus.Desc
	interfaceUp, interfaceNativeXDP *prometheus.Desc
	nat                             natDescs
	exposed                         exposureDescs
	pulses                          pulseDescs
}

// New returns a collector that asks p. It may be registered once per registry.
func New(p api.Provider) prometheus.Collector {
	return &collector{
		from:               p,
		up:                 desc("up", "1 if the node answered all questions of this scrape."),
		info:               desc("node_info", "Always 1; the labels say who this node is and in which state.", "cluster", "node", "state"),
		term:               desc("view_term", "Term of the current view."),
		epoch:              desc("view_epoch", "Epoch of the current view."),
		control:            desc("control", "1 if this node is the control node."),
		memberControl:      desc("member_info", "Always 1 for every member of the current view.", "member", "role", "state"),
		memberHeard:        desc("member_last_heard_seconds", "Time since the last authenticated packet of another member.", "member"),
		lease:              desc("lease_seconds", "Time until the fast path stops forwarding unless the daemon renews its lease; negative: it has."),
		check:              desc("health_check", "1 if a health check holds.", "member", "check"),
		entries:            desc("entries", "Entries of the node's tables by role.", "role"),
		capacity:           desc("entries_max", "Size of the node's tables by role.", "role"),
		drops:              desc("dropped_packets_total", "Packets dropped, each under exactly one reason.", "reason"),
		packets:            desc("packets_total", "Packets by what became of them other than a drop.", "outcome", "reason"),
		events:             desc("events_total", "Events other than outcomes of packets.", "kind", "name"),
		interfaceUp:        desc("interface_up", "1 if the interface has a carrier.", "interface", "device"),
		interfaceNativeXDP: desc("interface_xdp_native", "1 if the fast path runs in the driver, 0 if it is generic or absent.", "interface", "device"),
		nat:                newNATDescs(),
		exposed:            newExposureDescs(),
		pulses:             newPulseDescs(),
	}
}

// Handler serves the metrics of p and of this process at any path.
func Handler(p api.Provider) http.Handler {
	r := prometheus.NewRegistry()
	r.MustRegister(New(p), collectors.NewGoCollector(), collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}))
	return promhttp.HandlerFor(r, promhttp.HandlerOpts{MaxRequestsInFlight: 4})
}

// Describe implements prometheus.Collector.
func (c *collector) Describe(ch chan<- *prometheus.Desc) {
	for _, d := range []*prometheus.Desc{
		c.up, c.info, c.term, c.epoch, c.control, c.memberControl, c.memberHeard, c.lease, c.check,
		c.entries, c.capacity, c.drops, c.packets, c.events, c.interfaceUp, c.interfaceNativeXDP,
	} {
		ch <- d
	}
	c.nat.describe(ch)
	c.exposed.describe(ch)
	c.pulses.describe(ch)
}

// Collect implements prometheus.Collector. A question that fails leaves its
// metrics out and cohort_up at 0: a missing value alarms better than an old one.
func (c *collector) Collect(ch chan<- prometheus.Metric) {
	ctx, cancel := context.WithTimeout(context.Background(), scrapeTimeout)
	defer cancel()
	up := 1.0
	for _, ask := range []func(context.Context, emit) error{c.cluster, c.health, c.tables, c.counters, c.interfaces, c.natPools, c.exposure} {
		if ask(ctx, emit{ch}) != nil {
			up = 0
		}
	}
	emit{ch}.gauge(c.up, up)
}

// emit writes metrics to a scrape.
type emit struct{ ch chan<- prometheus.Metric }

func (e emit) gauge(d *prometheus.Desc, v float64, labels ...string) {
	e.ch <- prometheus.MustNewConstMetric(d, prometheus.GaugeValue, v, labels...)
}

func (e emit) counter(d *prometheus.Desc, v uint64, labels ...string) {
	e.ch <- prometheus.MustNewConstMetric(d, prometheus.CounterValue, float64(v), labels...)
}

func truth(b bool) float64 {
	if b {
		return 1
	}
	return 0
}

func seconds(ms int64) float64 { return float64(ms) / 1000 }

func (c *collector) cluster(ctx context.Context, e emit) error {
	info, err := c.from.Info(ctx)
	if err != nil {
		return err
	}
	e.gauge(c.info, 1, info.Cluster, info.Self, info.State)
	e.gauge(c.term, float64(info.Term))
	e.gauge(c.epoch, float64(info.Epoch))
	e.gauge(c.control, truth(info.Control == info.Self && info.Self != ""))
	for _, m := range info.Members {
		e.gauge(c.memberControl, 1, m.Name, m.Role, m.State)
		if m.LastHeardMS >= 0 {
			e.gauge(c.memberHeard, seconds(m.LastHeardMS), m.Name)
		}
	}
	return nil
}

func (c *collector) health(ctx context.Context, e emit) error {
	h, err := c.from.Health(ctx)
	if err != nil {
		return err
	}
	e.gauge(c.lease, seconds(h.LeaseMS))
	for _, k := range h.Checks {
		e.gauge(c.check, truth(k.OK), k.Member, k.Name)
	}
	if h.Pulse != nil {
		c.pulses.pulse(h.Pulse, e)
	}
	return nil
}

func (c *collector) tables(ctx context.Context, e emit) error {
	t, err := c.from.Tables(ctx)
	if err != nil {
		return err
	}
	for _, row := range []struct {
		role      string
		used, max int
	}{{"owner", t.Owned, t.MaxOwned}, {"director_backup", t.Copies, t.MaxCopies}, {"forwarder", t.Forwards, t.MaxForwards},
		{"lent", t.Lent, t.MaxDelegations}, {"delegate", t.Delegated, t.MaxDelegations}} {
		e.gauge(c.entries, float64(row.used), row.role)
		e.gauge(c.capacity, float64(row.max), row.role)
	}
	return nil
}

func (c *collector) counters(ctx context.Context, e emit) error {
	list, err := c.from.Counters(ctx)
	if err != nil {
		return err
	}
	for _, n := range list {
		switch n.Kind {
		case api.KindDrop:
			e.counter(c.drops, n.Value, n.Name)
		case "pass", "forward", "punt":
			e.counter(c.packets, n.Value, n.Kind, n.Name)
		default:
			e.counter(c.events, n.Value, n.Kind, n.Name)
		}
	}
	return nil
}

func (c *collector) interfaces(ctx context.Context, e emit) error {
	list, err := c.from.Interfaces(ctx)
	if err != nil {
		return err
	}
	for _, i := range list {
		e.gauge(c.interfaceUp, truth(i.Up), i.Name, i.Device)
		e.gauge(c.interfaceNativeXDP, truth(i.XDP == "native"), i.Name, i.Device)
	}
	return nil
}
