package traffic

import (
	"encoding/binary"
	"errors"
	"fmt"

	"github.com/cilium/ebpf/link"

	"cohort/bpf"
)

// Fabric is the fast half of a switch: it redirects frames from port to port by
// their MAC and leaves the rest (broadcast) to the bridge that the ports are on.
// It counts the bytes of all frames, with their Ethernet headers and without
// checksums and gaps.
type Fabric struct {
	objs  fabricObjects
	links []link.Link
}

// Carried is what a Fabric has seen enter its ports.
type Carried struct {
	DataFrames, DataBytes   uint64 // forwarded packets in their data frames
	OtherFrames, OtherBytes uint64 // control and state
}

// Sub returns what was carried since.
func (c Carried) Sub(since Carried) Carried {
	return Carried{
		c.DataFrames - since.DataFrames, c.DataBytes - since.DataBytes,
		c.OtherFrames - since.OtherFrames, c.OtherBytes - since.OtherBytes,
	}
}

// NewFabric attaches to ports of the calling thread's namespace, each with the
// MAC of its cable's other end. The last four bits of the MACs differ. Tiers bounds
// what the node behind each port gets in data frames, by its number among them; nil:
// nothing does.
func NewFabric(ports []Out, tiers *Tiers) (*Fabric, error) {
	spec, err := loadFabric()
	if err != nil {
		return nil, fmt.Errorf("traffic: %w", err)
	}
	var table [MaxOuts]fabricPort
	for node, p := range ports {
		at := &table[p.MAC[5]%MaxOuts]
		if at.Ifindex != 0 {
			return nil, fmt.Errorf("traffic: fabric: two MACs end in %#x", p.MAC[5]%MaxOuts)
		}
		*at = fabricPort{Ifindex: uint32(p.Ifindex), Mac: p.MAC, Node: uint8(node)}
	}
	var t [2]byte
	binary.BigEndian.PutUint16(t[:], bpf.CCLEthertype)
	opts, err := tiers.into(spec)
	err = errors.Join(err, spec.Variables["ports"].Set(table), spec.Variables["data_type"].Set(binary.NativeEndian.Uint16(t[:])))
	if err != nil {
		return nil, fmt.Errorf("traffic: %w", err)
	}
	f := &Fabric{}
	if err := spec.LoadAndAssign(&f.objs, opts); err != nil {
		return nil, fmt.Errorf("traffic: load: %w", err)
	}
	for _, p := range ports {
		l, err := link.AttachXDP(link.XDPOptions{Program: f.objs.Fabric, Interface: p.Ifindex, Flags: link.XDPDriverMode})
		if err != nil {
			return nil, errors.Join(fmt.Errorf("traffic: fabric: interface %d: %w", p.Ifindex, err), f.Close())
		}
		f.links = append(f.links, l)
	}
	return f, nil
}

// Carried returns the counters of all CPUs together.
func (f *Fabric) Carried() (Carried, error) {
	var n [4]uint64
	for i := range n {
		var each []uint64
		if err := f.objs.Carried.Lookup(uint32(i), &each); err != nil {
			return Carried{}, fmt.Errorf("traffic: fabric: %w", err)
		}
		for _, c := range each {
			n[i] += c
		}
	}
	return Carried{n[0], n[1], n[2], n[3]}, nil
}

// Close detaches it; the bridge goes on alone.
func (f *Fabric) Close() error {
	var errs []error
	for _, l := range f.links {
		errs = append(errs, l.Close())
	}
	f.links = nil
	return errors.Join(append(errs, f.objs.Close())...)
}
