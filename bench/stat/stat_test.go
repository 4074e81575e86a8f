package stat

import (
	"math"
	"math/rand/v2"
	"slices"
	"testing"
)

func TestOf_KnownSeries(t *testing.T) {
	for _, c := range []struct {
		in   []float64
		want Summary
	}{
		{nil, Summary{}},
		{[]float64{7}, Summary{Median: 7, Low: 7, High: 7, Min: 7, N: 1}},
		{[]float64{9, 1}, Summary{Median: 5, Low: 1, High: 9, Min: 1, N: 2}},
		{[]float64{3, 1, 2}, Summary{Median: 2, Low: 1, High: 3, Min: 1, N: 3}},
		// From tables of the sign test: of 12 values the third and the tenth.
		{[]float64{12, 11, 10, 9, 8, 7, 6, 5, 4, 3, 2, 1}, Summary{Median: 6.5, Low: 3, High: 10, Min: 1, N: 12}},
	} {
		in := slices.Clone(c.in)
		if got := Of(in); got != c.want {
			t.Errorf("Of(%v) = %+v, want %+v", c.in, got, c.want)
		}
		if !slices.Equal(in, c.in) {
			t.Errorf("Of changed the order of %v", c.in)
		}
	}
	if !math.IsNaN(Median(nil)) {
		t.Error("a median of nothing")
	}
}

// TestOf_TheIntervalHoldsTheMedian: over many series of a skewed distribution
// it does so at least as often as promised.
func TestOf_TheIntervalHoldsTheMedian(t *testing.T) {
	r := rand.New(rand.NewPCG(1, 2))
	for _, n := range []int{6, 7, 12, 25, 40} {
		const series = 4000
		held := 0
		for range series {
			v := make([]float64, n)
			for i := range v {
				v[i] = r.ExpFloat64()
			}
			if s := Of(v); s.Low <= math.Ln2 && math.Ln2 <= s.High {
				held++
			}
		}
		if share := float64(held) / series; share < 0.94 {
			t.Errorf("%d values: the interval held the median in %.3f of the series", n, share)
		}
	}
}

func TestRatios(t *testing.T) {
	if got := Ratios([]float64{2, 1, 9}, []float64{4, 0, 3}); !slices.Equal(got, []float64{0.5, 3}) {
		t.Error(got)
	}
}

func TestDifferencesArePairwise(t *testing.T) {
	if got := Differences([]float64{5, 1}, []float64{2, 3}); !slices.Equal(got, []float64{3, -2}) {
		t.Error(got)
	}
}
