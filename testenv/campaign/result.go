package campaign

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// Figure is one line of a result.
type Figure struct {
	Name  string `json:"name"`
	Value any    `json:"value"`
	Aim   string `json:"aim,omitempty"` // what must hold, or "" where it is only reported
}

// Result is what one campaign measured.
type Result struct {
	Name    string    `json:"name"`
	Command string    `json:"command"` // that made it
	Time    time.Time `json:"time"`
	Machine string    `json:"machine"`
	Figures []Figure  `json:"figures"`
}

// NewResult begins a result.
func NewResult(name, command string) *Result {
	var u unix.Utsname
	_ = unix.Uname(&u) // cannot fail with a valid buffer
	return &Result{
		Name: name, Command: command, Time: time.Now().UTC().Truncate(time.Second),
		Machine: fmt.Sprintf("Linux %s, %d CPUs", unix.ByteSliceToString(u.Release[:]), runtime.NumCPU()),
	}
}

// Add appends a figure.
func (r *Result) Add(name string, value any, aim string) {
	r.Figures = append(r.Figures, Figure{name, value, aim})
}

// String is the result as a table of Markdown.
func (r *Result) String() string {
	var b strings.Builder
	fmt.Fprintf(&b, "## %s\n\n`%s`, %s, %s\n\n", r.Name, r.Command, r.Machine, r.Time.Format(time.DateTime))
	fmt.Fprintf(&b, "| what | figure | must be |\n|---|---|---|\n")
	for _, f := range r.Figures {
		fmt.Fprintf(&b, "| %s | %v | %s |\n", f.Name, f.Value, f.Aim)
	}
	return b.String()
}

// Write puts NAME.json and NAME.md into a directory.
func (r *Result) Write(dir string) error {
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return fmt.Errorf("results: %w", err)
	}
	text, err := json.MarshalIndent(r, "", "  ")
	if err != nil {
		return fmt.Errorf("results: %w", err)
	}
	base := filepath.Join(dir, "campaign-"+r.Name)
	if err := os.WriteFile(base+".json", append(text, '\n'), 0o644); err != nil {
		return fmt.Errorf("results: %w", err)
	}
	return os.WriteFile(base+".md", []byte(r.String()), 0o644)
}
