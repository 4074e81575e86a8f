package dataplane

import (
	"bytes"
	"errors"
	"maps"
	"testing"

	"cohort/bpf"
	"cohort/ccl/wire"
	"cohort/dataplane/internal/nstest"
	"cohort/flowtable"
	"cohort/nat"
	"cohort/packet"
)

// The address that flow goes to, in blocks and as a whole.
var (
	inBlocks = NATAddress{Addr: flow.Dst, FirstUnit: 10, FirstPort: 1, LastPort: 65535, BlockSize: 512}
	asWhole  = NATAddress{Addr: flow.Dst, FirstUnit: 10, LastPort: 65535}
	another  = NATAddress{Addr: packet.Addr{203, 0, 113, 10}, FirstUnit: 200, FirstPort: 1024, LastPort: 65535, BlockSize: 512}
)

// wantNAT compares the map that XDP reads.
func wantNAT(t *testing.T, d *Dataplane, want ...NATAddress) {
	t.Helper()
	got, err := readNATAddresses(d.maps["nat_addrs"])
	must(t, err)
	entries := make(map[packet.Addr]natAddress)
	for _, a := range want {
		entries[a.Addr] = natAddress{FirstUnit: a.FirstUnit, FirstPort: a.FirstPort, LastPort: a.LastPort, BlockSize: a.BlockSize}
	}
	if !maps.Equal(got, entries) {
		t.Errorf("addresses %v, want %v", got, entries)
	}
}

// directed returns how many units have a director, and the first of them.
func directed(d *Dataplane) (n, first int) {
	first = -1
	for u, id := range d.NATUnits() {
		if id != 0 {
			if n++; first < 0 {
				first = u
			}
		}
	}
	return n, first
}

func TestFR6_UnitsKeepTheirDirectorsUnlessTheirAddressChanges(t *testing.T) {
	d := newHost(t, 1500).open()
	units := d.NATUnits()
	if n, _ := directed(d); len(units) != MaxNATUnits || n != 0 {
		t.Fatalf("%d units at first, %d of them directed", len(units), n)
	}
	fill := func() {
		for u := range units {
			units[u] = 3
		}
	}
	set := func(want ...NATAddress) { t.Helper(); must(t, d.SetNATAddresses(want)); wantNAT(t, d, want...) }

	fill()
	set(inBlocks, another) // both are new: 128 and 126 units
	for u, id := range units {
		if was := u >= 10 && u < 138 || u >= 200 && u < 326; was != (id == 0) {
			t.Fatalf("unit %d is directed by %d", u, id)
		}
	}
	fill()
	set(another, inBlocks) // nothing changed
	if n, _ := directed(d); n != MaxNATUnits {
		t.Errorf("%d units lost their director", MaxNATUnits-n)
	}
	set(another, asWhole) // its first unit is in the new numbering, all 128 in the old
	if n, _ := directed(d); n != MaxNATUnits-128 || units[9] != 3 || units[10] != 0 || units[137] != 0 || units[138] != 3 {
		t.Errorf("%d units lost their director", MaxNATUnits-n)
	}
	fill()
	set(asWhole)
	if n, _ := directed(d); n != MaxNATUnits-126 || units[199] != 3 || units[200] != 0 || units[325] != 0 || units[326] != 3 {
		t.Errorf("%d units lost their director", MaxNATUnits-n)
	}
	fill()
	// Nothing but zeros is an address too, and it goes when it is not wanted.
	zero := NATAddress{}
	set(zero)
	set()
	if n, _ := directed(d); n != MaxNATUnits-2 || units[0] != 0 || units[10] != 0 {
		t.Errorf("%d units lost their director", MaxNATUnits-n)
	}
}

func TestFR6_WholePoolOfPackageNatFits(t *testing.T) {
	d := newHost(t, 1500).open()
	pool := nat.Pool{Name: "all", BlockSize: 2048}
	for i := range MaxNATAddrs {
		pool.Addresses = append(pool.Addresses, packet.Addr{203, 0, byte(i >> 8), byte(i)})
	}
	g, err := nat.NewGeometry([]nat.Pool{pool})
	must(t, err)
	must(t, d.SetNATAddresses(g.Table()))
	wantNAT(t, d, g.Table()...)
}

