package main

import (
	"encoding/json"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"text/tabwriter"

	"cohort/bench/stat"
)

// Aims of the project; the report says whether they are met, nothing fails.
const (
	aimOwner64k = 130  // ns of the owner's program at 64k connections
	aimOwner    = 0.35 // of conntrack forwarding at 60k connections

	aimNATOwner     = 0.30 // of masquerade at 60k connections
	aimNATOwnerMany = 0.35 // at more
	aimHop          = 80   // ns more for a reply that meets another node than its owner
	aimNATConnect   = 2.0  // times masquerade's new connections in a CPU second
)

// Report is all results of one run.
type Report struct {
	Environment Environment        `json:"environment"`
	Note        string             `json:"note,omitempty"` // what one must know beside the environment
	Seconds     float64            `json:"seconds"`
	Roles       []RoleResult       `json:"roles,omitempty"`
	Path        *PathResult        `json:"path,omitempty"`
	Connect     []ConnectResult    `json:"connect,omitempty"`
	Entries     []EntryResult      `json:"bytes_per_entry,omitempty"`
	RSS         []RSSResult        `json:"rss,omitempty"`
	NATPath     []PathResult       `json:"nat_path,omitempty"`
	NATConnect  []NATConnectResult `json:"nat_connect,omitempty"`
	Scale       []ScaleResult      `json:"scale,omitempty"`
	Tiers       []TierResult       `json:"tiers,omitempty"`
	Link        []LinkResult       `json:"link,omitempty"`
	Failover    []FailoverResult   `json:"failover,omitempty"`
	Capacity    []CapacityResult   `json:"capacity,omitempty"`
	Takeover    []TakeoverResult   `json:"takeover,omitempty"`
}

// write stores the report as JSON.
func (r *Report) write(file string) error {
	b, err := json.MarshalIndent(r, "", "  ")
	if err != nil {
		return err
	}
	if err := os.MkdirAll(filepath.Dir(file), 0o755); err != nil {
		return err
	}
	return os.WriteFile(file, append(b, '\n'), 0o644)
}

// print writes the tables for people.
func (r *Report) print(out io.Writer) error {
	e := &r.Environment
	fmt.Fprintf(out, "%s, kernel %s, %d x %s, load %s before and %s after\n",
		e.Date.Format("2006-01-02 15:04 MST"), e.Kernel, e.CPUs, e.CPU, e.LoadBefore, e.LoadAfter)
	fmt.Fprintf(out, "one random read from 1 MiB: %.0f ns, from 10 MiB: %.0f ns, from 160 MiB: %.0f ns\n",
		e.RandomRead[1], e.RandomRead[10], e.RandomRead[160])
	w := tabwriter.NewWriter(out, 0, 0, 2, ' ', tabwriter.AlignRight)
	r.printRoles(w)
	if r.Path != nil {
		r.Path.print(w, "end to end", map[string]float64{"owner/conntrack": aimOwner})
	}
	r.printConnect(w)
	r.printMemory(w)
	for i := range r.NATPath {
		p, aim := &r.NATPath[i], aimNATOwner
		if p.Flows > 1<<16 {
			aim = aimNATOwnerMany
		}
		p.print(w, "translated, end to end", map[string]float64{"owner/masquerade": aim})
	}
	r.printNATConnect(w)
	r.printScale(w)
	r.printTiers(w)
	r.printLink(w)
	r.printFailover(w)
	r.printCapacity(w)
	r.printTakeover(w)
	return w.Flush()
}

func interval(s stat.Summary, format string) string {
	return fmt.Sprintf(format+"\t["+format+", "+format+"]", s.Median, s.Low, s.High)
}

func (r *Report) printRoles(w io.Writer) {
	if len(r.Roles) == 0 {
		return
	}
	fmt.Fprintln(w, "\nXDP program, ns a packet (source subtracted)\tconnections\tmedian\t95 %\tbest\tdisturbed\t")
	for _, x := range r.Roles {
		fmt.Fprintf(w, "%s\t%d\t%s\t%.0f\t%d of %d\t", x.Role, x.Flows, interval(x.Net, "%.0f"), x.Net.Min, x.Disturbed, x.Net.N)
		if x.Role == "owner" && x.Flows == 1<<16 {
			fmt.Fprintf(w, " aim %d: %s", aimOwner64k, met(x.Net.Median <= aimOwner64k))
		}
		fmt.Fprintln(w)
	}
}

