package fib

import (
	"errors"

	"cohort/packet"
)

// Lookup returns the next hop for dst and the logical interface it leaves by.
// What is remembered costs a map access for each length that prefixes have, an
// unknown prefix (or a path of several) a netlink request, some microseconds.
// With Unresolved the number is the one that will become valid.
func (t *Table) Lookup(dst packet.Addr) (nh uint16, iface uint8, status Status) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.closed {
		return 0, 0, Unreachable
	}
	a := t.answer(dst)
	switch a.kind {
	case gateway:
		nh = a.nh
	case onLink:
		nh = t.hopOrCount(hopKey{int(a.ifindex), dst})
	}
	if nh == 0 {
		return 0, 0, Unreachable
	}
	if !t.array[nh].Valid() {
		t.probe(nh)
		return nh, t.array[nh].Iface, Unresolved
	}
	return nh, t.array[nh].Iface, OK
}

// answer is the remembered answer for dst, or a new one.
func (t *Table) answer(dst packet.Addr) answer {
	p := alone(dst)
	if t.load.known {
		p = t.load.set.longest(dst)
	}
	a, ok := t.cache.get(p)
	if !ok || a.gen != t.gen {
		return t.ask(dst, p)
	}
	if a.kind != each {
		return a
	}
	if a, ok = t.cache.get(alone(dst)); ok && a.gen == t.gen && a.kind != each {
		return a
	}
	return t.askPath(dst)
}

// ask asks the kernel for dst, whose longest prefix is p, and remembers the
// answer, a refusal too: for p, if it is sure that it stands for all of p.
func (t *Table) ask(dst packet.Addr, p prefix) answer {
	t.stats.RouteLookups++
	r, err := t.kernel.match(dst)
	if err != nil && !errors.Is(err, errNoRoute) {
		t.stats.RouteErrors++
		return answer{} // not remembered
	}
	if !t.shared(p, r) {
		p = alone(dst)
	}
	if err == nil && t.load.chosen(r) {
		if p.bits < 32 {
			t.cache.put(p, answer{gen: t.gen, kind: each})
		}
		return t.askPath(dst)
	}
	return t.remember(p, r, err)
}

// shared tells whether the answer r for an address of p is that of all of p.
// The kernel may be ahead of its events: then r may come from a route or a rule
// that is not for all of p, and whose prefix the set has yet to get.
func (t *Table) shared(p prefix, r routeMsg) bool {
	if p.bits == 32 {
		return true
	}
	if t.watcher.pending() {
		return false
	}
	if r.dst.bits > p.bits {
		t.readPrefixes() // should there be no event at all
		return false
	}
	return true
}

// askPath asks which of several paths dst takes: that is for dst alone.
func (t *Table) askPath(dst packet.Addr) answer {
	t.stats.RouteLookups++
	r, err := t.kernel.path(dst)
	if err != nil && !errors.Is(err, errNoRoute) {
		t.stats.RouteErrors++
		return answer{}
	}
	if err == nil && !r.hasGW {
		r.gw, r.hasGW = dst, true
	}
	return t.remember(alone(dst), r, err)
}

// remember turns what the kernel said into an answer for p.
func (t *Table) remember(p prefix, r routeMsg, err error) answer {
	a := answer{gen: t.gen}
	key := hopKey{int(r.ifindex), r.gw}
	switch {
	case err != nil, r.foreign, t.links[key.ifindex] == nil:
	case r.hasGW:
		if a.nh = t.hopOrCount(key); a.nh == 0 {
			return a // not remembered: Collect makes room
		}
		a.kind = gateway
	default:
		a.kind, a.ifindex = onLink, r.ifindex
	}
	t.cache.put(p, a)
	return a
}

// hopOrCount is hop, and counts when there is no room.
func (t *Table) hopOrCount(key hopKey) uint16 {
	nh := t.hop(key)
	if nh == 0 {
		t.stats.NextHopsFull++
	}
	return nh
}
