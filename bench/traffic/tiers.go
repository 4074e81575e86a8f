package traffic

import (
	"errors"
	"fmt"

	"github.com/cilium/ebpf"
)

// token is one packet in the units of a bucket, TOKEN of tier.h.
const token = 1 << 16

// Tiers bounds what each of up to MaxOuts nodes gets from the sides and the fabric
// that share it: a token bucket for each, filled by the packets that a Dialer dials and
// not by time. For one CPU.
type Tiers struct{ buckets, clock *ebpf.Map }

// Taken counts packets of one node.
type Taken struct{ Passed, Refused uint64 }

// NewTiers makes buckets that let everything pass.
func NewTiers() (*Tiers, error) {
	spec, err := loadDialogue()
	if err != nil {
		return nil, fmt.Errorf("traffic: %w", err)
	}
	t := &Tiers{}
	if t.buckets, err = ebpf.NewMap(spec.Maps[dialogueMapTiers]); err == nil {
		if t.clock, err = ebpf.NewMap(spec.Maps[dialogueMapTierClock]); err != nil {
			t.buckets.Close()
		}
	}
	if err != nil {
		return nil, fmt.Errorf("traffic: tiers: %w", err)
	}
	return t, nil
}

// Set gives a node so many packets for each one that is dialled, 0 = as many as come,
// and lets it save up depth packets. Its bucket is full, and its counters begin anew.
func (t *Tiers) Set(node int, rate, depth float64) error {
	if node < 0 || node >= MaxOuts || rate < 0 || rate > 1e6 || depth < 1 || depth > 1e9 {
		return fmt.Errorf("traffic: tier of node %d: %g packets and a depth of %g, want 0 to 1e6 and 1 to 1e9", node, rate, depth)
	}
	var now uint64
	if err := t.clock.Lookup(uint32(0), &now); err != nil {
		return fmt.Errorf("traffic: tiers: %w", err)
	}
	full := uint64(depth * token)
	if err := t.buckets.Put(uint32(node), dialogueTier{Rate: uint64(rate * token), Depth: full, Level: full, Filled: now}); err != nil {
		return fmt.Errorf("traffic: tiers: %w", err)
	}
	return nil
}

// Taken returns what a node got and did not get since Set.
func (t *Tiers) Taken(node int) (Taken, error) {
	var b dialogueTier
	if err := t.buckets.Lookup(uint32(node), &b); err != nil {
		return Taken{}, fmt.Errorf("traffic: tiers: %w", err)
	}
	return Taken{b.Passed, b.Refused}, nil
}

// Close releases the buckets; what shares them goes on with them.
func (t *Tiers) Close() error { return errors.Join(t.buckets.Close(), t.clock.Close()) }

// into makes a program share them. A nil Tiers costs it nothing.
func (t *Tiers) into(spec *ebpf.CollectionSpec) (*ebpf.CollectionOptions, error) {
	if t == nil {
		return nil, nil
	}
	if err := spec.Variables["tiered"].Set(uint32(1)); err != nil {
		return nil, err
	}
	shared := map[string]*ebpf.Map{dialogueMapTiers: t.buckets}
	if _, used := spec.Maps[dialogueMapTierClock]; used {
		shared[dialogueMapTierClock] = t.clock
	}
	return &ebpf.CollectionOptions{MapReplacements: shared}, nil
}