// print writes the tables of one field; aims are upper bounds of its ratios.
func (p *PathResult) print(w io.Writer, what string, aims map[string]float64) {
	fmt.Fprintf(w, "\n%s, ns a packet (generator subtracted), %d connections\tmedian\t95 %%\tbest\tlost\t\n", what, p.Flows)
	for _, name := range sorted(p.Net) {
		fmt.Fprintf(w, "%s\t%s\t%.0f\t%.4f\t\n", name, interval(p.Net[name], "%.0f"), p.Net[name].Min, p.Loss[name])
	}
	fmt.Fprintf(w, "ratio, %d rounds used and %d thrown away%s\tmedian\t95 %%\t\n", p.Rounds, p.Rejected, map[bool]string{true: " (too few quiet ones: all are used)"}[p.Disturbed])
	for _, name := range sorted(p.Ratio) {
		fmt.Fprintf(w, "%s\t%s\t", name, interval(p.Ratio[name], "%.3f"))
		if aim, ok := aims[name]; ok {
			fmt.Fprintf(w, " aim %.2f: %s", aim, met(p.Ratio[name].Median <= aim))
		}
		fmt.Fprintln(w)
	}
	if len(p.Added) > 0 {
		fmt.Fprintln(w, "difference, ns a packet\tmedian\t95 %\t")
	}
	for _, name := range sorted(p.Added) {
		fmt.Fprintf(w, "%s\t%s\t", name, interval(p.Added[name], "%.0f"))
		switch name {
		case wholeHop.name():
			fmt.Fprintf(w, " aim %d, the cable included: %s", aimHop, met(p.Added[name].Median <= aimHop))
		case hop.name():
			fmt.Fprintf(w, " aim %d, without the cable: %s", aimHop, met(p.Added[name].Median <= aimHop))
		}
		fmt.Fprintln(w)
	}
}

func (r *Report) printNATConnect(w io.Writer) {
	if len(r.NATConnect) == 0 {
		return
	}
	fmt.Fprintln(w, "\nnew translated connections, us of CPU by nodes and hosts\tconnections\tmasquerade\tXDP\tdaemon\tbackup\ta CPU second\tto masquerade's\t95 %\tdaemon only\trounds\t")
	for _, c := range r.NATConnect {
		fmt.Fprintf(w, "%d, %s\t%d\t%.2f\t%.2f\t%.2f\t%.2f\t%.0f\t%s\t%.2f\t%d of %d%s\t aim %.1f: %s\n",
			c.Nodes, hostsName(c.Hosts), c.Connections, c.Masquerade.Median, c.XDP.Median, c.Daemon.Median, c.Backup.Median,
			1e6/(c.XDP.Median+c.Daemon.Median), interval(c.Ratio, "%.2f"), c.RatioInGo.Median,
			c.Rounds, c.Rounds+c.Rejected, map[bool]string{true: " (disturbed)"}[c.Disturbed],
			aimNATConnect, met(c.Ratio.Median >= aimNATConnect))
	}
}

func (r *Report) printFailover(w io.Writer) {
	if len(r.Failover) == 0 {
		return
	}
	fmt.Fprintln(w, "\nfailover, the active router's power goes off, ms\thold\tblackout, longest flow\t95 %\tmedian flow that is hit\tflows hit\tlongest TCP stall\tTCP lost\tUDP lost\ttrials\t")
	for i := range r.Failover {
		f := &r.Failover[i]
		n := len(f.Trials)
		fmt.Fprintf(w, "%s\t%d\t%s\t%.0f\t%.0f of %d\t%.0f\t%d of %d\t%d of %d\t%d\t\n", f.Name, f.HoldMS, interval(f.Blackout, "%.0f"), f.Median.Median,
			f.Hit.Median, f.UDP, f.TCPStall.Median, f.TCPLost, n*f.TCP, f.UDPLost, n*f.UDP, n)
	}
	for i := range r.Failover {
		fmt.Fprintf(w, "%s: %s\n", r.Failover[i].Name, r.Failover[i].Timers)
	}
}

func hostsName(hosts int) string {
	if hosts == 0 {
		return "all new"
	}
	return fmt.Sprint(hosts)
}

func (r *Report) printConnect(w io.Writer) {
	if len(r.Connect) == 0 {
		return
	}
	fmt.Fprintln(w, "\nnew connections through Go, by nodes and hosts\tconnections\ta CPU second\tus at the owner\tus at the backup\t")
	for _, c := range r.Connect {
		fmt.Fprintf(w, "%d, %s\t%d\t%.0f\t%.1f\t%.1f\t\n", c.Nodes, hostsName(c.Hosts), c.Connections, c.PerCPUSecond, c.OwnerMicros, c.BackupMicros)
	}
}

func (r *Report) printMemory(w io.Writer) {
	if len(r.Entries) > 0 {
		fmt.Fprintln(w, "\nbytes an entry, full table\tentries\tslot\twith index\t")
		for _, x := range r.Entries {
			fmt.Fprintf(w, "%s\t%d\t%d\t%.1f\t\n", x.Role, x.Entries, x.Slot, x.Total)
		}
	}
	if len(r.RSS) > 0 {
		fmt.Fprintln(w, "\nresident memory of cohortd, MiB\tentries\tempty\tfull\tanonymous\tmapped\t")
		for _, x := range r.RSS {
			fmt.Fprintf(w, "%s\t%d\t%d\t%d\t%d\t%d\t\n", x.Role, x.Entries, x.Empty>>20, x.RSS>>20, x.Heap>>20, x.Mapped>>20)
		}
	}
}

func met(yes bool) string {
	if yes {
		return "met"
	}
	return "missed"
}

func sorted[V any](m map[string]V) []string {
	names := make([]string, 0, len(m))
	for n := range m {
		names = append(names, n)
	}
	slices.Sort(names)
	return names
}
