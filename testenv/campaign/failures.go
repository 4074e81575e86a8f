package campaign

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"
)

// FailureRound is one failure, as it was seen from outside. Times are since it
// was made.
type FailureRound struct {
	Victims    []string       `json:"victims,omitempty"`
	Removed    []string       `json:"removed,omitempty"`    // of the victims, from the views of all others
	RemovedMS  float64        `json:"removed_ms,omitempty"` // when the last of the others had the view without the last of them
	Why        string         `json:"why,omitempty"`
	Others     []string       `json:"others_removed,omitempty"`
	Control    string         `json:"control"`               // before it
	NewControl string         `json:"new_control,omitempty"` // where it changed
	Owned      int            `json:"owned,omitempty"`       // connections that a victim owned
	TakenBy    map[string]int `json:"taken_by,omitempty"`    // who owned how many of them then
	VictimsSay []string       `json:"victims_say,omitempty"` // of themselves, before they were mended
	GapMS      float64        `json:"gap_ms"`                // longest of any UDP flow
	StallMS    float64        `json:"stall_ms"`              // longest of any TCP connection
	Open       int            `json:"open"`                  // TCP connections that were open when it came
	Lost       int            `json:"lost"`                  // of them
	Doomed     int            `json:"doomed,omitempty"`      // of them that nobody but the victims held
	Fresh      int            `json:"fresh,omitempty"`       // of those lost: opened in the last moments before it
	New        int            `json:"new"`                   // TCP connections begun from then until all flowed again
	NewFailed  int            `json:"new_failed"`            // of them
	NewLongest float64        `json:"new_longest_ms"`        // slowest of them to open
	Exposed    uint64         `json:"exposed,omitempty"`     // packets of durability sync that left before their copy was stored
	Proof      string         `json:"proof,omitempty"`       // that the failure took place, where nobody is removed
	LastedMS   float64        `json:"lasted_ms"`             // until it was mended
	FlowsAgain float64        `json:"flows_again_ms"`        // everything that lives had an answer
}

// Failure is one kind of failure with its rounds: a row of the table.
type Failure struct {
	Name    string         `json:"name"`
	What    string         `json:"what"`
	Command string         `json:"command"`
	Machine string         `json:"machine"`
	Time    time.Time      `json:"time"`
	HoldMS  float64        `json:"hold_ms"`
	Rounds  []FailureRound `json:"rounds"`
}

// ms is a time as the table has it.
func ms(d time.Duration) float64 { return float64(d.Microseconds()) / 1000 }

// series puts one figure of every round that has it into words.
func (f *Failure) series(of func(*FailureRound) (float64, bool)) []float64 {
	var all []float64
	for i := range f.Rounds {
		if v, ok := of(&f.Rounds[i]); ok {
			all = append(all, v)
		}
	}
	slices.Sort(all)
	return all
}

func spread(all []float64, format string) string {
	if len(all) == 0 {
		return "-"
	}
	show := func(v float64) string { return fmt.Sprintf(format, v) }
	return show(all[0]) + " / " + show(all[len(all)/2]) + " / " + show(all[len(all)-1])
}

// sum adds up one number of every round.
func (f *Failure) sum(of func(*FailureRound) int) (n int) {
	for i := range f.Rounds {
		n += of(&f.Rounds[i])
	}
	return n
}

// counted lists words with how often each came, most frequent first.
func counted(words []string) string {
	times := map[string]int{}
	for _, w := range words {
		times[w]++
	}
	var list []string
	for w := range times {
		list = append(list, w)
	}
	slices.SortFunc(list, func(a, b string) int {
		if d := times[b] - times[a]; d != 0 {
			return d
		}
		return strings.Compare(a, b)
	})
	for i, w := range list {
		list[i] = fmt.Sprintf("%s (%d)", w, times[w])
	}
	if list == nil {
		return "-"
	}
	return strings.Join(list, "; ")
}

// cells are the row's.
func (f *Failure) cells() []string {
	gone := f.series(func(r *FailureRound) (float64, bool) { return r.RemovedMS, r.RemovedMS > 0 })
	inHolds := make([]float64, len(gone))
	for i, v := range gone {
		inHolds[i] = v / f.HoldMS
	}
	who := fmt.Sprintf("%d of %d victims", f.sum(func(r *FailureRound) int { return len(r.Removed) }), f.sum(func(r *FailureRound) int { return len(r.Victims) }))
	if f.sum(func(r *FailureRound) int { return len(r.Victims) }) == 0 {
		who = "nobody to be removed"
	}
	var took, control, say []string
	for i := range f.Rounds {
		r := &f.Rounds[i]
		if len(r.TakenBy) > 0 {
			took = append(took, fmt.Sprintf("%d others", len(r.TakenBy)))
		}
		if r.NewControl != "" {
			control = append(control, r.NewControl)
		}
		say = append(say, r.VictimsSay...)
	}
	taken := counted(took)
	if len(control) > 0 {
		taken += "; control node: " + counted(control)
	}
	lost := fmt.Sprintf("%d of %d", f.sum(func(r *FailureRound) int { return r.Lost }), f.sum(func(r *FailureRound) int { return r.Open }))
	if doomed := f.sum(func(r *FailureRound) int { return r.Doomed }); doomed > 0 {
		lost += fmt.Sprintf("; %d of all were held by victims only", doomed)
	}
	if fresh := f.sum(func(r *FailureRound) int { return r.Fresh }); fresh > 0 {
		lost += fmt.Sprintf("; %d others of the lost were opened in the last %d ms", fresh, freshFor.Milliseconds())
	}
	return []string{
		f.What, fmt.Sprint(len(f.Rounds)), who, spread(gone, "%.0f"), spread(inHolds, "%.2f"), taken,
		spread(f.series(func(r *FailureRound) (float64, bool) { return r.GapMS, true }), "%.0f"),
		spread(f.series(func(r *FailureRound) (float64, bool) { return r.StallMS, true }), "%.0f"),
		lost,
		fmt.Sprintf("%d of %d", f.sum(func(r *FailureRound) int { return r.NewFailed }), f.sum(func(r *FailureRound) int { return r.New })),
		spread(f.series(func(r *FailureRound) (float64, bool) { return r.NewLongest, true }), "%.0f"),
		fmt.Sprint(f.sum(func(r *FailureRound) int { return len(r.Others) })),
		counted(say),
	}
}

