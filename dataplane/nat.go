package dataplane

import (
	"cmp"
	"fmt"
	"slices"

	"cohort/ccl/wire"
	"cohort/nat"
	"cohort/packet"

	"github.com/cilium/ebpf"
)

// NATAddress says how the ports of one translated address are cut into units:
// what nat.Geometry.Table returns.
type NATAddress = nat.AddressEntry

// NATUnits is who directs each unit of the pools: node ids by unit, 0 is
// nobody. XDP sends the return packet of a translated connection, for which it
// has no entry, to the director of its unit (FR6); where that is this node or
// nobody or a node that is not alive, the packet goes to Go as a miss.
//
// The slice is the memory that XDP reads, MaxNATUnits long and valid until
// Close. The owner of the Dataplane writes single elements, each a store of one
// byte, and it costs no system call. After a restart that adopted the maps it
// holds what the daemon before wrote, except for units that SetNATAddresses
// cleared since.
func (d *Dataplane) NATUnits() []wire.NodeID { return d.memory.natUnits }

// SetNATAddresses makes addrs the addresses whose return packets XDP steers. The
// error wraps ErrConfig if they do not fit XDP's maps, and then nothing changed;
// any other error is the kernel's.
//
// Units of addresses that are as they were keep their directors, across a
// restart too. All other units are directed by nobody afterwards; the caller
// says in NATUnits who does. The order of the writes lets no packet be steered
// by an old number of a unit in a new numbering, whenever the daemon dies:
//
//  1. an address that goes or changes is removed: its packets are misses;
//  2. the units it had, and those that new addresses get, lose their directors;
//  3. the new addresses are added.
func (d *Dataplane) SetNATAddresses(addrs []NATAddress) error {
	if err := checkNATAddresses(addrs); err != nil {
		return err
	}
	want := make(map[packet.Addr]natAddress, len(addrs))
	for _, a := range addrs {
		want[a.Addr] = natAddress{FirstUnit: a.FirstUnit, FirstPort: a.FirstPort, LastPort: a.LastPort, BlockSize: a.BlockSize}
	}
	if err := d.replaceNATAddresses(want); err != nil {
		return fmt.Errorf("dataplane: translated addresses: %w", err)
	}
	return nil
}

func (d *Dataplane) replaceNATAddresses(want map[packet.Addr]natAddress) error {
	m := d.maps["nat_addrs"]
	have, err := readNATAddresses(m)
	if err != nil {
		return err
	}
	for a, e := range have {
		if w, keep := want[a]; keep && w == e {
			continue
		}
		if err := m.Delete(a); err != nil {
			return err
		}
		d.clearUnits(e)
		delete(have, a)
	}
	for a, e := range want {
		if _, unchanged := have[a]; !unchanged {
			d.clearUnits(e)
		}
	}
	for a, e := range want {
		if _, unchanged := have[a]; unchanged {
			continue
		}
		if err := m.Put(a, e); err != nil {
			return err
		}
	}
	return nil
}

func readNATAddresses(m *ebpf.Map) (map[packet.Addr]natAddress, error) {
	have := make(map[packet.Addr]natAddress)
	var a packet.Addr
	var e natAddress
	it := m.Iterate()
	for it.Next(&a, &e) {
		have[a] = e
	}
	return have, it.Err()
}

// clearUnits makes nobody the director of an address's units. What the map
// holds was checked when it was written, by this daemon or another of the same
// layout.
func (d *Dataplane) clearUnits(e natAddress) {
	first := min(int(e.FirstUnit), MaxNATUnits)
	clear(d.memory.natUnits[first:min(first+e.units(), MaxNATUnits)])
}

// checkNATAddresses refuses what XDP's maps cannot hold or would misread.
func checkNATAddresses(addrs []NATAddress) error {
	if len(addrs) > MaxNATAddrs {
		return fmt.Errorf("%w: %d translated addresses, more than %d", ErrConfig, len(addrs), MaxNATAddrs)
	}
	known := make(map[packet.Addr]bool, len(addrs))
	for _, a := range addrs {
		switch {
		case known[a.Addr]:
			return fmt.Errorf("%w: translated address %v is there twice", ErrConfig, a.Addr)
		case a.FirstPort > a.LastPort:
			return fmt.Errorf("%w: translated address %v: ports %d-%d", ErrConfig, a.Addr, a.FirstPort, a.LastPort)
		case a.BlockSize != 0 && a.FirstPort == 0:
			return fmt.Errorf("%w: translated address %v: port 0 is in a block", ErrConfig, a.Addr)
		}
		known[a.Addr] = true
	}
	return checkNATUnits(addrs)
}

// checkNATUnits refuses units that exceed the array or that two addresses share.
func checkNATUnits(addrs []NATAddress) error {
	byUnit := slices.SortedFunc(slices.Values(addrs), func(a, b NATAddress) int { return cmp.Compare(a.FirstUnit, b.FirstUnit) })
	next := 0
	for _, a := range byUnit {
		first := int(a.FirstUnit)
		if first < next {
			return fmt.Errorf("%w: translated address %v shares unit %d with another", ErrConfig, a.Addr, first)
		}
		e := natAddress{FirstPort: a.FirstPort, LastPort: a.LastPort, BlockSize: a.BlockSize}
		if next = first + e.units(); next > MaxNATUnits {
			return fmt.Errorf("%w: translated address %v has unit %d, the last is %d", ErrConfig, a.Addr, next-1, MaxNATUnits-1)
		}
	}
	return nil
}
