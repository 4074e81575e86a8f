package fib

import "cohort/packet"

// destination is a remembered answer: nh 0 is "unreachable".
type destination struct {
	gen uint64 // of routes when it was asked
	nh  uint16
}

// cache remembers answers by destination, bounded: when the young half is full
// the old half is forgotten and the halves change places. What is used
// survives, because a hit in the old half moves it to the young one.
type cache struct {
	half       int
	young, old map[packet.Addr]destination
}

func newCache(limit int) cache {
	return cache{half: limit / 2, young: make(map[packet.Addr]destination), old: make(map[packet.Addr]destination)}
}

func (c *cache) get(a packet.Addr) (destination, bool) {
	d, ok := c.young[a]
	if ok {
		return d, true
	}
	if d, ok = c.old[a]; ok {
		c.put(a, d)
	}
	return d, ok
}

func (c *cache) put(a packet.Addr, d destination) {
	if _, known := c.young[a]; !known && len(c.young) >= c.half {
		clear(c.old)
		c.young, c.old = c.old, c.young
	}
	c.young[a] = d
	delete(c.old, a)
}

func (c *cache) len() int { return len(c.young) + len(c.old) }

// forget removes the answers that gone says so of.
func (c *cache) forget(gone func(destination) bool) {
	for _, half := range [2]map[packet.Addr]destination{c.young, c.old} {
		for a, d := range half {
			if gone(d) {
				delete(half, a)
			}
		}
	}
}
