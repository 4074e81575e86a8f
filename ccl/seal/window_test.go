package seal

import (
	"testing"

	"pgregory.net/rapid"
)

// The window agrees with a set of all counters ever seen.
func TestWindowAgreesWithASet(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		var w window
		start := rapid.Uint64Range(0, 1<<20).Draw(t, "start")
		w.startAt(start)
		last, seen := start, map[uint64]bool{}
		for range rapid.IntRange(1, 300).Draw(t, "n") {
			step := rapid.SampledFrom([]int64{1, 1, 1, 2, 63, 64, 65, 2047, 2048, 2049, 9999, -1, -2, -64, -2047, -2048, -5000}).Draw(t, "step")
			n := uint64(max(int64(last)+step, 0))
			want := n <= start || seen[n] || n+windowBits <= last
			if got := w.seen(n); got != want {
				t.Fatalf("counter %d, newest %d: seen %v, want %v", n, last, got, want)
			}
			if !want {
				w.mark(n)
				seen[n] = true
				last = max(last, n)
			}
		}
	})
}
