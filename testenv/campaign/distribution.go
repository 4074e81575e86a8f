package campaign

import (
	"fmt"
	"slices"
	"time"
)

// Distribution is a set of times in milliseconds, as results show them.
type Distribution struct {
	Count  int     `json:"count"`
	Min    float64 `json:"min_ms"`
	Median float64 `json:"median_ms"`
	P99    float64 `json:"p99_ms"`
	Max    float64 `json:"max_ms"`
}

// Distribute summarises times in any order; it sorts them.
func Distribute(times []time.Duration) (d Distribution) {
	d.Count = len(times)
	if d.Count == 0 {
		return d
	}
	slices.Sort(times)
	at := func(q float64) float64 {
		return float64(times[min(len(times)-1, int(q*float64(len(times))))].Microseconds()) / 1000
	}
	d.Min, d.Median, d.P99, d.Max = at(0), at(0.5), at(0.99), at(1)
	return d
}

// String is one cell of a table.
func (d Distribution) String() string {
	if d.Count == 0 {
		return "none"
	}
	return fmt.Sprintf("%.1f / %.1f / %.1f / %.1f ms (n=%d)", d.Min, d.Median, d.P99, d.Max, d.Count)
}
