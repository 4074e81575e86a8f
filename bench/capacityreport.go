package main

import (
	"fmt"
	"io"
)

func (r *Report) printCapacity(w io.Writer) {
	aim := exactMS(aimPause)
	for i := range r.Capacity {
		c := &r.Capacity[i]
		fmt.Fprintf(w, "\na full node, %d connections, %d nodes, filled in %.0f s: longest, ms\tstop the world\tturn, computing\tturn, wall\tfirst packet\t99.9 %%\tlater packet\tlost\tbackup: stop\tturn, computing\t\n", c.Connections, c.Nodes, c.FillSeconds)
		var stop, stopping, turn float64
		for j := range c.Phases {
			p := &c.Phases[j]
			o := p.Owner
			fmt.Fprintf(w, "%s\t%.3f\t%.3f\t%.3f\t%.3f\t%.3f\t%.3f\t%d of %d\t", p.Name, max(o.StopGC, o.StopOther), o.LongestCPU, o.LongestMS,
				p.First.Longest/1e3, p.First.P999/1e3, p.Later.Longest/1e3, p.First.Lost+p.Later.Lost, p.First.Sent+p.Later.Sent)
			if b := p.Backup; b != nil {
				fmt.Fprintf(w, "%.3f\t%.3f\t", max(b.StopGC, b.StopOther), b.LongestCPU)
				stop, stopping, turn = max(stop, b.StopGC, b.StopOther), max(stopping, b.StoppingGC, b.StoppingOther), max(turn, b.LongestCPU)
			} else {
				fmt.Fprint(w, "\t\t")
			}
			if k := p.Work; k != nil {
				fmt.Fprintf(w, "%d times, %.2f s each", k.Times, k.Seconds)
				if k.Bytes > 0 {
					fmt.Fprintf(w, ", %d MB each", k.Bytes/int64(k.Times)/1e6)
				}
			}
			fmt.Fprintln(w, "\t")
			stop, stopping, turn = max(stop, o.StopGC, o.StopOther), max(stopping, o.StoppingGC, o.StoppingOther), max(turn, o.LongestCPU)
		}
		fmt.Fprintf(w, "longest stop the world %.3f ms, aim %.1f: %s (until everybody had stopped at most %.3f); longest turn %.3f ms of computing, aim %.1f: %s\n", stop, aim, met(stop <= aim), stopping, turn, aim, met(turn <= aim))
		for j := range c.Memory {
			m := &c.Memory[j]
			each := func(b uint64) float64 { return float64(b) / float64(m.Entries) }
			fmt.Fprintf(w, "%s: resident %.0f MiB, %.0f of it tables that are whole from the start, with %d places more, as many for a forwarder, and %.0f heap: %.0f bytes a connection beyond the empty daemon\n",
				m.Role, mib(m.RSS), mib(m.Mapped), spare(c.Connections), mib(m.Heap), each(m.RSS-min(m.Empty, m.RSS)))
		}
	}
}

func mib(b uint64) float64 { return float64(b) / (1 << 20) }

func (r *Report) printTakeover(w io.Writer) {
	if len(r.Takeover) == 0 {
		return
	}
	fmt.Fprintln(w, "\nthe owner of all connections dies\tnew view after, ms\tfirst of the sampled back, ms after it\tmedian\tall\tback\tlongest turn of the survivor, computing\twall\t")
	for i := range r.Takeover {
		t := &r.Takeover[i]
		fmt.Fprintf(w, "%d\t%.0f\t%.1f\t%.1f\t%.1f\t%d of %d\t%.2f\t%.2f\taim %d: %s\t\n", t.Connections, t.Detection, t.First, t.Median, t.All, t.Back, t.Sampled,
			t.Survivor.LongestCPU, t.Survivor.LongestMS, aimTakeover, met(t.Back == t.Sampled && t.All <= aimTakeover))
	}
	fmt.Fprintln(w, "\na holder of copies dies before\tall protected, ms after the new view\tmedian first packet, ms\t99.9 %\tlongest\tlost\tlongest turn of the owner, computing\tof the new holder\t")
	for i := range r.Takeover {
		t := &r.Takeover[i]
		most := aimProtected * max(1, float64(t.Connections)/1e6)
		fmt.Fprintf(w, "%d\t%.0f\t%.2f\t%.2f\t%.2f\t%d of %d\t%.2f\t%.2f\taim %.0f: %s\t\n", t.Connections, t.Protected, t.Resync.Median/1e3, t.Resync.P999/1e3, t.Resync.Longest/1e3,
			t.Resync.Lost, t.Resync.Sent, t.Owner.LongestCPU, t.Holder.LongestCPU, most, met(t.Protected <= most))
	}
}
