package dataplane

import (
	"errors"
	"fmt"
	"os"
	"unsafe"

	"cohort/ccl/wire"
	"cohort/flowtable"

	"github.com/cilium/ebpf"
	"golang.org/x/sys/unix"
)

// memory is every shared array, mapped.
type memory struct {
	mappings [][]byte

	control  *Control
	members  []Member
	ifaces   []Iface
	nextHops []NextHop
	natUnits []wire.NodeID
	table    flowtable.Memory
}

func mapMemory(s mapSet) (*memory, error) {
	m := &memory{}
	var control []Control
	var units []natLine
	err := errors.Join(
		mapArray(m, s["control"], &control),
		mapArray(m, s["members"], &m.members),
		mapArray(m, s["ifaces"], &m.ifaces),
		mapArray(m, s["nexthops"], &m.nextHops),
		mapArray(m, s["nat_units"], &units),
		mapArray(m, s["index"], &m.table.Index),
		mapArray(m, s["flows"], &m.table.Flows),
		mapArray(m, s["forwards"], &m.table.Forwards),
		mapArray(m, s["delegations"], &m.table.Delegations),
	)
	if err != nil {
		m.unmap()
		return nil, err
	}
	m.control = &control[0]
	m.natUnits = unsafe.Slice(&units[0][0], len(units)*len(natLine{}))
	return m, nil
}

// mapArray maps one BPF_F_MMAPABLE array as a slice of its elements. The
// kernel rounds elements up to 8 bytes: all of ours are multiples of that.
func mapArray[T any](m *memory, from *ebpf.Map, to *[]T) error {
	var zero T
	size, n := int(unsafe.Sizeof(zero)), int(from.MaxEntries())
	if int(from.ValueSize()) != size || size%8 != 0 {
		return fmt.Errorf("dataplane: map %v: elements of %d bytes, want %d", from, from.ValueSize(), size)
	}
	page := os.Getpagesize()
	length := (n*size + page - 1) / page * page
	b, err := unix.Mmap(from.FD(), 0, length, unix.PROT_READ|unix.PROT_WRITE, unix.MAP_SHARED)
	if err != nil {
		return fmt.Errorf("dataplane: map %v into memory: %w", from, err)
	}
	m.mappings = append(m.mappings, b)
	*to = unsafe.Slice((*T)(unsafe.Pointer(&b[0])), n)
	return nil
}

func (m *memory) unmap() {
	for _, b := range m.mappings {
		_ = unix.Munmap(b)
	}
	*m = memory{}
}
