package main

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"strings"
)

// A packet that is lost is in a counter of the node that dropped it, or in one of an
// interface whose ring was full, or has not arrived yet. So a sample that missed some
// tells what all of them say beyond what they said before it.

// accounts are counters by node, kind and name.
type accounts map[string]uint64

// Kinds of accounts, as they stand between node and name.
const (
	atNode  = " drop "
	atCable = " interface "
)

// accounts reads what the talk's nodes and their interfaces tell of packets that went
// another way than straight on.
func (t *talk) accounts(ctx context.Context) (accounts, error) {
	if t.cluster == nil || t.cluster.tracked {
		return accounts{}, nil
	}
	all, err := t.cluster.accounts(ctx)
	if err != nil {
		err = fmt.Errorf("%s: %w", t.name, err)
	}
	return all, err
}

func (c *cluster) accounts(ctx context.Context) (accounts, error) {
	all := accounts{}
	for _, n := range c.Nodes {
		counters, err := n.API().Counters(ctx)
		if err != nil {
			return nil, fmt.Errorf("counters of %s: %w", n.Name, err)
		}
		for _, c := range counters {
			if c.Kind != "pass" && !strings.HasPrefix(c.Name, "forward_") {
				all[n.Name+" "+c.Kind+" "+c.Name] = c.Value
			}
		}
		links, err := n.Namespace().Netlink().LinkList()
		if err != nil {
			return nil, fmt.Errorf("interfaces of %s: %w", n.Name, err)
		}
		for _, l := range links {
			if s := l.Attrs().Statistics; s != nil {
				all[n.Name+atCable+l.Attrs().Name+".rx_dropped"] = s.RxDropped
				all[n.Name+atCable+l.Attrs().Name+".tx_dropped"] = s.TxDropped
			}
		}
	}
	return all, nil
}

// since tells what has grown, in the order of the names.
func (a accounts) since(before accounts) string {
	var b strings.Builder
	for _, name := range slices.Sorted(maps.Keys(a)) {
		if n := a[name] - before[name]; n != 0 {
			fmt.Fprintf(&b, ", %s +%d", name, n)
		}
	}
	if b.Len() == 0 {
		return "no counter of any node or interface has grown"
	}
	return strings.TrimPrefix(b.String(), ", ")
}

// drops are packets that nodes and interfaces have dropped since.
func (a accounts) drops(before accounts) map[string]uint64 {
	all := map[string]uint64{}
	for name := range a {
		if n := a[name] - before[name]; n != 0 && (strings.Contains(name, atNode) || strings.Contains(name, atCable)) {
			all[name] = n
		}
	}
	return all
}

// onCables reports whether interfaces have lost something since, and no node has
// dropped anything: the generator was faster than a CPU that others have emptied the
// rings between, which says nothing of the nodes.
func (a accounts) onCables(before accounts) bool {
	cables := false
	for name := range a {
		switch grown := a[name] != before[name]; {
		case grown && strings.Contains(name, atNode):
			return false
		case grown && strings.Contains(name, atCable):
			cables = true
		}
	}
	return cables
}

// again is how often a sample is taken again of which cables lost something.
const again = 2

// sampler takes one sample of a talk.
type sampler func(ctx context.Context, t *talk) (each float64, c cost, whole bool, err error)

// watched takes a sample, and says what was lost when it is not whole.
func watched(ctx context.Context, t *talk, sample sampler) (each float64, c cost, lost string, err error) {
	for try := 0; ; try++ {
		before, err := t.accounts(ctx)
		if err != nil {
			return 0, c, "", err
		}
		each, c, whole, err := sample(ctx, t)
		if err != nil || whole {
			return each, c, "", err
		}
		after, err := t.accounts(ctx)
		if err != nil {
			return 0, c, "", err
		}
		if !after.onCables(before) || try == again {
			return each, c, t.name + ": " + after.since(before), nil
		}
	}
}
