package traffic

import (
	"encoding/binary"
	"errors"
	"fmt"
	"net/netip"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/link"
)

// Sink drops and counts packets of Sources at an interface. What else arrives
// there passes.
type Sink struct {
	objs trafficObjects
	link link.Link
}

// NewSink attaches a sink to an interface of the calling thread's namespace.
// With ccl the packets come in data frames. With a valid from only packets of
// this source are taken.
func NewSink(ifindex int, ccl bool, from netip.Addr) (*Sink, error) {
	spec, err := loadTraffic()
	if err != nil {
		return nil, fmt.Errorf("traffic: %w", err)
	}
	l3 := uint32(ethernet)
	if ccl {
		l3 = cclHeaders
	}
	var m [2]byte
	binary.BigEndian.PutUint16(m[:], mark)
	var only uint32
	if from.IsValid() {
		a := from.As4()
		only = binary.NativeEndian.Uint32(a[:])
	}
	err = errors.Join(
		spec.Variables["only_from"].Set(only),
		spec.Variables["l3_off"].Set(l3),
		spec.Variables["mark"].Set(binary.NativeEndian.Uint16(m[:])))
	if err != nil {
		return nil, fmt.Errorf("traffic: %w", err)
	}
	k := &Sink{}
	if err := spec.LoadAndAssign(&k.objs, nil); err != nil {
		return nil, fmt.Errorf("traffic: load: %w", err)
	}
	k.link, err = link.AttachXDP(link.XDPOptions{Program: k.objs.Sink, Interface: ifindex, Flags: link.XDPDriverMode})
	if err != nil {
		k.objs.Close()
		return nil, fmt.Errorf("traffic: sink: %w", err)
	}
	return k, nil
}

// Taken returns how many packets the sink has dropped so far.
func (k *Sink) Taken() (uint64, error) {
	var perCPU []uint64
	if err := k.objs.Taken.Lookup(uint32(0), &perCPU); err != nil {
		return 0, fmt.Errorf("traffic: sink: %w", err)
	}
	var n uint64
	for _, c := range perCPU {
		n += c
	}
	return n, nil
}

// Program is the sink's program, for prog-run in tests.
func (k *Sink) Program() *ebpf.Program { return k.objs.Sink }

// Close detaches the sink.
func (k *Sink) Close() error { return errors.Join(k.link.Close(), k.objs.Close()) }
