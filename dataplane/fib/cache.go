package fib

// kind is what an answer says.
type kind uint8

const (
	// refused: no route, or one that nothing is forwarded by.
	refused kind = iota
	// gateway: all of the prefix goes to one neighbour.
	gateway
	// onLink: every address is a neighbour of its own.
	onLink
	// each: the kernel chooses a path for each address: ask it.
	each
)

// answer is what the kernel said of the addresses of a prefix.
type answer struct {
	gen     uint64 // of routes when it was asked
	ifindex int32  // onLink
	nh      uint16 // gateway
	kind    kind
}

// cache remembers answers by prefix, bounded: when the young half is full
// the old half is forgotten and the halves change places. What is used
// survives, because a hit in the old half moves it to the young one.
type cache struct {
	half       int
	young, old map[prefix]answer
}

func newCache(limit int) cache {
	return cache{half: limit / 2, young: make(map[prefix]answer), old: make(map[prefix]answer)}
}

func (c *cache) get(p prefix) (answer, bool) {
	a, ok := c.young[p]
	if ok {
		return a, true
	}
	if a, ok = c.old[p]; ok {
		c.put(p, a)
	}
	return a, ok
}

func (c *cache) put(p prefix, a answer) {
	if _, known := c.young[p]; !known && len(c.young) >= c.half {
		clear(c.old)
		c.young, c.old = c.old, c.young
	}
	c.young[p] = a
	delete(c.old, p)
}

func (c *cache) len() int { return len(c.young) + len(c.old) }

// forget removes the answers that gone says so of.
func (c *cache) forget(gone func(answer) bool) {
	for _, half := range [2]map[prefix]answer{c.young, c.old} {
		for p, a := range half {
			if gone(a) {
				delete(half, p)
			}
		}
	}
}
