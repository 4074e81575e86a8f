package config

import (
	"fmt"
	"sort"
	"strconv"
	"strings"
	"unicode"
)

// Error is one mistake in a file.
type Error struct {
	File    string
	Line    int // from 1
	Problem string
	Mend    string // what would be right
}

// Error returns "file:line: problem; mend", always one line.
func (e *Error) Error() string {
	return fmt.Sprintf("%s:%d: %s; %s", e.File, e.Line, e.Problem, e.Mend)
}

// Errors are all mistakes of a file in the order of their lines, at least one.
type Errors []*Error

// Error returns one line for each mistake.
func (e Errors) Error() string {
	lines := make([]string, len(e))
	for i, one := range e {
		lines[i] = one.Error()
	}
	return strings.Join(lines, "\n")
}

// Unwrap gives the single mistakes to errors.As.
func (e Errors) Unwrap() []error {
	out := make([]error, len(e))
	for i, one := range e {
		out[i] = one
	}
	return out
}

// problems collects the mistakes of one file.
type problems struct {
	file string
	list Errors
}

// add records a mistake. Both texts come out as one line whatever they quote.
func (p *problems) add(line int, problem, mend string) {
	p.list = append(p.list, &Error{File: p.file, Line: max(line, 1), Problem: problem, Mend: mend})
}

// err returns what was collected, or nil.
func (p *problems) err() error {
	if len(p.list) == 0 {
		return nil
	}
	sort.SliceStable(p.list, func(i, j int) bool { return p.list[i].Line < p.list[j].Line })
	return p.list
}

// quote prints what a file says: as it stands when it is short and plain.
func quote(s string) string {
	const most = 60
	if len(s) > most {
		cut := most
		for cut > 0 && s[cut]&0xc0 == 0x80 {
			cut--
		}
		s = s[:cut] + "..."
	}
	plain := s != "" && strings.IndexFunc(s, func(r rune) bool {
		return r == unicode.ReplacementChar || r == '"' || r == '\'' || unicode.IsSpace(r) || !unicode.IsPrint(r)
	}) < 0
	if plain {
		return s
	}
	return strconv.Quote(s)
}

// nearest returns the known name that name was probably meant to be, or "".
func nearest(name string, known []string) string {
	best, at := "", max(len(name)/3, 1)+1
	for _, k := range known {
		if d := distance(strings.ToLower(name), k, at); d < at {
			best, at = k, d
		}
	}
	return best
}

// distance counts the letters to insert, delete, replace or swap with their
// neighbour to get from a to b; limit and above mean "far".
func distance(a, b string, limit int) int {
	if len(a)-len(b) >= limit || len(b)-len(a) >= limit {
		return limit
	}
	before, last, row := make([]int, len(b)+1), make([]int, len(b)+1), make([]int, len(b)+1)
	for j := range last {
		last[j] = j
	}
	for i := 1; i <= len(a); i++ {
		row[0] = i
		for j := 1; j <= len(b); j++ {
			cost := 1
			if a[i-1] == b[j-1] {
				cost = 0
			}
			row[j] = min(last[j]+1, row[j-1]+1, last[j-1]+cost)
			if i > 1 && j > 1 && a[i-1] == b[j-2] && a[i-2] == b[j-1] {
				row[j] = min(row[j], before[j-2]+1)
			}
		}
		before, last, row = last, row, before
	}
	return last[len(b)]
}
