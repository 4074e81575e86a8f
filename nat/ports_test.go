package nat

import (
	"testing"
	"time"

	"cohort/packet"
)

func TestNT3_OneAddressGivesOneServerPortEveryPortBeforeShort(t *testing.T) {
	for _, proto := range []uint8{packet.ProtoTCP, packet.ProtoUDP, packet.ProtoICMP} {
		w := newWorld(t, 0, portPool("egress", 1)).holdAll()
		got := 0
		for ; ; got++ {
			dst := uint16(80)
			if proto == packet.ProtoICMP {
				dst = 0
			}
			if _, result := w.open(to(proto, byte(got), uint16(got), "192.0.2.1", dst)); result == Short {
				break
			}
		}
		if got != 64512 {
			t.Errorf("%s: %d connections before Short, want 64512", packet.ProtoName(proto), got)
		}
		if pool, units, ok := w.Need(); !ok || pool != 0 || units != 1 {
			t.Errorf("Need = %d, %d, %v after Short", pool, units, ok)
		}
		// Another remote may have all these ports once more, until the search
		// is unlucky; another protocol has them unused.
		for i := range 50000 {
			w.must(to(proto, byte(i), uint16(i), "192.0.2.2", 80))
		}
	}
}

func TestNT2_OnlyHeldUnitsGiveOut(t *testing.T) {
	w := newWorld(t, 0, portPool("egress", 2))
	if _, result := w.open(tcp(1, 5000)); result != Short {
		t.Fatalf("a node that holds nothing: %s", result)
	}
	w.SetHeld(3, true)
	w.SetHeld(130, true)
	for i := range 1024 { // world.open checks the units
		w.must(tcp(byte(i), 40000))
	}
	if _, result := w.open(tcp(1, 5000)); result != Short {
		t.Fatalf("after all ports of the held units: %s", result)
	}
	w.SetHeld(3, false)
	if _, result := w.open(to(packet.ProtoUDP, 1, 1024+3*512, "192.0.2.1", 80)); result != Allocated {
		t.Fatalf("unit 130 has unused UDP ports: %s", result)
	}
	if used := w.Usage(3); used != 512 {
		t.Errorf("uses of a unit that is no longer held: %d, want 512", used)
	}
}

func TestPortIsPreservedWhenFree(t *testing.T) {
	w := newWorld(t, time.Minute, portPool("egress", 1)).holdAll()
	first := w.must(tcp(1, 5000))
	if first.DstPort != 5000 {
		t.Errorf("the port is free, got %d", first.DstPort)
	}
	if k := w.must(tcp(2, 5000)); k.DstPort == 5000 {
		t.Error("two connections to one remote with one port")
	}
	// Towards another remote it would do, but then an endpoint's mapping would
	// depend on the remote or not as it happens.
	if k := w.must(to(packet.ProtoTCP, 1, 5000, "192.0.2.2", 80)); k.DstPort == 5000 {
		t.Error("one endpoint has one mapping for two remotes, by a rule that says otherwise")
	}
	w.close(first, false)
	other := w.must(to(packet.ProtoTCP, 2, 5000, "192.0.2.2", 80))
	if other.DstPort != 5000 {
		t.Errorf("the port is free again, got %d", other.DstPort)
	}
	w.close(other, true)
	if k := w.must(to(packet.ProtoTCP, 2, 5000, "192.0.2.2", 80)); k.DstPort == 5000 {
		t.Error("the port is in hold-down for this remote")
	}
	if k := w.must(tcp(1, 80)); k.DstPort < 1024 {
		t.Errorf("reserved port %d is not lent", k.DstPort)
	}
	w.SetHeld(w.unit(t, "203.0.113.1", 7000), false)
	if k := w.must(tcp(1, 7000)); k.DstPort == 7000 {
		t.Error("the port lies in a unit of somebody else")
	}
}

// TestNT3_PreservedPortsLeaveUnitsIdle: hosts choose their ports from everywhere, and
// few of them must not have a foot in every unit.
func TestNT3_PreservedPortsLeaveUnitsIdle(t *testing.T) {
	w := newWorld(t, time.Minute, portPool("egress", 1)).holdAll()
	preserved := 0
	for i := range 1260 { // ten for each of 126 units
		port := uint16(1024 + i*512/10)
		if k := w.must(tcp(byte(i), port)); k.DstPort == port {
			preserved++
		}
	}
	if idle := w.Spare(0); idle < 126/keepIdle-1 || preserved < 1260/2 {
		t.Errorf("%d of 126 units are idle, %d of 1260 ports were preserved", idle, preserved)
	}
	w.SetHeld(w.unit(t, "203.0.113.1", 60000), false)
	for i := range 126 * 512 { // what is needed is opened all the same
		w.open(to(packet.ProtoTCP, byte(i), uint16(i), "192.0.2.9", 80))
	}
	if idle := w.Spare(0); idle != 0 {
		t.Errorf("%d units are idle, and ports were refused", idle)
	}
}

