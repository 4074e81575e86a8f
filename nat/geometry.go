package nat

import (
	"encoding/binary"
	"fmt"
	"hash/crc32"

	"cohort/packet"
)

// Geometry numbers the units of all pools. A unit is what nodes hold and hand
// over: a block of ports of one PoolPorts address, or one whole PoolAddresses
// address. They are numbered from 0 in configuration order: pool by pool,
// address by address, block by block. So the unit of an (address, port) is
// arithmetic, at any node and in XDP (FR6, NT2).
//
// A Geometry is immutable: any number of goroutines may use it. All nodes must
// have made it from the same pools.
type Geometry struct {
	pools     []PoolUnits
	addresses []AddressEntry
	pool      []uint16     // pool of each address
	index     addressIndex // index into addresses
	of        []uint16     // unit -> index into addresses
}

// PoolUnits says which units a pool has.
type PoolUnits struct {
	Name             string
	Kind             PoolKind
	First            int // first unit
	Units            int // number of units, of all addresses
	Addresses        int // number of addresses
	PerAddress       int // units of each address
	BlockSize        int // ports of a block; the last of an address may be shorter. 0: PoolAddresses
	MaxBlocksPerHost int // 0 = no limit

	firstAddress int // index into Table
}

// AddressEntry is what XDP needs to compute the unit of a port of one address
// (struct nat_address in bpf/layout.h).
type AddressEntry struct {
	Addr                packet.Addr
	FirstUnit           uint32
	FirstPort, LastPort uint16 // the ports that are lent out
	BlockSize           uint16 // 0: the whole address is one unit, all ports
}

// Unit describes one unit.
type Unit struct {
	Pool        int // index into Pools
	Addr        packet.Addr
	First, Last uint16 // ports; 0 and 65535 for a whole address
}

// Ports returns how many ports the unit has; 65536 for a whole address.
func (u Unit) Ports() int { return int(u.Last) - int(u.First) + 1 }

// NewGeometry numbers the units of pools. It refuses, with ErrConfig, what it
// cannot number: bounds exceeded, an address twice, a name twice.
func NewGeometry(pools []Pool) (*Geometry, error) {
	g := &Geometry{}
	names := map[string]bool{}
	for i := range pools {
		p := &pools[i]
		if names[p.Name] {
			return nil, poolError(p, "there is another pool of this name")
		}
		names[p.Name] = true
		if err := g.add(p, i); err != nil {
			return nil, err
		}
	}
	return g, nil
}

func poolError(p *Pool, format string, args ...any) error {
	return fmt.Errorf("compile nat: pool %q: %w: %s", p.Name, ErrConfig, fmt.Sprintf(format, args...))
}

// add appends the units of one pool.
func (g *Geometry) add(p *Pool, number int) error {
	entry := AddressEntry{FirstPort: 1024, LastPort: 65535, BlockSize: p.BlockSize}
	perAddress := 1
	switch {
	case p.Name == "":
		return poolError(p, "a pool needs a name")
	case len(p.Addresses) == 0:
		return poolError(p, "it has no addresses")
	case p.Kind == PoolPorts:
		if entry.BlockSize == 0 {
			entry.BlockSize = DefaultBlockSize
		}
		if entry.BlockSize < MinBlockSize || entry.BlockSize > MaxBlockSize {
			return poolError(p, "block size %d is outside %d-%d", p.BlockSize, MinBlockSize, MaxBlockSize)
		}
		if p.MaxBlocksPerHost < 0 {
			return poolError(p, "max blocks per host is %d; 0 means no limit", p.MaxBlocksPerHost)
		}
		if p.IncludeReserved {
			entry.FirstPort = 1
		}
		ports := int(entry.LastPort) - int(entry.FirstPort) + 1
		perAddress = (ports + int(entry.BlockSize) - 1) / int(entry.BlockSize)
	case p.Kind == PoolAddresses:
		if p.BlockSize != 0 || p.IncludeReserved || p.MaxBlocksPerHost != 0 || p.MaxInbound != 0 {
			return poolError(p, "block size, reserved ports, blocks per host and connections per mapping are for pools of ports")
		}
		entry.FirstPort = 0
	default:
		return poolError(p, "unknown kind %d", p.Kind)
	}
	g.pools = append(g.pools, PoolUnits{
		Name: p.Name, Kind: p.Kind, First: len(g.of), Units: perAddress * len(p.Addresses), Addresses: len(p.Addresses),
		PerAddress: perAddress, BlockSize: int(entry.BlockSize), MaxBlocksPerHost: p.MaxBlocksPerHost,
		firstAddress: len(g.addresses),
	})
	if n := len(g.addresses) + len(p.Addresses); n > MaxPoolAddresses {
		return poolError(p, "the pools have %d addresses up to here, more than %d", n, MaxPoolAddresses)
	}
	if n := len(g.of) + perAddress*len(p.Addresses); n > MaxUnits {
		return poolError(p, "the pools have %d blocks up to here, more than %d: use larger blocks", n, MaxUnits)
	}
	for _, a := range p.Addresses {
		if a == (packet.Addr{}) {
			return poolError(p, "0.0.0.0 is not an address")
		}
		if other, twice := g.index.get(a); twice {
			return poolError(p, "address %s is already in pool %q", a, g.pools[g.pool[other]].Name)
		}
		entry.Addr, entry.FirstUnit = a, uint32(len(g.of))
		at := uint16(len(g.addresses))
		g.index.put(a, uint32(at))
		g.addresses = append(g.addresses, entry)
		g.pool = append(g.pool, uint16(number))
		for range perAddress {
			g.of = append(g.of, at)
		}
	}
	return nil
}

