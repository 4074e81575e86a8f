package nat

import (
	"testing"

	"pgregory.net/rapid"
)

// A portSet answers as a list of counts does.
func TestPortSetEqualsAList(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		size := rapid.IntRange(1, 200).Draw(t, "size")
		s, uses := newPortSet(size), make([][2]uint32, size)
		for range rapid.IntRange(0, 3*size).Draw(t, "steps") {
			port, mapping := rapid.IntRange(0, size-1).Draw(t, "port"), rapid.Bool().Draw(t, "mapping")
			kind := 0
			if mapping {
				kind = 1
			}
			before := uses[port][0] + uses[port][1]
			if includes(s.count(port), mapping) != (uses[port][kind] > 0) {
				t.Fatalf("port %d, %v: includes is wrong", port, uses[port])
			}
			if uses[port][kind] > 0 && rapid.Bool().Draw(t, "release") {
				uses[port][kind]--
				if s.release(port, mapping) != (before == 1) {
					t.Fatalf("port %d: last of %d", port, before)
				}
			} else {
				uses[port][kind]++
				if s.use(port, mapping) != (before == 0) {
					t.Fatalf("port %d: first of %d", port, before)
				}
			}
		}
		var unused []int
		for port, u := range uses {
			if u == [2]uint32{} {
				unused = append(unused, port)
			}
		}
		for n := range size + 1 {
			want := -1
			if n < len(unused) {
				want = unused[n]
			}
			if got := s.unused(n); got != want {
				t.Fatalf("unused %d of %d is %d, want %d", n, len(unused), got, want)
			}
		}
		next := -1
		for from := size - 1; from >= 0; from-- {
			if uses[from] == [2]uint32{} {
				next = from
			}
			if got := s.nextUnused(from); got != next {
				t.Fatalf("unused from %d on: %d, want %d", from, got, next)
			}
		}
	})
}

// TestNT3_ARestOfLastMonthKeepsNoPort: ticks of 32 bits come round, and a port that rested
// 27 days ago does not rest because others of its unit do.
func TestNT3_ARestOfLastMonthKeepsNoPort(t *testing.T) {
	const day, hold = 24 * 3600 * second, 2 * 60 * second
	s := newPortSet(64)
	s.rest(1, hold)
	if !s.resting(1, hold-second, hold) || s.resting(1, hold+second, 2*hold) || s.resting(1, hold-second, hold-second) {
		t.Fatal("a port rests until its own end, and no longer than all of its unit")
	}
	for days := int64(26); days < 50; days++ {
		at := days*day + day/2
		s.rest(2, at+hold)
		if !s.resting(2, at, at+hold) {
			t.Fatalf("on day %d a port that has just been given up does not rest", days)
		}
		if s.resting(1, at, at+hold) {
			t.Fatalf("on day %d a port rests that was given up on the first", days)
		}
	}
}
