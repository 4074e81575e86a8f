package main

import (
	"os"
	"runtime"
	"runtime/debug"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// Environment is what one must know to judge a figure.
type Environment struct {
	Date    time.Time `json:"date"`
	Kernel  string    `json:"kernel"`
	CPU     string    `json:"cpu"`
	CPUs    int       `json:"cpus"`
	Cache   string    `json:"last_level_cache"`
	Virtual bool      `json:"virtual_machine"`
	Go      string    `json:"go"`
	Commit  string    `json:"commit,omitempty"`
	// RandomRead is ns of one dependent read from memory of so many MiB: what
	// a cache miss of a table of that size costs on this machine now.
	RandomRead map[int]float64 `json:"random_read_ns"`
	// LoadBefore and LoadAfter are the load averages of the last minute. The
	// benchmark itself makes about one.
	LoadBefore string `json:"load_before"`
	LoadAfter  string `json:"load_after"`
}

func environment() Environment {
	e := Environment{Date: time.Now().UTC().Truncate(time.Second), CPUs: runtime.NumCPU(), Go: runtime.Version(), LoadBefore: load()}
	var u unix.Utsname
	if unix.Uname(&u) == nil {
		e.Kernel = unix.ByteSliceToString(u.Release[:])
	}
	e.CPU = cpuField("model name")
	e.Virtual = strings.Contains(" "+cpuField("flags")+" ", " hypervisor ")
	e.Cache = firstWord("/sys/devices/system/cpu/cpu0/cache/index3/size")
	e.RandomRead = make(map[int]float64)
	for _, mib := range []int{1, 10, 160} { // tables of 1k, 64k and 1M connections, roughly
		e.RandomRead[mib] = randomRead(mib)
	}
	if b, ok := debug.ReadBuildInfo(); ok {
		for _, s := range b.Settings {
			if s.Key == "vcs.revision" {
				e.Commit = s.Value
			}
		}
	}
	return e
}

// cpuField returns a line of the first processor.
func cpuField(name string) string {
	b, err := os.ReadFile("/proc/cpuinfo")
	if err != nil {
		return ""
	}
	for line := range strings.Lines(string(b)) {
		if key, value, ok := strings.Cut(line, ":"); ok && strings.TrimSpace(key) == name {
			return strings.TrimSpace(value)
		}
	}
	return ""
}

func load() string { return firstWord("/proc/loadavg") }

func firstWord(file string) string {
	b, err := os.ReadFile(file)
	if f := strings.Fields(string(b)); err == nil && len(f) > 0 {
		return f[0]
	}
	return ""
}