func (w *world) unit(t testing.TB, a string, port uint16) int {
	t.Helper()
	u, ok := w.g.Unit(ip(a), port)
	if !ok {
		t.Fatalf("%s:%d is in no unit", a, port)
	}
	return u
}

// Idle units stay idle while those in use have unused ports: others may lease
// them (NT3).
func TestNT3_IdleUnitsAreKept(t *testing.T) {
	w := newWorld(t, 0, portPool("egress", 1))
	for u := range 10 {
		w.SetHeld(u, true)
	}
	for i := range 10 * 512 {
		w.must(tcp(byte(i), 80)) // not preservable
		if want := 10 - (i/512 + 1); w.Spare(0) != want {
			t.Fatalf("after %d connections %d units are idle, want %d", i+1, w.Spare(0), want)
		}
	}
}

// Blocks that neither fill words of a bitmap nor divide the ports.
func TestNT2_OddBlocks(t *testing.T) {
	p := portPool("egress", 1)
	p.BlockSize, p.IncludeReserved = 1000, true
	for _, limits := range []int{0, 66} {
		p.MaxBlocksPerHost = limits
		w := newWorld(t, 0, p).holdAll()
		if limits != 0 {
			for u := range w.g.Units() {
				w.AssignHost(u, tcp(1, 0).Host)
			}
		}
		for range 65535 {
			w.must(tcp(1, 0))
		}
		if k, result := w.open(tcp(1, 0)); result == Allocated {
			t.Fatalf("a 65536th port: %s", k)
		}
		for range 5000 {
			w.must(to(packet.ProtoTCP, 1, 0, "192.0.2.2", 80))
		}
		if last := w.Usage(w.g.Units() - 1); last != 535 {
			t.Errorf("%d ports of the last block are in use, it has 535", last)
		}
	}
}

// The last, shorter block is open and mostly unused: guesses must not leave it.
func TestNT2_GuessesStayInShortBlocks(t *testing.T) {
	p := portPool("egress", 1)
	p.BlockSize = 1000
	w := newWorld(t, 0, p).holdAll()
	for u := range w.g.Units() {
		w.Use(ReplyKey(to(packet.ProtoUDP, 1, 0, "192.0.2.9", 53).To, ip("203.0.113.1"), w.g.Describe(u).First))
	}
	for range 20000 {
		w.must(tcp(1, 80))
	}
}

// A Release that no Use preceded takes nothing from the others.
func TestUnmatchedReleasesChangeNothing(t *testing.T) {
	w := newWorld(t, time.Minute, portPool("egress", 1)).holdAll()
	k := w.must(tcp(1, 5000))
	gre := w.must(to(47, 1, 0, "192.0.2.1", 0))
	next, asMapping, greMapping := k, k, gre
	next.DstPort++
	asMapping.Src, asMapping.SrcPort = packet.Addr{}, 0
	greMapping.Src = packet.Addr{}
	for _, unmatched := range []packet.FlowKey{next, asMapping, greMapping} {
		w.Release(w.now, unmatched, true)
	}
	u, _ := w.g.UnitOf(k)
	if s := w.Stats(); s.Unmatched != 3 || s.HoldDownWaiting != 0 || w.Uses(u) != 1 || w.Usage(u) != 1 {
		t.Errorf("%+v, %d uses, %d ports; want 3 unmatched, 1, 1", s, w.Uses(u), w.Usage(u))
	}
}

// Connections that cannot be served must not cost much: an attacker makes them
// as fast as he likes.
func TestRefusalsAreCheap(t *testing.T) {
	w := newWorld(t, 0, portPool("egress", 8))
	for u := range 8 * 126 {
		w.SetHeld(u, u%126 < 10)
	}
	for range 8 * 5120 {
		w.must(tcp(1, 80))
	}
	looks := 0
	taken := func(k packet.FlowKey) bool { looks++; return w.live[k] }
	for i := range 50 {
		looks = 0
		if _, _, result := w.Allocate(w.now, tcp(1, 80), taken); result != Short {
			t.Fatal(result)
		}
		if looks > 600 || i > 10 && looks > 100 {
			t.Fatalf("the %d. refusal looked up %d candidates", i+1, looks)
		}
	}
}

