package nat

import (
	"math/rand/v2"
	"testing"
	"time"

	"pgregory.net/rapid"

	"cohort/packet"
)

// portsModel is the specification of Ports: lists, and nothing clever.
type portsModel struct {
	g       *Geometry
	held    map[int]bool
	uses    map[packet.FlowKey]int
	waiting map[packet.FlowKey]int64 // end of hold-down
	quiet   map[int]int64
	host    map[int]packet.Addr
}

// port is a port of an address as one class of protocols sees it.
func samePort(a, b packet.FlowKey) bool {
	return a.Dst == b.Dst && a.DstPort == b.DstPort && (a.Proto == b.Proto || !hasPorts(a.Proto) && !hasPorts(b.Proto))
}

// free reports whether a reply key may be given out.
func (m *portsModel) free(now int64, k1 packet.FlowKey, exclusive bool) bool {
	asMapping := k1
	asMapping.Src, asMapping.SrcPort = packet.Addr{}, 0
	if m.uses[k1] != 0 || m.waiting[k1] > now || m.waiting[asMapping] > now {
		return false
	}
	for other, n := range m.uses {
		if n > 0 && samePort(other, k1) && (exclusive || isMapping(other)) {
			return false
		}
	}
	return true
}

func (m *portsModel) usedPorts(unit int) (ports map[packet.FlowKey]bool, uses int) {
	ports = map[packet.FlowKey]bool{}
	for k, n := range m.uses {
		if u, ok := m.g.UnitOf(k); ok && u == unit && n > 0 {
			uses += n
			if k.Src, k.SrcPort = (packet.Addr{}), 0; hasPorts(k.Proto) {
				ports[k] = true
			}
		}
	}
	return ports, uses
}

func (m *portsModel) idle(now int64, unit int) bool {
	_, uses := m.usedPorts(unit)
	return uses == 0 && m.quiet[unit] <= now && m.host[unit] == packet.Addr{}
}

// anyUnused reports whether some port is certain to be given: held, of the
// host if it must be, without uses and not in hold-down for the remote.
func (m *portsModel) anyUnused(now int64, q Request) bool {
	pool := m.g.pools[q.Pool]
	for unit := pool.First; unit < pool.First+pool.Units; unit++ {
		if !m.held[unit] || pool.MaxBlocksPerHost != 0 && m.host[unit] != q.Host {
			continue
		}
		d := m.g.Describe(unit)
		for port := int(d.First); port <= int(d.Last); port++ {
			if m.free(now, ReplyKey(q.To, d.Addr, uint16(port)), true) && m.free(now, ReplyKey(q.To, d.Addr, uint16(port)), false) {
				return true
			}
		}
	}
	return false
}

