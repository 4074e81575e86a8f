package fib

import (
	"math"
	"time"

	"cohort/dataplane"
	"cohort/packet"

	"github.com/vishvananda/netlink"
)

// probeInterval is the least time between two probes of one neighbour. The
// kernel's own resolution takes three seconds until it gives up.
const probeInterval = time.Second

// strangerRate bounds the addresses that are asked for without ever having
// answered, each second. Each is an entry of the kernel's table for three
// seconds, which holds 1024 for all interfaces and cannot let go of them: a
// scan must not take the room of the control link's neighbours.
const strangerRate = 100

// usable are the neighbour states whose hardware address may be sent to
// (NUD_VALID in the kernel).
const usable = netlink.NUD_PERMANENT | netlink.NUD_NOARP | netlink.NUD_REACHABLE |
	netlink.NUD_PROBE | netlink.NUD_STALE | netlink.NUD_DELAY

// fixed are the states the kernel never ages.
const fixed = netlink.NUD_PERMANENT | netlink.NUD_NOARP

// neighbour is the kernel's entry.
type neighbour struct {
	state int // NUD_*
	mac   [6]byte
}

// hop is what stands behind a number of the array.
type hop struct {
	key    hopKey
	inUse  bool
	known  bool // it has answered once
	probed time.Time
}

// adopt takes over the entries of a daemon that ran before: flows hold their
// numbers. Those of interfaces that are gone stay reserved, invalid, until
// Collect finds them unused.
func (t *Table) adopt() {
	for i := len(t.array) - 1; i > 0; i-- {
		e := &t.array[i]
		if e.Ifindex == 0 {
			t.unused = append(t.unused, uint16(i))
			continue
		}
		key := hopKey{int(e.Ifindex), e.Addr}
		t.keys[i] = hop{key: key, inUse: true}
		if _, twice := t.hops[key]; !twice && t.links[key.ifindex] != nil && key.addr != (packet.Addr{}) {
			t.hops[key] = uint16(i)
		} else {
			t.keys[i].key = hopKey{}
			e.Store(dataplane.NextHop{Ifindex: e.Ifindex})
		}
	}
}

// hop returns the number of a neighbour, a new one if need be; 0 when all are
// taken.
func (t *Table) hop(key hopKey) uint16 {
	if nh, ok := t.hops[key]; ok {
		return nh
	}
	n := len(t.unused)
	if n == 0 {
		return 0
	}
	nh := t.unused[n-1]
	t.unused = t.unused[:n-1]
	t.hops[key] = nh
	t.keys[nh] = hop{key: key, inUse: true}
	t.refresh(nh)
	return nh
}

// refresh makes entry nh say what the kernel knows now, reports whether that
// changed anything, and asks for a stale neighbour to be confirmed.
func (t *Table) refresh(nh uint16) bool {
	key := t.keys[nh].key
	link := t.links[key.ifindex]
	if link == nil {
		return false
	}
	n := t.neighs[key]
	want := dataplane.NextHop{
		SMAC: link.MAC, Ifindex: uint32(key.ifindex), MTU: uint16(min(link.MTU, math.MaxUint16)),
		Iface: link.ID, Addr: key.addr,
	}
	if n.state&usable != 0 {
		t.keys[nh].known = true
	}
	if n.state&usable != 0 && link.Up {
		want.DMAC, want.Flags = n.mac, dataplane.NextHopValid
	}
	if n.state&netlink.NUD_STALE != 0 {
		t.probe(nh)
	}
	want.Seq = t.array[nh].Seq
	if t.array[nh] == want {
		return false
	}
	t.array[nh].Store(want)
	return true
}

// probe asks the kernel to resolve or confirm the neighbour, unless that was
// done a moment ago or makes no sense.
func (t *Table) probe(nh uint16) {
	h := &t.keys[nh]
	link := t.links[h.key.ifindex]
	n, known := t.neighs[h.key]
	if link == nil || !link.Up || n.state&fixed != 0 {
		return
	}
	now := t.now()
	if !h.probed.IsZero() && now.Sub(h.probed) < probeInterval {
		return
	}
	if !h.known && !t.strangers.take(now) {
		t.stats.ProbesHeld++ // the next packet asks again
		return
	}
	h.probed = now
	t.stats.Probes++
	if t.kernel.use(h.key, known) != nil {
		t.stats.ProbeErrors++
	}
}

// Tick probes again the entries whose confirmation was asked for in vain, and
// reads the prefixes again if that has to be: call it about once a second.
func (t *Table) Tick() {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.closed {
		return
	}
	t.retryPrefixes()
	for key, nh := range t.hops {
		if t.neighs[key].state&netlink.NUD_STALE != 0 {
			t.probe(nh)
		}
	}
}

// Collect frees the numbers that the caller does not use and returns how many;
// what the cache remembers of them is forgotten. held must answer for every
// number that a flow or a waiting packet holds, or that came from a Lookup
// whose answer is still to be stored; it is called with the table locked.
func (t *Table) Collect(held func(nh uint16) bool) int {
	t.mu.Lock()
	defer t.mu.Unlock()
	freed := 0
	for i := 1; i < len(t.keys); i++ {
		nh := uint16(i)
		h := &t.keys[i]
		if !h.inUse || held(nh) {
			continue
		}
		if t.hops[h.key] == nh {
			delete(t.hops, h.key)
		}
		*h = hop{}
		t.array[i].Store(dataplane.NextHop{})
		t.unused = append(t.unused, nh)
		freed++
	}
	if freed > 0 {
		t.cache.forget(func(a answer) bool { return a.nh != 0 && !t.keys[a.nh].inUse })
	}
	return freed
}

// bucket lets strangerRate through a second, and as many at once.
type bucket struct{ spent time.Time }

func (b *bucket) take(now time.Time) bool {
	const cost = time.Second / strangerRate
	if full := now.Add(-time.Second); b.spent.Before(full) {
		b.spent = full
	}
	if b.spent.Add(cost).After(now) {
		return false
	}
	b.spent = b.spent.Add(cost)
	return true
}