func TestRFC4787_PairedPooling(t *testing.T) {
	w := newWorld(t, 0, portPool("egress", 16)).holdAll()
	homes := map[packet.Addr]int{}
	for host := range 200 {
		home := w.must(tcp(byte(host), 5000)).Dst
		homes[home]++
		for i := range 20 {
			if a := w.must(to(packet.ProtoUDP, byte(host), uint16(i*1000), "192.0.2.9", 53)).Dst; a != home {
				t.Fatalf("host %d has addresses %s and %s", host, home, a)
			}
		}
		if w.g.Describe(w.g.Home(0, packet.Addr{10, 0, 0, byte(host)})).Addr != home {
			t.Fatalf("host %d: Home says another address than %s", host, home)
		}
	}
	if len(homes) < 12 {
		t.Errorf("200 hosts share %d of 16 addresses", len(homes))
	}
}

// Only a full address sends its hosts to another one, and all nodes agree on
// which.
func TestRFC4787_FullAddressOverflows(t *testing.T) {
	w := newWorld(t, 0, portPool("egress", 3))
	for u := range 3 * 126 {
		w.SetHeld(u, u%126 < 4)
	}
	host := tcp(1, 80).Host
	order := w.g.rank(0, host, nil)
	for _, r := range order {
		for i := range 4 * 512 {
			if k, want := w.must(tcp(1, 80)), w.g.addresses[r.address].Addr; k.Dst != want {
				t.Fatalf("%s, after %d connections of %s", k, i, want)
			}
		}
	}
	if _, result := w.open(tcp(1, 80)); result != Short {
		t.Errorf("all ports of all addresses are given out: %s", result)
	}
	if w.g.addresses[order[0].address].FirstUnit != uint32(w.g.Home(0, host)) {
		t.Error("the first in order is not the host's home")
	}
}

func TestPortlessProtocolsHaveTheFirstUnitOfTheirHome(t *testing.T) {
	w := newWorld(t, 0, portPool("egress", 2))
	gre := func(host byte, server string) Request { return to(47, host, 0, server, 0) }
	home := w.g.Home(0, gre(1, "192.0.2.1").Host)
	for u := range w.g.Units() {
		if u != home {
			w.SetHeld(u, u%126 != 0)
		}
	}
	if _, result := w.open(gre(1, "192.0.2.1")); result != Elsewhere {
		t.Fatalf("no first unit is held: %s", result)
	}
	if _, _, ok := w.Need(); ok {
		t.Error("a lease of any unit would not help, but Need asks for one")
	}
	w.SetHeld(home, true)
	k := w.must(gre(1, "192.0.2.1"))
	if unit, _ := w.g.UnitOf(k); unit != home || k.DstPort != 0 {
		t.Fatalf("%s in unit %d, want %d", k, unit, home)
	}
	if _, result := w.open(gre(2, "192.0.2.1")); result != Elsewhere {
		t.Fatalf("two hosts with one portless key: %s", result)
	}
	w.must(gre(2, "192.0.2.2"))
	if w.Idle(w.now, home) || w.Usage(home) != 0 || w.Uses(home) != 2 {
		t.Errorf("idle %v, usage %d, uses %d; want busy without ports", w.Idle(w.now, home), w.Usage(home), w.Uses(home))
	}
	m := mapping(47, 3, 0)
	if _, result := w.open(m); result != Elsewhere {
		t.Fatalf("a mapping beside others: %s", result)
	}
}

