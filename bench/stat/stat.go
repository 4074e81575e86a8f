// Package stat says what a series of measurements on a shared machine is worth:
// medians with distribution-free intervals, never means.
package stat

import (
	"math"
	"slices"
)

// Summary of a series. The interval holds the true median with at least 95 %
// confidence whatever the distribution (order statistics); with fewer than six
// values there is no such interval and it is the range.
type Summary struct {
	Median float64 `json:"median"`
	Low    float64 `json:"low"`
	High   float64 `json:"high"`
	Min    float64 `json:"min"`
	N      int     `json:"n"`
}

// Of summarizes values, which keep their order. Without values all is zero.
func Of(values []float64) Summary {
	n := len(values)
	if n == 0 {
		return Summary{}
	}
	v := slices.Sorted(slices.Values(values))
	s := Summary{Median: Median(v), Min: v[0], N: n}
	k := rank(n)
	s.Low, s.High = v[k], v[n-1-k]
	return s
}

// Median of values; NaN if there are none.
func Median(values []float64) float64 {
	n := len(values)
	if n == 0 {
		return math.NaN()
	}
	v := slices.Sorted(slices.Values(values))
	return (v[(n-1)/2] + v[n/2]) / 2
}

// rank is the largest k for which the values at k and n-1-k enclose the median
// with 95 %: the chance that at most k of n fair coins show heads is 2.5 % at
// most. 0 if even the range does not reach that.
func rank(n int) int {
	term := math.Pow(0.5, float64(n)) // of exactly i heads
	below := 0.0
	for i := range n / 2 {
		if below += term; below > 0.025 {
			return max(i-1, 0)
		}
		term *= float64(n-i) / float64(i+1)
	}
	return 0
}

// Differences subtracts pairwise.
func Differences(a, b []float64) []float64 {
	d := make([]float64, len(a))
	for i := range a {
		d[i] = a[i] - b[i]
	}
	return d
}

// Ratios divides pairwise. A pair whose second value is not positive says
// nothing and is left out.
func Ratios(a, b []float64) []float64 {
	r := make([]float64, 0, len(a))
	for i := range a {
		if b[i] > 0 {
			r = append(r, a[i]/b[i])
		}
	}
	return r
}
