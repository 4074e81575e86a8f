package main

import (
	"cmp"
	"fmt"
	"slices"
	"strconv"
	"strings"
)

// tiersOf reads capacities of the nodes, "1:1:1:1,1:1:1:0.5".
func tiersOf(list string) (all [][]float64, err error) {
	if list == "" {
		return nil, nil
	}
	for _, set := range strings.Split(list, ",") {
		var one []float64
		for _, f := range strings.Split(set, ":") {
			v, err := strconv.ParseFloat(f, 64)
			if err != nil || !(v > 0 && v <= 1000) {
				return nil, fmt.Errorf("tier %q, want a number above 0 and at most 1000", f)
			}
			one = append(one, v)
		}
		if len(one) < 2 || len(one) > maxNodes {
			return nil, fmt.Errorf("%d tiers in %q, want those of 2 to %d nodes", len(one), set, maxNodes)
		}
		if all = append(all, one); len(one) != len(all[0]) {
			return nil, fmt.Errorf("%d tiers in %q and %d before, want as many nodes in all", len(one), set, len(all[0]))
		}
	}
	return all, nil
}

// tierName is tiers as the option has them.
func tierName(tiers []float64) string {
	var all []string
	for _, v := range tiers {
		all = append(all, strconv.FormatFloat(v, 'g', -1, 64))
	}
	return strings.Join(all, ":")
}

// ratesOf is what each node's bucket gets for a request: each is two packets, and at a
// load of 1 all nodes together take just these.
func ratesOf(tiers []float64, load float64) (rates []float64) {
	sum := sumOf(tiers)
	for _, v := range tiers {
		rates = append(rates, 2/load*v/sum)
	}
	return rates
}

func sumOf(v []float64) (sum float64) {
	for _, x := range v {
		sum += x
	}
	return sum
}

// crossingsOf is how often a request or its answer crosses the control link: requests
// meet the owner, which is the node that the first of them met, and answers any node.
// What is lent does not cross.
func crossingsOf(nodes int, way string) float64 {
	if way == forwardDelegate {
		return 0
	}
	return float64(nodes-1) / float64(nodes)
}

// modelOf is the load at which the slowest node is full. With routers that spread evenly
// every one of n nodes gets (2 + crossings) / n packets of a request.
func modelOf(tiers []float64, crossings float64) float64 {
	return float64(len(tiers)) * slices.Min(tiers) / sumOf(tiers) * 2 / (2 + crossings)
}

// tierDelivered is what a cluster must deliver of what it is offered.
const tierDelivered = 0.99

// usable is the largest load up to which everything is delivered.
func usable(loads []TierLoad) (most float64) {
	all := slices.Clone(loads)
	slices.SortFunc(all, func(a, b TierLoad) int { return cmp.Compare(a.Load, b.Load) })
	for _, l := range all {
		if l.Delivered < tierDelivered {
			break
		}
		most = l.Load
	}
	return most
}

// most is the largest throughput.
func most(loads []TierLoad) (most float64) {
	for _, l := range loads {
		most = max(most, l.Throughput)
	}
	return most
}
