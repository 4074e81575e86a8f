package metrics

import (
	"github.com/prometheus/client_golang/prometheus"

	"cohort/api"
)

// pulseDescs are the metrics of the fast profile (HL7); there are none without it.
type pulseDescs struct{ lateness, realtime, late, silence *prometheus.Desc }

func newPulseDescs() pulseDescs {
	return pulseDescs{
		lateness: desc("beat_lateness_seconds", "How late beats of other nodes were, by where: in the sender's process, in transit beyond the quickest of the last minute, between this kernel and this node's process.", "stage"),
		realtime: desc("pulse_realtime", "1 if the process that beats has real-time priority."),
		late:     desc("pulse_latest_seconds", "How late the process that beats was woken at worst; 0: never more than 5 ms."),
		silence:  desc("beat_silence_longest_seconds", "Longest time between two beats of the member.", "member"),
	}
}

func (d *pulseDescs) describe(ch chan<- *prometheus.Desc) {
	for _, one := range []*prometheus.Desc{d.lateness, d.realtime, d.late, d.silence} {
		ch <- one
	}
}

func (d *pulseDescs) pulse(p *api.Pulse, e emit) {
	e.gauge(d.realtime, truth(p.Realtime))
	e.gauge(d.late, p.WorstMS/1000)
	for _, q := range p.Peers {
		e.gauge(d.silence, q.LongestMS/1000, q.Member)
	}
	for _, s := range p.Stages {
		buckets := make(map[float64]uint64, len(s.Buckets))
		for _, b := range s.Buckets {
			buckets[b.UpToMS/1000] = b.Beats
		}
		e.ch <- prometheus.MustNewConstHistogram(d.lateness, s.Beats, s.SumMS/1000, buckets, s.Stage)
	}
}
