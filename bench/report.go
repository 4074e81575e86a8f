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
)

// Report is all results of one run.
type Report struct {
	Environment Environment     `json:"environment"`
	Seconds     float64         `json:"seconds"`
	Roles       []RoleResult    `json:"roles,omitempty"`
	Path        *PathResult     `json:"path,omitempty"`
	Connect     []ConnectResult `json:"connect,omitempty"`
	Entries     []EntryResult   `json:"bytes_per_entry,omitempty"`
	RSS         []RSSResult     `json:"rss,omitempty"`
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
	r.printPath(w)
	r.printConnect(w)
	r.printMemory(w)
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

func (r *Report) printPath(w io.Writer) {
	p := r.Path
	if p == nil {
		return
	}
	fmt.Fprintf(w, "\nend to end, ns a packet (generator subtracted), %d connections\tmedian\t95 %%\tbest\tlost\t\n", p.Flows)
	for _, name := range sorted(p.Net) {
		fmt.Fprintf(w, "%s\t%s\t%.0f\t%.4f\t\n", name, interval(p.Net[name], "%.0f"), p.Net[name].Min, p.Loss[name])
	}
	fmt.Fprintf(w, "ratio, %d rounds used and %d thrown away%s\tmedian\t95 %%\t\n", p.Rounds, p.Rejected, map[bool]string{true: " (too few quiet ones: all are used)"}[p.Disturbed])
	for _, name := range sorted(p.Ratio) {
		fmt.Fprintf(w, "%s\t%s\t", name, interval(p.Ratio[name], "%.3f"))
		if name == "owner/conntrack" {
			fmt.Fprintf(w, " aim %.2f: %s", aimOwner, met(p.Ratio[name].Median <= aimOwner))
		}
		fmt.Fprintln(w)
	}
}

func (r *Report) printConnect(w io.Writer) {
	if len(r.Connect) == 0 {
		return
	}
	fmt.Fprintln(w, "\nnew connections through Go, by nodes and hosts\tconnections\ta CPU second\tus at the owner\tus at the backup\t")
	for _, c := range r.Connect {
		hosts := fmt.Sprint(c.Hosts)
		if c.Hosts == 0 {
			hosts = "all new"
		}
		fmt.Fprintf(w, "%d, %s\t%d\t%.0f\t%.1f\t%.1f\t\n", c.Nodes, hosts, c.Connections, c.PerCPUSecond, c.OwnerMicros, c.BackupMicros)
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
