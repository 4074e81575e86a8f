package spray

import (
	"fmt"

	"github.com/cilium/ebpf"
	"github.com/vishvananda/netlink"
)

// MaxHops is the number of next hops a Sprayer can choose from.
const MaxHops = 64

// Sprayer gives packets a random mark. One Sprayer may sit on several
// interfaces. Set and Sent may be called concurrently with traffic, not with
// each other or Close.
type Sprayer struct {
	objs sprayObjects
}

// New loads the program. Until Set names live marks, packets pass unmarked.
func New() (*Sprayer, error) {
	s := new(Sprayer)
	if err := loadSprayObjects(&s.objs, nil); err != nil {
		return nil, fmt.Errorf("spray: load: %w", err)
	}
	return s, nil
}

// Attach marks the packets that come in by an interface of nl's namespace.
func (s *Sprayer) Attach(nl *netlink.Handle, index int) error {
	return attach(nl, index, Ingress, s.objs.Spray)
}

// Set names the marks to choose from, each with equal chance; none means that
// packets pass unmarked. Marks are 1 to MaxHops.
func (s *Sprayer) Set(marks []uint32) error {
	if len(marks) > MaxHops {
		return fmt.Errorf("spray: %d marks, at most %d", len(marks), MaxHops)
	}
	set := spraySpraySet{N: uint32(len(marks))}
	for i := range set.Mark {
		if len(marks) > 0 {
			set.Mark[i] = marks[i%len(marks)]
		}
	}
	if err := s.objs.SprayLive.Update(uint32(0), &set, ebpf.UpdateAny); err != nil {
		return fmt.Errorf("spray: set: %w", err)
	}
	return nil
}

// Sent returns how many packets were given a mark so far.
func (s *Sprayer) Sent(mark uint32) (uint64, error) {
	var perCPU []uint64
	if err := s.objs.SpraySent.Lookup(mark%MaxHops, &perCPU); err != nil {
		return 0, fmt.Errorf("spray: count: %w", err)
	}
	var sum uint64
	for _, n := range perCPU {
		sum += n
	}
	return sum, nil
}

// Close releases the program and maps. Filters keep theirs until their
// interface goes.
func (s *Sprayer) Close() error { return s.objs.Close() }