func TestNT3_NeedAsksBeforeConnectionsFail(t *testing.T) {
	small := portPool("small", 1)
	small.Name, small.Addresses = "small", []packet.Addr{ip("198.51.100.1")}
	w := newWorld(t, 0, small, portPool("egress", 1))
	ask := func(pool, units int, ok bool) {
		t.Helper()
		if p, n, o := w.Need(); o != ok || ok && (p != pool || n != units) {
			t.Fatalf("Need = %d, %d, %v; want %d, %d, %v", p, n, o, pool, units, ok)
		}
	}
	ask(0, 0, false) // nothing held, nothing asked for
	w.SetHeld(126, true)
	w.SetHeld(127, true)
	ask(0, 0, false)
	q := tcp(1, 80)
	q.Pool = 1
	for range 512 + 512 - 64 {
		ask(1, 0, false)
		w.must(q)
	}
	ask(1, 0, false)
	w.must(q)
	ask(1, 1, true) // an eighth of a block left
	w.SetHeld(128, true)
	ask(1, 0, false)
	other := tcp(1, 80)
	for range 600 {
		w.open(other) // pool 0: nothing held
	}
	ask(0, 2, true)
	for range 1200 {
		w.open(q)
	}
	ask(1, 2, true) // pools take turns
	ask(0, 2, true)
	w.SetHeld(1, true)
	ask(1, 2, true)
	ask(1, 2, true)
}

func TestNT8_AddressesAreLentWhole(t *testing.T) {
	w := newWorld(t, time.Minute, Pool{Name: "direct", Kind: PoolAddresses, Addresses: manyAddresses(4)})
	if _, result := w.AllocateAddress(w.now, 0, ip("10.1.1.1")); result != Short {
		t.Fatalf("nothing is held: %s", result)
	}
	if _, n, ok := w.Need(); !ok || n != 2 {
		t.Errorf("Need = %d, %v", n, ok)
	}
	w.holdAll()
	lent := map[packet.Addr]packet.FlowKey{}
	for host := range 4 {
		m := mapping(packet.ProtoUDP, byte(host), 0)
		a, result := w.AllocateAddress(w.now, 0, m.Host)
		if _, twice := lent[a]; result != Allocated || twice {
			t.Fatalf("host %d: %s, %s, lent before: %v", host, a, result, twice)
		}
		lent[a] = ReplyKey(m.To, a, 0)
		w.Use(lent[a])
		unit, _ := w.g.UnitOf(lent[a])
		if w.Idle(w.now, unit) || w.Usage(unit) != 1 {
			t.Errorf("unit %d is lent but idle", unit)
		}
	}
	if _, result := w.AllocateAddress(w.now, 0, ip("10.1.1.1")); result != Short {
		t.Fatalf("a fifth of four addresses: %s", result)
	}
	home := w.g.Describe(w.g.Home(0, ip("10.1.1.1"))).Addr
	for _, k := range lent {
		w.Release(w.now, k, true)
	}
	if _, result := w.AllocateAddress(w.now, 0, ip("10.1.1.1")); result != Short {
		t.Fatalf("an address in hold-down: %s", result)
	}
	w.now += 60 * second
	if a, result := w.AllocateAddress(w.now, 0, ip("10.1.1.1")); result != Allocated || a != home {
		t.Fatalf("%s, %s; want the paired address %s", a, result, home)
	}
}

func TestKeysOutsideThePoolsAreIgnored(t *testing.T) {
	w := newWorld(t, time.Minute, portPool("egress", 1)).holdAll()
	for _, k := range []packet.FlowKey{
		{Src: ip("192.0.2.1"), Dst: ip("203.0.113.9"), DstPort: 5000, Proto: packet.ProtoTCP},
		{Src: ip("192.0.2.1"), Dst: ip("203.0.113.1"), DstPort: 80, Proto: packet.ProtoTCP},
	} {
		w.Use(k)
		w.Release(w.now, k, true)
	}
	if s := w.Stats(); s != (PortsStats{}) || w.Spare(0) != 126 {
		t.Errorf("stats %+v, %d units idle", s, w.Spare(0))
	}
}

func TestRFC6056_PortsAreSpread(t *testing.T) {
	w := newWorld(t, 0, portPool("egress", 1)).holdAll()
	for u := range 126 { // all units in use, so that all ports are candidates
		w.Use(packet.FlowKey{Src: ip("192.0.2.200"), SrcPort: 1, Dst: ip("203.0.113.1"), DstPort: uint16(1024 + 512*u), Proto: packet.ProtoUDP})
	}
	var buckets [63]int // of 1,024 ports
	const n = 63 * 300
	for range n {
		buckets[(w.must(tcp(1, 80)).DstPort-1024)/1024]++
	}
	chi := 0.0
	for _, have := range buckets {
		d := float64(have - 300)
		chi += d * d / 300
	}
	if chi > 120 { // 62 degrees of freedom: beyond 1 in 10^5
		t.Errorf("ports are not uniform: chi-square %.0f", chi)
	}
}