func TestFR6_TranslatedAddressesAreChecked(t *testing.T) {
	d := newHost(t, 1500).open()
	must(t, d.SetNATAddresses([]NATAddress{another}))
	d.NATUnits()[200] = 3
	with := func(change func(*NATAddress)) []NATAddress {
		a := inBlocks
		change(&a)
		return []NATAddress{another, a}
	}
	many := make([]NATAddress, MaxNATAddrs+1)
	for i := range many {
		many[i] = NATAddress{Addr: packet.Addr{203, 0, byte(i >> 8), byte(i)}, FirstUnit: uint32(i)}
	}
	for name, bad := range map[string][]NATAddress{
		"too many":             many,
		"twice":                with(func(a *NATAddress) { a.Addr = another.Addr }),
		"ports":                with(func(a *NATAddress) { a.FirstPort, a.LastPort = 2000, 1999 }),
		"port 0":               with(func(a *NATAddress) { a.FirstPort = 0 }),
		"shared units":         with(func(a *NATAddress) { a.FirstUnit = 73 }), // to 200
		"shared units, second": with(func(a *NATAddress) { a.FirstUnit = 325 }),
		"past the last":        with(func(a *NATAddress) { a.FirstUnit = MaxNATUnits - 127 }),
		"far past the last":    with(func(a *NATAddress) { a.FirstUnit = 1<<32 - 1 }),
	} {
		if err := d.SetNATAddresses(bad); !errors.Is(err, ErrConfig) {
			t.Errorf("%s: %v", name, err)
		}
		wantNAT(t, d, another)
	}
	if d.NATUnits()[200] != 3 {
		t.Error("a refused configuration changed a director")
	}
	must(t, d.SetNATAddresses(with(func(a *NATAddress) { a.FirstUnit = 72 })))
	must(t, d.SetNATAddresses(with(func(a *NATAddress) { a.FirstUnit = MaxNATUnits - 128 })))
}

// Steering goes on while no daemon runs, and the next one reads back who
// directs what.
func TestHL5_FR6_RestartAdoptsDirectors(t *testing.T) {
	h := newHost(t, 1500).pinned()
	d := h.open()
	must(t, d.SetNATAddresses([]NATAddress{inBlocks, another}))
	d.NATUnits()[17], d.NATUnits()[200] = 2, 9
	must(t, d.Close(true))

	d = h.open()
	if !d.Adopted() {
		t.Fatalf("rebuilt: %s", d.Rebuilt())
	}
	wantNAT(t, d, inBlocks, another)
	must(t, d.SetNATAddresses([]NATAddress{inBlocks, another}))
	if n, first := directed(d); n != 2 || first != 17 || d.NATUnits()[17] != 2 || d.NATUnits()[200] != 9 {
		t.Errorf("%d units are directed, the first is %d", n, first)
	}
	must(t, d.SetNATAddresses([]NATAddress{asWhole, another})) // the file was edited meanwhile
	if n, first := directed(d); n != 1 || first != 200 {
		t.Errorf("%d units are directed, the first is %d", n, first)
	}
}

// Both programs read what is set here: the one of the data interface steers,
// the one of the control link relays.
func TestFR6_AttachedProgramsSteerAndRelay(t *testing.T) {
	n := newNode(t, 1700, IOConfig{})
	peer := newPeer(t, overIPv4, 1700)
	link := nstest.OpenWire(t, "in1")
	raw := udp(t, 100)
	counted := func(d *Dataplane, o bpf.Outcome) bool {
		all, err := d.Counters()
		must(t, err)
		return all[o.String()] == 1
	}
	const unit = 10 // of port 53
	must(t, n.SetNATAddresses([]NATAddress{inBlocks}))
	n.NATUnits()[unit] = peerID
	link.Send(raw)
	f := peer.receive(1)[0]
	if !counted(n.Dataplane, bpf.ForwardSteered) || bpf.Outcome(f.Punt.Reason) != bpf.PuntMiss ||
		f.Punt.From != uint8(selfID) || f.Punt.Entry != uint8(selfID) || f.Punt.Hops != 1 || f.Punt.Gen != 0 || !bytes.Equal(f.IP(), raw[14:]) {
		t.Errorf("the director got %+v, %x", f.Punt, f.IP())
	}
	peer.io.Release(f)

	n.NATUnits()[unit] = selfID // a store, and XDP sees it
	f = n.fromWire(raw)
	if bpf.Outcome(f.Punt.Reason) != bpf.PuntMiss {
		t.Errorf("punt %+v", f.Punt)
	}

	// The peer directs the unit, and node 3 owns the connection.
	third := wire.NodeID(3)
	must(t, peer.SetMembers([]Peer{
		{ID: selfID, VTEP: packet.Addr{10, 99, 0, 1}.Netip(), MAC: [6]byte(nstest.MAC(t, "ccl0")), Incarnation: 1},
		{ID: peerID, VTEP: packet.Addr{10, 99, 0, 2}.Netip(), Self: true},
		{ID: third, VTEP: packet.Addr{10, 99, 0, 3}.Netip(), MAC: [6]byte{2, 0, 0, 0, 0, 3}, Incarnation: 3},
	}))
	must(t, peer.SetNATAddresses([]NATAddress{inBlocks}))
	peer.NATUnits()[unit] = peerID
	table, err := flowtable.New(peer.Table(), peer.HashSeed())
	must(t, err)
	_, err = table.InsertForward(flowtable.ForwardSlot{Key: flow, Owner: uint8(third), Incarnation: 3})
	must(t, err)
	ccl := nstest.OpenWire(t, "ccl0")
	if d := n.io.Forward(f, peerID, 0); d != Sent {
		t.Fatal(d)
	}
	n.io.Flush()
	got := ccl.Receive(func(b []byte) bool { return isIP(b) && b[5] == 3 })
	if !counted(peer.Dataplane, bpf.ForwardRelayed) || got[66] != uint8(peerID) || got[67] != 2 || got[73] != uint8(selfID) || !bytes.Equal(got[CCLOverhead:], raw[14:]) {
		t.Errorf("relayed as %x", got)
	}
}
