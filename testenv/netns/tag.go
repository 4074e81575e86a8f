package netns

import (
	"crypto/rand"
	"encoding/hex"
	"fmt"
	"os"
	"strconv"
	"strings"
)

// Prefix starts every name that this package makes; Sweep looks at no other.
const Prefix = "cohort-"

// Tag identifies the maker of a group of namespaces (and of its directories):
// its process, when that process started, and a random part, so that one
// process can make several groups and a reused pid is not mistaken for it.
type Tag struct {
	PID    int
	Start  uint64 // clock ticks after boot, field 22 of /proc/PID/stat
	Random string // 6 hex digits
}

// NewTag returns a fresh tag of this process.
func NewTag() (Tag, error) {
	start, err := startTime(os.Getpid())
	if err != nil {
		return Tag{}, fmt.Errorf("tag: %w", err)
	}
	var b [3]byte
	rand.Read(b[:])
	return Tag{PID: os.Getpid(), Start: start, Random: hex.EncodeToString(b[:])}, nil
}

// String returns cohort-PID-START-RANDOM, the prefix of every name of the group.
func (t Tag) String() string {
	return fmt.Sprintf("%s%d-%d-%s", Prefix, t.PID, t.Start, t.Random)
}

// Name returns the name of one member of the group: String()-role.
func (t Tag) Name(role string) string { return t.String() + "-" + role }

// Alive reports whether the maker still runs.
func (t Tag) Alive() bool {
	start, err := startTime(t.PID)
	return err == nil && start == t.Start
}

// ParseTag finds the tag in a name made by Name or String; false for any
// other name.
func ParseTag(name string) (Tag, bool) {
	rest, ok := strings.CutPrefix(name, Prefix)
	if !ok {
		return Tag{}, false
	}
	part := strings.SplitN(rest, "-", 4)
	if len(part) < 3 || len(part[2]) != 6 {
		return Tag{}, false
	}
	pid, err := strconv.Atoi(part[0])
	if err != nil || pid <= 0 {
		return Tag{}, false
	}
	start, err := strconv.ParseUint(part[1], 10, 64)
	if err != nil {
		return Tag{}, false
	}
	return Tag{PID: pid, Start: start, Random: part[2]}, true
}

// startTime reads when a process started; an error if it is gone or a zombie.
func startTime(pid int) (uint64, error) {
	b, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		return 0, err
	}
	// The command in parentheses may hold blanks and parentheses itself.
	_, rest, ok := cutLast(string(b), ") ")
	field := strings.Fields(rest)
	if !ok || len(field) < 20 {
		return 0, fmt.Errorf("process %d: stat has %d fields", pid, len(field))
	}
	if field[0] == "Z" || field[0] == "X" {
		return 0, fmt.Errorf("process %d: dead", pid)
	}
	return strconv.ParseUint(field[19], 10, 64)
}

func cutLast(s, sep string) (before, after string, found bool) {
	if i := strings.LastIndex(s, sep); i >= 0 {
		return s[:i], s[i+len(sep):], true
	}
	return s, "", false
}
