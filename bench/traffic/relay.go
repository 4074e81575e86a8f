package traffic

import (
	"errors"
	"fmt"

	"github.com/cilium/ebpf/link"
)

// Relay sends what comes in by one interface out by another and looks at
// nothing: what any node between two cables costs at least.
type Relay struct {
	objs trafficObjects
	link link.Link
}

// NewRelay attaches a relay to the interface in. Both indexes are of the calling
// thread's namespace.
func NewRelay(in, out int) (*Relay, error) {
	spec, err := loadTraffic()
	if err != nil {
		return nil, fmt.Errorf("traffic: %w", err)
	}
	if err := spec.Variables["out"].Set(uint32(out)); err != nil {
		return nil, fmt.Errorf("traffic: %w", err)
	}
	r := &Relay{}
	if err := spec.LoadAndAssign(&r.objs, nil); err != nil {
		return nil, fmt.Errorf("traffic: load: %w", err)
	}
	r.link, err = link.AttachXDP(link.XDPOptions{Program: r.objs.Relay, Interface: in, Flags: link.XDPDriverMode})
	if err != nil {
		r.objs.Close()
		return nil, fmt.Errorf("traffic: relay: %w", err)
	}
	return r, nil
}

// Close detaches the relay.
func (r *Relay) Close() error { return errors.Join(r.link.Close(), r.objs.Close()) }