// Whatever happens, Ports gives out only what the model allows, fails only when
// the model has no unused port, and counts as the model does.
func TestNT4_PortsEqualTheModel(t *testing.T) {
	// A hundred blocks of 64 are more than the model can walk: the units held
	// are few, and most ports of them busy.
	limited := portPool("limited", 1)
	limited.Addresses, limited.BlockSize, limited.MaxBlocksPerHost = []packet.Addr{ip("198.51.100.1")}, 64, 2
	free := portPool("free", 2)
	free.BlockSize = 64
	g := geometry(t, free, limited, Pool{Name: "direct", Kind: PoolAddresses, Addresses: manyAddressesFrom("100.64.0.1", 2)})
	units := []int{0, 1, 1007, 1008, g.pools[1].First, g.pools[1].First + 1, g.pools[1].First + 2, g.pools[2].First, g.pools[2].First + 1}
	const hold = 100
	rapid.Check(t, func(t *rapid.T) {
		p := NewPorts(g, hold, rand.New(rand.NewPCG(rapid.Uint64().Draw(t, "seed"), 1)))
		m := &portsModel{g, map[int]bool{}, map[packet.FlowKey]int{}, map[packet.FlowKey]int64{}, map[int]int64{}, map[int]packet.Addr{}}
		now := int64(1000)
		var live []packet.FlowKey
		use := func(k packet.FlowKey) {
			p.Use(k)
			m.uses[k]++
			live = append(live, k)
		}
		protos := rapid.SampledFrom([]uint8{packet.ProtoTCP, packet.ProtoTCP, packet.ProtoUDP, packet.ProtoICMP, 47})
		host := func(t *rapid.T) packet.Addr { return packet.Addr{10, 0, 0, rapid.Uint8Range(1, 3).Draw(t, "host")} }
		request := func(t *rapid.T) Request {
			q := to(protos.Draw(t, "proto"), 0, 0, "192.0.2.1", 80)
			q.Host = host(t)
			q.To.Src, q.To.Dst = q.Host, packet.Addr{192, 0, 2, rapid.Uint8Range(1, 2).Draw(t, "server")}
			if q.To.Proto == 47 {
				q.To.DstPort = 0
			}
			q.Pool = rapid.IntRange(0, 1).Draw(t, "pool")
			q.Prefer = rapid.SampledFrom([]uint16{0, 80, 1024, 1030, 1100, 65535}).Draw(t, "prefer")
			q.To.SrcPort = q.Prefer
			if rapid.IntRange(0, 3).Draw(t, "mapping") == 0 {
				q.Exclusive, q.To.Dst, q.To.DstPort = true, packet.Addr{}, 0
			}
			return q
		}
		t.Repeat(map[string]func(*rapid.T){
			"": func(t *rapid.T) {
				spare := make([]int, 3)
				for _, u := range units {
					ports, uses := m.usedPorts(u)
					perProto := map[uint8]int{}
					for k := range ports {
						perProto[k.Proto]++
					}
					want := 0
					for _, n := range perProto {
						want = max(want, n)
					}
					d := g.Describe(u)
					if g.pools[d.Pool].Kind == PoolAddresses {
						want = min(uses, 1)
					}
					if p.Usage(u) != want || p.Uses(u) != uses || p.Idle(now, u) != m.idle(now, u) {
						t.Fatalf("unit %d: usage %d, uses %d, idle %v; want %d, %d, %v", u, p.Usage(u), p.Uses(u), p.Idle(now, u), want, uses, m.idle(now, u))
					}
					if m.held[u] && uses == 0 && (m.host[u] == packet.Addr{}) {
						spare[d.Pool]++
					}
				}
				for pool, want := range spare {
					if p.Spare(pool) != want {
						t.Fatalf("pool %d: %d spare units, want %d", pool, p.Spare(pool), want)
					}
				}
			},
			"held": func(t *rapid.T) {
				u, held := rapid.SampledFrom(units).Draw(t, "unit"), rapid.IntRange(0, 3).Draw(t, "held") > 0
				p.SetHeld(u, held)
				m.held[u] = held
			},
			"leased": func(t *rapid.T) { // last, but allowed
				p.SetLeased(rapid.SampledFrom(units).Draw(t, "unit"), rapid.Bool().Draw(t, "leased"))
			},
			"assign": func(t *rapid.T) {
				u := g.pools[1].First + rapid.IntRange(0, 2).Draw(t, "unit")
				h := host(t)
				if rapid.IntRange(0, 3).Draw(t, "back") == 0 {
					h = packet.Addr{}
				}
				p.AssignHost(u, h)
				m.host[u] = h
			},
			"fill": func(t *rapid.T) { // most of a unit, by another remote
				u := g.Describe(rapid.SampledFrom(units[:7]).Draw(t, "unit"))
				k := key(packet.ProtoTCP, "192.0.2.9", 1, "0.0.0.0", 0)
				k.Dst = u.Addr
				for i := range rapid.IntRange(1, u.Ports()).Draw(t, "ports") {
					if k.DstPort = u.First + uint16(i); m.free(now, k, true) {
						use(k)
					}
				}
			},
			"stub": func(t *rapid.T) {
				if len(live) > 0 {
					use(rapid.SampledFrom(live).Draw(t, "key"))
				}
			},
			"release": func(t *rapid.T) {
				for range min(len(live), rapid.IntRange(1, 40).Draw(t, "n")) {
					i := rapid.IntRange(0, len(live)-1).Draw(t, "key")
					k, wait := live[i], rapid.Bool().Draw(t, "hold")
					live = append(live[:i], live[i+1:]...)
					p.Release(now, k, wait)
					m.uses[k]--
					if wait {
						u, _ := g.UnitOf(k)
						m.waiting[k], m.quiet[u] = now+hold, now+hold
					}
				}
			},
			"time": func(t *rapid.T) {
				now += rapid.Int64Range(1, 60).Draw(t, "ns")
				p.Tick(now)
			},
			"allocate": func(t *rapid.T) {
				q := request(t)
				a, port, result := p.Allocate(now, q, func(k packet.FlowKey) bool { return m.uses[k] > 0 })
				k1 := ReplyKey(q.To, a, port)
				if result != Allocated {
					if hasPorts(q.To.Proto) && m.anyUnused(now, q) {
						t.Fatalf("%+v: %s, but there are unused ports", q, result)
					}
					if limits := g.pools[q.Pool].MaxBlocksPerHost != 0; hasPorts(q.To.Proto) && (result == HostShort) != limits {
						t.Fatalf("%+v: %s", q, result)
					}
					return
				}
				u, ok := g.UnitOf(k1)
				if !ok || !m.held[u] || g.Describe(u).Pool != q.Pool || !m.free(now, k1, q.Exclusive) {
					t.Fatalf("%+v: got %s, unit %d held %v, free %v", q, k1, u, m.held[u], m.free(now, k1, q.Exclusive))
				}
				if q.Pool == 1 && hasPorts(q.To.Proto) && m.host[u] != q.Host {
					t.Fatalf("%s got a port of %s", q.Host, m.host[u])
				}
				use(k1)
			},
			"address": func(t *rapid.T) {
				a, result := p.AllocateAddress(now, 2, host(t))
				idle := false
				for _, u := range units[7:] {
					idle = idle || m.held[u] && m.idle(now, u)
				}
				if (result == Allocated) != idle {
					t.Fatalf("%s, an address is idle: %v", result, idle)
				}
				if result == Allocated {
					if u, _ := g.Unit(a, 0); !m.held[u] || !m.idle(now, u) {
						t.Fatalf("%s: held %v, idle %v", a, m.held[u], m.idle(now, u))
					}
					use(ReplyKey(key(packet.ProtoTCP, "10.0.0.1", 0, "0.0.0.0", 0), a, 0))
				}
			},
			"unit for a host": func(t *rapid.T) {
				u, ok := p.UnitForHost(now, 1, host(t))
				if ok != (p.Spare(1) > 0) || ok && (!m.held[u] || m.host[u] != packet.Addr{} || g.Describe(u).Pool != 1) {
					t.Fatalf("unit %d, %v; %d spare", u, ok, p.Spare(1))
				}
			},
			"free units of hosts": func(t *rapid.T) {
				got := map[int]bool{}
				for _, u := range p.FreeHostUnits(now, nil) {
					got[u] = true
				}
				for u, h := range m.host {
					_, uses := m.usedPorts(u)
					if got[u] != (h != packet.Addr{} && uses == 0 && m.quiet[u] <= now) {
						t.Fatalf("unit %d of %s with %d uses: reported free %v", u, h, uses, got[u])
					}
				}
			},
		})
	})
}

