package campaign

import (
	"fmt"
	"slices"
	"time"

	"cohort/api"
)

// New connections are spread over n members when, of so many that began one after the
// other, each member owns one n-th, give or take so many of a hundred. Three standard
// deviations of what a fair choice gives are less than that.
const (
	shareOf     = 200
	sharePoints = 10
)

// Owned is a connection that has begun, and who owns it ("" where nobody was seen to).
type Owned struct {
	Began time.Time
	By    string
}

// Owners of the connections that were opened since a moment, in the order in which
// they began.
func (a *Arrivals) Owners(since time.Time, c Census) (list []Owned) {
	a.mu.Lock()
	defer a.mu.Unlock()
	for _, k := range a.list {
		if k.Failed() || k.Began.Before(since) {
			continue
		}
		o := Owned{Began: k.Began}
		if by := c.With(k.Key, api.Owner); len(by) == 1 {
			o.By = by[0].Name
		}
		list = append(list, o)
	}
	slices.SortFunc(list, func(x, y Owned) int { return x.Began.Compare(y.Began) })
	return list
}

// sharedAt is when the last connection of the first evenly spread row of them began;
// zero, and why, while there is none.
func sharedAt(list []Owned, members []string, want int) (at time.Time, why string) {
	if len(members) != want {
		return at, fmt.Sprintf("the members are %v, want %d", members, want)
	}
	count := map[string]int{}
	why = fmt.Sprintf("only %d have begun", len(list))
	for i, o := range list {
		if count[o.By]++; i >= shareOf {
			count[list[i-shareOf].By]--
		}
		if i < shareOf-1 {
			continue
		}
		if why = uneven(count, members); why == "" {
			return o.Began, ""
		}
	}
	return at, why
}

// uneven says what is wrong with the shares of shareOf connections.
func uneven(count map[string]int, members []string) string {
	sum := 0
	for _, m := range members {
		sum += count[m]
		if off := count[m]*len(members) - shareOf; off > len(members)*shareOf*sharePoints/100 || -off > len(members)*shareOf*sharePoints/100 {
			return fmt.Sprintf("%s owns %d of %d: %v", m, count[m], shareOf, count)
		}
	}
	if sum < shareOf {
		return fmt.Sprintf("some are not owned by members: %v", count)
	}
	return ""
}
