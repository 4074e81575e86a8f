package traffic

import (
	"encoding/binary"
	"errors"
	"fmt"
	"net/netip"

	"github.com/cilium/ebpf/link"
)

// Sink drops and counts packets of Sources at an interface: those with their IP
// identification that go to one of their servers and its port or come from there. What
// else arrives there passes.
type Sink struct {
	objs trafficObjects
	link link.Link
}

// NewSink attaches a sink to an interface of the calling thread's namespace.
// With ccl the packets come in data frames. With a valid from only packets of
// this source are taken.
func NewSink(ifindex int, ccl bool, from netip.Addr) (*Sink, error) {
	k, err := openSink(ccl, from)
	if err != nil {
		return nil, err
	}
	k.link, err = link.AttachXDP(link.XDPOptions{Program: k.objs.Sink, Interface: ifindex, Flags: link.XDPDriverMode})
	if err != nil {
		k.objs.Close()
		return nil, fmt.Errorf("traffic: sink: %w", err)
	}
	return k, nil
}

func openSink(ccl bool, from netip.Addr) (*Sink, error) {
	spec, err := loadTraffic()
	if err != nil {
		return nil, fmt.Errorf("traffic: %w", err)
	}
	l3 := uint32(ethernet)
	if ccl {
		l3 = cclHeaders
	}
	var m, port [2]byte
	binary.BigEndian.PutUint16(m[:], mark)
	binary.BigEndian.PutUint16(port[:], ServerPort)
	var only uint32
	if from.IsValid() {
		a := from.As4()
		only = binary.NativeEndian.Uint32(a[:])
	}
	err = errors.Join(
		spec.Variables["only_from"].Set(only),
		spec.Variables["l3_off"].Set(l3),
		spec.Variables["server_base"].Set(addressesFrom(Server, 0).base),
		spec.Variables["num_servers"].Set(uint32(maxServers)),
		spec.Variables["server_port"].Set(binary.NativeEndian.Uint16(port[:])),
		spec.Variables["mark"].Set(binary.NativeEndian.Uint16(m[:])))
	if err != nil {
		return nil, fmt.Errorf("traffic: %w", err)
	}
	k := &Sink{}
	if err := spec.LoadAndAssign(&k.objs, nil); err != nil {
		return nil, fmt.Errorf("traffic: load: %w", err)
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

// Close detaches the sink.
func (k *Sink) Close() error { return errors.Join(k.link.Close(), k.objs.Close()) }