func TestAllocateAllocatesNoMemory(t *testing.T) {
	limited := portPool("limited", 4)
	limited.Name, limited.MaxBlocksPerHost = "limited", 4
	limited.Addresses = manyAddresses(4)
	w := newWorld(t, time.Minute, portPool("egress", 4), limited, Pool{Name: "direct", Kind: PoolAddresses, Addresses: manyAddressesFrom("100.64.0.1", 4)}).holdAll()
	own, _ := w.UnitForHost(w.now, 1, tcp(1, 80).Host)
	w.AssignHost(own, tcp(1, 80).Host)
	for range 600 {
		w.close(w.must(tcp(1, 80)), true) // warm
	}
	taken := func(k packet.FlowKey) bool { return w.live[k] }
	requests := []Request{tcp(1, 80), tcp(1, 5000), mapping(packet.ProtoUDP, 1, 5), to(47, 1, 0, "192.0.2.1", 0), {Pool: 1, Host: tcp(1, 80).Host, To: tcp(1, 80).To}}
	n := testing.AllocsPerRun(200, func() {
		for _, q := range requests {
			if _, _, result := w.Allocate(w.now, q, taken); result != Allocated {
				t.Fatalf("%+v: %s", q, result)
			}
		}
		w.AllocateAddress(w.now, 2, tcp(1, 1).Host)
		w.Idle(w.now, own)
		w.Need()
	})
	if n != 0 {
		t.Errorf("%v allocations", n)
	}
	q, first := tcp(1, 80), tcp(1, 80)
	n = testing.AllocsPerRun(200, func() {
		q.To.SrcPort++
		a, port, _ := w.Allocate(w.now, q, taken)
		k1 := ReplyKey(first.To, a, port)
		w.Use(k1)
		w.now += 60 * second
		w.Release(w.now, k1, true)
	})
	if n != 0 {
		t.Errorf("%v allocations with Use and Release", n)
	}
}