// failureColumns are the heads of cells. Times are min / median / max, in ms.
var failureColumns = []string{
	"failure", "rounds", "removed", "after", "in hold times", "connections taken over by", "longest UDP gap", "longest TCP stall",
	"TCP connections open before: lost", "begun meanwhile: failed", "slowest of them to open", "others removed", "victims, before the end",
}

// failureNotes stand below the table.
const failureNotes = `Hold time 1 s. Times are min / median / max over the rounds, in ms. "After" is when the last of the other nodes had a view without the last victim, counted from the failure; 0.67 to 1.34 hold times are expected where silence is what they notice. The gap and
the stall are the longest of a round's 24 UDP flows and of its 64 TCP connections that talk (TCP notices late: its retransmission timer doubles); where a victim's traffic cannot flow before the failure is mended, they contain how long it was let last. One more connection
is opened every %v, says something once, and must answer at the end, so that some were opened a moment before the failure. "Begun meanwhile" are those begun between the failure and the moment when everything flowed again; one has failed when it did not open within %v or was dead at
the end. Who held a connection is what the tables of all nodes said just before. Each row was made by its own command:

`

// failurePage is the table for people.
func failurePage(rows []Failure) string {
	var b strings.Builder
	fmt.Fprintf(&b, "# Failures\n\nEvery failure at a cluster of 4 nodes under traffic, again and again, real daemons in namespaces of one machine. Made by `make campaign RUN=Failures`, a row by `RUN=Failures/NAME`, as the second table says; do not edit.\n\n")
	fmt.Fprintf(&b, "| %s |\n|%s\n", strings.Join(failureColumns, " | "), strings.Repeat("---|", len(failureColumns)))
	for i := range rows {
		fmt.Fprintf(&b, "| %s |\n", strings.Join(rows[i].cells(), " | "))
	}
	fmt.Fprintf(&b, "\n"+failureNotes, arrivalEvery, arrivalPatience)
	fmt.Fprintf(&b, "| failure | made by | machine | when |\n|---|---|---|---|\n")
	for _, f := range rows {
		fmt.Fprintf(&b, "| %s | `%s` | %s | %s |\n", f.Name, strings.ReplaceAll(f.Command, "|", `\|`), f.Machine, f.Time.Format(time.DateTime))
	}
	b.WriteString("\n" + clockNote)
	return b.String()
}

// clockNote says what is not in the table.
const clockNote = `A jump of the wall clock is not in the table: the time namespaces of Linux shift the monotonic clock and the boot time only, the daemon is a Go program that asks the kernel itself and not a C library, so that no preloaded library can lie to it, and setting the machine's own clock would
move it under the clients, routers and servers of the test as well. The daemon decides by CLOCK_MONOTONIC alone and reads the wall clock only to show times (TestHL5_NoDecisionReadsTheWallClock looks at its source). A machine that was suspended has not aged by that clock; it finds out from the others, as a stopped daemon does.
`

// WriteFailure puts one row into failures.json and failures.md of a directory
// and leaves the others as they are; order says where rows belong.
func WriteFailure(dir string, f Failure, order []string) error {
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return fmt.Errorf("results: %w", err)
	}
	base := filepath.Join(dir, "failures")
	var rows []Failure
	text, err := os.ReadFile(base + ".json")
	if err == nil {
		err = json.Unmarshal(text, &rows)
	}
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("results: %s.json: %w", base, err)
	}
	rows = slices.DeleteFunc(rows, func(r Failure) bool { return r.Name == f.Name || !slices.Contains(order, r.Name) })
	rows = append(rows, f)
	slices.SortFunc(rows, func(a, b Failure) int { return slices.Index(order, a.Name) - slices.Index(order, b.Name) })
	if text, err = json.MarshalIndent(rows, "", "  "); err != nil {
		return fmt.Errorf("results: %w", err)
	}
	if err := os.WriteFile(base+".json", append(text, '\n'), 0o644); err != nil {
		return fmt.Errorf("results: %w", err)
	}
	return os.WriteFile(base+".md", []byte(failurePage(rows)), 0o644)
}
