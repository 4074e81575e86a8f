package main

import (
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"slices"
	"strconv"
	"strings"
)

// maxNodes is how many one cluster may have.
const maxNodes = 16

// numbersOf reads numbers of something, "2,4,16".
func numbersOf(list string, most int) (all []int, err error) {
	if list == "" {
		return nil, nil
	}
	for _, f := range strings.Split(list, ",") {
		n, err := strconv.Atoi(f)
		if err != nil || n < 1 || n > most {
			return nil, fmt.Errorf("%q is none of the numbers from 1 to %d", f, most)
		}
		all = append(all, n)
	}
	return all, nil
}

// store writes the report in all its forms where the options say.
func (r *Report) store(o options) error {
	if o.out == "" {
		return nil
	}
	r.Note = o.note
	if o.add {
		if err := r.keep(o.out + ".json"); err != nil {
			return err
		}
	}
	err := errors.Join(r.write(o.out+".json"), r.writeMarkdown(o.out+".md"))
	if len(r.Scale) > 0 {
		err = errors.Join(err, os.WriteFile(o.out+".svg", r.curves(), 0o644))
	}
	return err
}

// keep takes over from a file what this run has not measured.
func (r *Report) keep(file string) error {
	b, err := os.ReadFile(file)
	if errors.Is(err, os.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	var old Report
	if err := json.Unmarshal(b, &old); err != nil {
		return fmt.Errorf("%s: %w", file, err)
	}
	now := *r
	*r = old
	if now.Note != "" {
		r.Note = now.Note
	}
	r.Environment, r.Seconds = now.Environment, old.Seconds+now.Seconds
	for _, part := range []struct {
		measured bool
		take     func()
	}{
		{now.Roles != nil, func() { r.Roles = now.Roles }},
		{now.Path != nil, func() { r.Path = now.Path }},
		{now.Connect != nil, func() { r.Connect, r.RSS = now.Connect, now.RSS }},
		{now.Entries != nil, func() { r.Entries = now.Entries }},
		{now.NATPath != nil, func() { r.NATPath = now.NATPath }},
		{now.NATConnect != nil, func() { r.NATConnect = now.NATConnect }},
		{now.Failover != nil, func() { r.Failover = now.Failover }},
		{now.Tiers != nil, func() { r.Tiers = now.Tiers }},
		{now.Link != nil, func() { r.Link = now.Link }},
		{now.Capacity != nil, func() { r.Capacity = mergeCapacity(old.Capacity, now.Capacity) }},
		{now.Takeover != nil, func() { r.Takeover = mergeTakeover(old.Takeover, now.Takeover) }},
	} {
		if part.measured {
			part.take()
		}
	}
	r.Scale = mergeScale(old.Scale, now.Scale)
	return nil
}

// mergeScale puts new results in the place of old ones of the same kind, figure by figure:
// a run may have measured some of them only (-figures).
func mergeScale(old, now []ScaleResult) []ScaleResult {
	all := slices.Clone(now)
	for _, o := range old {
		i := slices.IndexFunc(all, func(n ScaleResult) bool { return n.kind() == o.kind() })
		if i < 0 {
			all = append(all, o)
			continue
		}
		n := &all[i]
		n.Throughput, n.Few = cmp.Or(n.Throughput, o.Throughput), cmp.Or(n.Few, o.Few)
		n.Connections, n.Rate = cmp.Or(n.Connections, o.Connections), cmp.Or(n.Rate, o.Rate)
	}
	slices.SortFunc(all, func(a, b ScaleResult) int { return strings.Compare(a.kind(), b.kind()) })
	return all
}

// kind tells results apart, and sorts them.
func (r *ScaleResult) kind() string {
	return fmt.Sprintf("%s %s %02d", r.Spread, r.Forwarding, r.Nodes)
}

// mergeCapacity is mergeScale of full nodes.
func mergeCapacity(old, now []CapacityResult) []CapacityResult {
	return mergeBy(old, now, func(r CapacityResult) int { return r.Nodes<<32 + r.Connections })
}

// mergeTakeover is mergeScale of nodes that die.
func mergeTakeover(old, now []TakeoverResult) []TakeoverResult {
	return mergeBy(old, now, func(r TakeoverResult) int { return r.Connections })
}

func mergeBy[R any](old, now []R, kind func(R) int) []R {
	all := slices.Clone(now)
	for _, o := range old {
		if !slices.ContainsFunc(now, func(n R) bool { return kind(n) == kind(o) }) {
			all = append(all, o)
		}
	}
	slices.SortFunc(all, func(a, b R) int { return cmp.Compare(kind(a), kind(b)) })
	return all
}
