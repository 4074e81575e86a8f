package flowtable

import "unsafe"

// class is what most entries of a BackupStore share with others: few policies, interfaces
// and states make few of them, however many connections there are.
type class struct {
	proto, zone   uint8
	in, out       uint8
	rule, timeout uint16
	state, flags  uint8
	kind          kind // never 0 in use
}

// maxClasses bounds what a store tells apart. What comes when all are in use is kept
// beside (rest), 32 bytes larger each.
const maxClasses = 1 << 15

// noClass is the class of an entry that has none.
const noClass = 0

// classes counts the entries of each class. Number 0 is noClass.
type classes struct {
	of      []class
	refs    []uint32 // entries; of a free one, the next free one
	index   []uint16 // a power of two; linear probing without tombstones; 0 = free
	free    uint32
	n       int
	newest  uint16 // most often the next one too
	refused uint64 // entries that found all classes in use
}

func (c *classes) bytes() int {
	return cap(c.of)*int(unsafe.Sizeof(class{})) + cap(c.refs)*4 + cap(c.index)*2
}

// take returns the number of a class for one entry more; false when all are in use.
func (c *classes) take(want class) (id uint16, ok bool) {
	if id = c.newest; id != noClass && c.of[id] == want {
		c.refs[id]++
		return id, true
	}
	if 2*(c.n+1) > len(c.index) {
		c.grow()
	}
	at := c.find(&want)
	if id = c.index[at]; id == noClass {
		if id = c.fresh(); id == noClass {
			c.refused++
			return noClass, false
		}
		c.of[id], c.refs[id], c.index[at] = want, 0, id
		c.n++
	}
	c.refs[id]++
	c.newest = id
	return id, true
}

// fresh returns a number that is not in use, noClass when there is none.
func (c *classes) fresh() uint16 {
	if id := c.free; id != 0 {
		c.free = c.refs[id]
		return uint16(id)
	}
	if len(c.of) > maxClasses {
		return noClass
	}
	c.of, c.refs = append(c.of, class{}), append(c.refs, 0)
	return uint16(len(c.of) - 1)
}

// drop is one entry less of a class.
func (c *classes) drop(id uint16) {
	if c.refs[id]--; c.refs[id] != 0 {
		return
	}
	mask := uint32(len(c.index) - 1)
	gap := c.find(&c.of[id])
	for j := (gap + 1) & mask; c.index[j] != noClass; j = (j + 1) & mask {
		if home := c.home(&c.of[c.index[j]]); (j-home)&mask >= (j-gap)&mask {
			c.index[gap] = c.index[j]
			gap = j
		}
	}
	c.index[gap] = noClass
	c.of[id], c.refs[id], c.free = class{}, c.free, uint32(id)
	c.n--
	if c.newest == id {
		c.newest = noClass
	}
}

// find returns where a class is in the index, or would be.
func (c *classes) find(want *class) uint32 {
	mask := uint32(len(c.index) - 1)
	at := c.home(want)
	for c.index[at] != noClass && c.of[c.index[at]] != *want {
		at = (at + 1) & mask
	}
	return at
}

// home needs no secret: who makes many classes makes as many rules.
func (c *classes) home(k *class) uint32 {
	h := uint64(k.proto) | uint64(k.zone)<<8 | uint64(k.in)<<16 | uint64(k.out)<<24 | uint64(k.rule)<<32 | uint64(k.timeout)<<48
	h *= 0x9e3779b97f4a7c15
	h ^= h>>32 ^ (uint64(k.state) | uint64(k.flags)<<8 | uint64(k.kind)<<16)
	h *= 0x9e3779b97f4a7c15
	return uint32(h>>32) & uint32(len(c.index)-1)
}

func (c *classes) grow() {
	if len(c.of) == 0 {
		c.of, c.refs = make([]class, 1, 64), make([]uint32, 1, 64)
	}
	c.index = make([]uint16, max(2*len(c.index), 128))
	for id := 1; id < len(c.of); id++ {
		if c.of[id].kind != 0 {
			c.index[c.find(&c.of[id])] = uint16(id)
		}
	}
}