// Units returns the number of units: they are 0 to Units()-1.
func (g *Geometry) Units() int { return len(g.of) }

// Unit returns the unit that a port of an address lies in. ok is false when it
// is no pool's address, or a port that the pool does not lend out. All ports of
// a PoolAddresses address are one unit.
func (g *Geometry) Unit(a packet.Addr, port uint16) (unit int, ok bool) {
	at, ok := g.index.get(a)
	if !ok {
		return 0, false
	}
	e := &g.addresses[at]
	if port < e.FirstPort || port > e.LastPort {
		return 0, false
	}
	unit = int(e.FirstUnit)
	if e.BlockSize != 0 {
		unit += int(port-e.FirstPort) / int(e.BlockSize)
	}
	return unit, true
}

// UnitOf returns the unit whose holder is responsible for a reply key. It is
// Unit of the key's destination, except for protocols without ports: these have
// port 0, which is in no block, and belong to the first unit of the address. So
// exactly one node may make such an xlate too (NT4).
func (g *Geometry) UnitOf(k1 packet.FlowKey) (unit int, ok bool) {
	if hasPorts(k1.Proto) {
		return g.Unit(k1.Dst, k1.DstPort)
	}
	at, ok := g.index.get(k1.Dst)
	if !ok {
		return 0, false
	}
	return int(g.addresses[at].FirstUnit), true
}

// Pool returns which pool an address belongs to (index into Pools).
func (g *Geometry) Pool(a packet.Addr) (pool int, ok bool) {
	at, ok := g.index.get(a)
	if !ok {
		return 0, false
	}
	return int(g.pool[at]), true
}

// Describe returns what a unit is. The unit must exist.
func (g *Geometry) Describe(unit int) Unit {
	at := g.of[unit]
	e := &g.addresses[at]
	u := Unit{Pool: int(g.pool[at]), Addr: e.Addr, First: e.FirstPort, Last: e.LastPort}
	if e.BlockSize != 0 {
		first := int(e.FirstPort) + (unit-int(e.FirstUnit))*int(e.BlockSize)
		u.First, u.Last = uint16(first), uint16(min(first+int(e.BlockSize)-1, int(e.LastPort)))
	}
	return u
}

// Pools returns the pools in configuration order. The caller must not change
// the slice.
func (g *Geometry) Pools() []PoolUnits { return g.pools }

// Table returns an entry for every address of every pool, for XDP. The caller
// must not change the slice.
func (g *Geometry) Table() []AddressEntry { return g.addresses }

// hasPorts reports whether flow keys of a protocol carry a port or an id (see
// packet.FlowKey).
func hasPorts(proto uint8) bool {
	return proto == packet.ProtoTCP || proto == packet.ProtoUDP || proto == packet.ProtoICMP
}

// Checksum is of everything that the numbers of units stand for: nodes whose
// pools differ, in the order of their addresses too, must not talk about units
// by number.
func (g *Geometry) Checksum() uint32 {
	h := crc32.NewIEEE()
	for _, e := range g.addresses {
		var b [14]byte
		copy(b[:4], e.Addr[:])
		binary.BigEndian.PutUint32(b[4:], e.FirstUnit)
		binary.BigEndian.PutUint16(b[8:], e.FirstPort)
		binary.BigEndian.PutUint16(b[10:], e.LastPort)
		binary.BigEndian.PutUint16(b[12:], e.BlockSize)
		h.Write(b[:])
	}
	return h.Sum32()
}
