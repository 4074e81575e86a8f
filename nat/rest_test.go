package nat

import (
	"math/rand/v2"
	"testing"
	"time"

	"cohort/packet"
)

// resting is a Ports whose units 0 and 1 came in use from a dead holder at second 1,
// with a connection that goes on in each.
func resting(t *testing.T, hold time.Duration) (p *Ports, lives packet.FlowKey) {
	t.Helper()
	g, err := NewGeometry([]Pool{portPool("egress", 1)})
	if err != nil {
		t.Fatal(err)
	}
	p = NewPorts(g, hold, rand.New(rand.NewPCG(1, 2)))
	for u := range 2 {
		d := g.Describe(u)
		lives = ReplyKey(to(packet.ProtoTCP, 9, 9, "192.0.2.9", 80).To, d.Addr, d.First)
		p.Use(lives)
		p.Rest(1e9, u, 0)
		p.SetHeld(u, true)
		p.SetLeased(u, u == 1)
	}
	return p, lives
}

// What looks unused in a unit of a dead holder may rest there: nothing begins in it
// before a whole hold-down has passed (NT5). It is held all the time, and not idle.
func TestNT5_NothingBeginsInAUnitThatRests(t *testing.T) {
	p, lives := resting(t, 2*time.Second)
	k := to(packet.ProtoTCP, 1, 1030, "192.0.2.1", 80)
	try := func(now int64) Result {
		p.Tick(now)
		_, _, r := p.Allocate(now, k, nil)
		return r
	}
	for _, now := range []int64{1e9, 2e9, 3e9 - 1} {
		if r := try(now); r != Short {
			t.Fatalf("at %d: %v", now, r)
		}
		if !p.Held(0) || !p.Held(1) || p.Idle(now, 0) || p.Spare(0) != 0 {
			t.Fatal("held, and not idle")
		}
	}
	p.Release(2e9, lives, false) // the connection in unit 1 ends
	if p.Idle(3e9-1, 1) {
		t.Fatal("a unit that rests is handed over")
	}
	if r := try(3e9); r != Allocated {
		t.Fatal(r)
	}
	if !p.Held(0) || !p.Idle(3e9, 1) || p.address[0].leased.held != 1 || len(p.resting) != 0 {
		t.Fatal("what was said of it while it rested is forgotten")
	}
}

// A unit that is given up while it rests does not come back by itself; without
// hold-down none rests; and a reload that leaves the ports leaves the rest.
func TestNT5_RestEndsAndGoesOn(t *testing.T) {
	p, _ := resting(t, 2*time.Second)
	p.SetHeld(0, false)
	p.Tick(9e9)
	if p.Held(0) || p.units[0].held || !p.units[1].held || !p.units[1].leased {
		t.Fatal("a unit that was given up is held")
	}

	p, _ = resting(t, 0)
	if !p.units[0].held {
		t.Fatal("it rests, without hold-down")
	}

	p, _ = resting(t, 2*time.Second)
	p.Recut(p.g, 2*time.Second, 0)
	for u := range 3 {
		p.SetHeld(u, true)
	}
	if p.units[0].held || p.units[1].held || !p.units[2].held {
		t.Fatal("the rest is forgotten")
	}
	p.Tick(3e9)
	if !p.units[0].held || !p.units[1].held || p.units[1].leased {
		t.Fatal("the rest does not end")
	}
}

// A protocol without ports has nowhere to go but the first unit of an address. What
// rests there are ports: so it begins, but not with a key that is known to wait, and
// not in a unit that was given up (NT3, NT5).
func TestNT3_NT5_ProtocolsWithoutPortsDoNotRest(t *testing.T) {
	p, _ := resting(t, 2*time.Second)
	gre := to(47, 1, 0, "192.0.2.1", 0)
	addr, port, r := p.Allocate(1e9, gre, nil)
	if r != Allocated || port != 0 {
		t.Fatalf("%v, port %d", r, port)
	}
	k1 := ReplyKey(gre.To, addr, port)
	p.Use(k1)
	p.Release(1e9, k1, true)
	if _, _, r := p.Allocate(2e9, gre, nil); r != Elsewhere {
		t.Fatalf("a key that waits is given out: %v", r)
	}
	if _, _, r := p.Allocate(2e9, to(47, 1, 0, "192.0.2.2", 0), nil); r != Allocated {
		t.Fatalf("towards another remote: %v", r)
	}
	if _, _, r := p.Allocate(2e9, to(packet.ProtoICMP, 1, 7, "192.0.2.1", 0), nil); r != Short {
		t.Fatalf("a query of ICMP has a port, which rests: %v", r)
	}
	p.SetHeld(0, false)
	if _, _, r := p.Allocate(2e9, to(47, 1, 0, "192.0.2.2", 0), nil); r != Elsewhere {
		t.Fatalf("a unit that was given up: %v", r)
	}
}

// A rest ends when it is said to, a whole hold-down at the latest, and is not shortened;
// what others have heard of keeps a unit from being idle, and from nothing else (NT5).
func TestNT5_ARestEndsWhenItIsSaidTo(t *testing.T) {
	g, err := NewGeometry([]Pool{portPool("egress", 1)})
	if err != nil {
		t.Fatal(err)
	}
	p := NewPorts(g, 2*time.Second, rand.New(rand.NewPCG(1, 2)))
	for i, c := range []struct{ end, want int64 }{{0, 3e9}, {1.5e9, 1.5e9}, {9e9, 3e9}, {1e9, 0}, {5e8, 0}} {
		if end := p.Rest(1e9, i, c.end); end != c.want || p.Quiet(i) != c.want {
			t.Errorf("said %d: rests until %d, quiet at %d, want %d", c.end, end, p.Quiet(i), c.want)
		}
	}
	if end := p.Rest(1e9, 0, 2e9); end != 3e9 {
		t.Errorf("a rest is shortened: %d", end)
	}
	p.Heard(1e9, 9, 2e9)
	p.Heard(1e9, 10, 0)
	p.SetHeld(9, true)
	if p.Idle(2e9-1, 9) || !p.Idle(2e9, 9) || p.Quiet(10) != 3e9 {
		t.Error("what was heard is forgotten, or stays")
	}
	if _, _, r := p.Allocate(1e9, to(packet.ProtoTCP, 1, 1030, "192.0.2.1", 80), nil); r != Allocated {
		t.Error("what others have heard of stops a unit that this node holds: ", r)
	}
	if p.Rest(1e9, 9, 0) != 0 {
		t.Error("a unit that is allocated from rests")
	}
	if n := NewPorts(g, 0, rand.New(rand.NewPCG(1, 2))); n.Rest(1e9, 1, 0) != 0 {
		t.Error("it rests, without hold-down")
	}
}
