package ccl

import (
	"crypto/rand"
	"errors"
	"net/netip"
	"testing"
	"time"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"cohort/ccl/seal"
	"cohort/ccl/wire"
)

// beating opens the beats of every node of a wiring, with Links for their devices.
func beating(t *testing.T, w *wiring, peers func(i int) BeatsConfig) []*Beats {
	t.Helper()
	all := make([]*Beats, len(w.nodes))
	for i := range all {
		l := w.mustOpen(i, w.config(i))
		cfg := peers(i)
		cfg.Device, cfg.Address, cfg.Keys = l.Name(), w.config(i).Address, []seal.Key{clusterKey}
		w.in(w.nodes[i], func() (err error) { all[i], err = OpenBeats(cfg); return err })
		t.Cleanup(func() {
			for range 2 { // idempotent
				if err := all[i].Close(); err != nil {
					t.Error(err)
				}
			}
		})
	}
	return all
}

// heardBeat is a beat that was received.
type heardBeat struct {
	at, from int
	m        wire.Beat
	age      int64
}

// exchange sends and receives until ok, for ten seconds: the first beats of a
// session only prove it.
func exchange(t *testing.T, all []*Beats, send func(), ok func(got []heardBeat) bool) (got []heardBeat) {
	t.Helper()
	fds := make([]unix.PollFd, len(all))
	for i, b := range all {
		fds[i] = unix.PollFd{Fd: int32(b.FD()), Events: unix.POLLIN}
	}
	began := time.Now()
	for deadline := began.Add(10 * time.Second); !ok(got); {
		if time.Now().After(deadline) {
			t.Fatalf("not within 10 s: %+v", got)
		}
		send()
		if _, err := unix.Poll(fds, 20); err != nil && !errors.Is(err, unix.EINTR) {
			t.Fatal(err)
		}
		for i, b := range all {
			for n := 1; n > 0; {
				var err error
				n, err = b.Receive(int64(time.Since(began)), func(from int, m wire.Beat, age int64) {
					got = append(got, heardBeat{i, from, m, age})
				})
				if err != nil {
					t.Fatal(err)
				}
			}
		}
	}
	return got
}

func everybody(w *wiring) func(i int) BeatsConfig {
	return func(i int) BeatsConfig { return BeatsConfig{Peers: peersOf(i, len(w.nodes))} }
}

// HL7: a beat to all reaches all others and nobody else, one to a node only that
// node, and says what was put into it.
func TestHL7_BeatsReachWhomTheyAreFor(t *testing.T) {
	w := newWiring(t, 3, DefaultMTU)
	all := beating(t, w, everybody(w))
	m := wire.Beat{Life: 7, Stale: 3, Flags: wire.PulseHold, Number: 9, Sent: 1e9, Late: 4}
	heard := map[int]bool{}
	exchange(t, all, func() { all[0].Broadcast(m) }, func(got []heardBeat) bool {
		for _, h := range got {
			heard[h.at] = true
			if h.from != 0 || h.m != m || h.at == 0 {
				t.Fatalf("%+v", h)
			}
		}
		return heard[1] && heard[2]
	})
	only := wire.Beat{Life: 8}
	refused := func() uint64 {
		c := all[2].Counters().Seal
		return c.Refused()
	}
	before := refused()
	after := wire.Beat{Life: 9} // which c hears later than what came before it
	exchange(t, all, func() {
		all[0].Send(0, only)
		all[0].Broadcast(after)
	}, func(got []heardBeat) bool {
		atB, atC := false, false
		for _, h := range got {
			if h.m == only && h.at != 1 {
				t.Fatalf("%+v", h)
			}
			atB, atC = atB || h.m == only, atC || h.at == 2 && h.m == after
		}
		return atB && atC
	})
	if n := refused() - before; n > 0 { // it could not open what was sealed for b
		t.Errorf("%d beats to b arrived at c", n)
	}
	for i, b := range all {
		if c := b.Counters(); c.UnknownPeer+c.Malformed+c.SendFailed > 0 {
			t.Errorf("%d: %+v", i, c)
		}
	}
}

// The kernel's stamp tells how long a beat has waited for the process.
func TestHL7_TheAgeOfABeatIsItsTimeInTheKernel(t *testing.T) {
	w := newWiring(t, 2, DefaultMTU)
	all := beating(t, w, everybody(w))
	exchange(t, all, func() { all[0].Broadcast(wire.Beat{Life: 7}) }, func(got []heardBeat) bool { return len(got) > 0 })
	began := time.Now()
	all[0].Broadcast(wire.Beat{Life: 8})
	fds := []unix.PollFd{{Fd: int32(all[1].FD()), Events: unix.POLLIN}}
	if n, err := unix.Poll(fds, 5000); n != 1 || err != nil {
		t.Fatalf("nothing arrives: %v", err)
	}
	const waits = 30 * time.Millisecond
	time.Sleep(waits) // what is measured
	heard := false
	if _, err := all[1].Receive(1, func(_ int, _ wire.Beat, ns int64) {
		heard = true
		if age := time.Duration(ns); age < waits || age > time.Since(began) {
			t.Errorf("it is %v old, and waited %v to %v", age, waits, time.Since(began))
		}
	}); err != nil || !heard {
		t.Errorf("not heard: %v", err)
	}
}

// CL4: beats have sessions of their own under the cluster's key: what is sealed for
// the control port is none of them.
func TestHL7_CL4_WhatIsSealedForAnotherPortIsNoBeat(t *testing.T) {
	at := netip.PrefixFrom(vtep(0), 24)
	b, err := newBeats(BeatsConfig{Address: at, Peers: peersOf(0, 2), Keys: []seal.Key{clusterKey}})
	if err != nil {
		t.Fatal(err)
	}
	for use, want := range map[string]seal.Reason{"": seal.BadTag, beatUse: seal.Unproven} {
		s, err := seal.New(seal.Config{Local: vtep(1), Keys: []seal.Key{clusterKey}, Rand: rand.Reader, Use: use, Format: wire.Version})
		if err != nil {
			t.Fatal(err)
		}
		if _, reason := b.sealer.Open(1, vtep(1), s.Seal(nil, vtep(0), []byte{kindBeat})); reason != want {
			t.Errorf("sealed for %q: %v, want %v", use, reason, want)
		}
	}
}

// A peer is one inner address: the same host elsewhere is a stranger.
func TestHL7_CL4_APeerIsAnInnerAddress(t *testing.T) {
	b, err := newBeats(BeatsConfig{Address: netip.PrefixFrom(vtep(0), 24), Peers: peersOf(0, 3), Keys: []seal.Key{clusterKey}})
	if err != nil {
		t.Fatal(err)
	}
	for from, want := range map[string]int{
		"169.254.0.2": 0, "169.254.0.3": 1,
		"169.254.0.1": -1, "169.254.0.4": -1, "169.254.1.2": -1, "10.99.0.2": -1, "169.253.0.2": -1, "168.254.0.2": -1,
	} {
		if i, known := b.peer(netip.MustParseAddr(from)); known != (want >= 0) || known && i != want {
			t.Errorf("%s is peer %d (%v), want %d", from, i, known, want)
		}
	}
}

// Who is no peer is not heard, and what is sealed and no beat is none. Each is
// counted; so is what the link does not take.
func TestHL7_CL4_StrangersAndOtherMessagesAreNoBeats(t *testing.T) {
	w := newWiring(t, 3, DefaultMTU)
	all := beating(t, w, func(i int) BeatsConfig {
		if i == 1 {
			return BeatsConfig{Peers: peersOf(1, 3)[:1]} // not c
		}
		return BeatsConfig{Peers: peersOf(i, 3)}
	})
	kind := append([]byte{kindBeat + 1}, wire.Append(nil, wire.Beat{Life: 6})...)
	leave := append([]byte{kindBeat}, wire.Append(nil, wire.Leave{From: wire.Member{Name: "a", VTEP: vtep(0)}})...)
	exchange(t, all, func() {
		all[0].Broadcast(wire.Beat{Life: 7})
		all[0].send(vtep(1), kind)
		all[0].send(vtep(1), leave)
		all[2].Send(1, wire.Beat{Life: 9})
	}, func(got []heardBeat) bool {
		for _, h := range got {
			if h.at == 1 && h.m.Life != 7 {
				t.Fatalf("%+v", h)
			}
		}
		c := all[1].Counters()
		return len(got) > 0 && c.UnknownPeer > 0 && c.Malformed > 1
	})
	w.in(w.nodes[0], func() error {
		links, err := netlink.LinkList()
		if err != nil {
			return err
		}
		for _, l := range links {
			if l.Type() == "vxlan" {
				return netlink.LinkSetDown(l)
			}
		}
		return errors.New("no VXLAN device")
	})
	if all[0].Broadcast(wire.Beat{Life: 7}); all[0].Counters().SendFailed == 0 {
		t.Error("a beat that could not be sent is not counted")
	}
}

// New keys are taken in use, and one that is withdrawn is not believed any more.
func TestHL7_CL4_BeatsTakeNewKeys(t *testing.T) {
	w := newWiring(t, 2, DefaultMTU)
	all := beating(t, w, everybody(w))
	send := func() { all[0].Broadcast(wire.Beat{Life: 7}) }
	exchange(t, all, send, func(got []heardBeat) bool { return len(got) > 0 })
	next := seal.Key{ID: 2, Secret: [32]byte{9}}
	if err := all[0].SetKeys([]seal.Key{next}); err != nil {
		t.Fatal(err)
	}
	refused := func() uint64 { return all[1].Counters().Seal[seal.UnknownKey] }
	got := exchange(t, all, send, func([]heardBeat) bool { return refused() > 0 })
	if len(got) > 0 {
		t.Fatalf("heard under a key that it does not have: %+v", got)
	}
	if err := all[1].SetKeys([]seal.Key{next}); err != nil {
		t.Fatal(err)
	}
	exchange(t, all, send, func(got []heardBeat) bool { return len(got) > 0 })
}

func TestHL7_BeatsDoNotAllocate(t *testing.T) {
	w := newWiring(t, 2, DefaultMTU)
	all := beating(t, w, everybody(w))
	exchange(t, all, func() { all[0].Broadcast(wire.Beat{Life: 7}) }, func(got []heardBeat) bool { return len(got) > 0 })
	heard := 0
	count := func(int, wire.Beat, int64) { heard++ }
	if n := testing.AllocsPerRun(100, func() {
		all[0].Broadcast(wire.Beat{Life: 7})
		if _, err := all[1].Receive(1, count); err != nil {
			t.Fatal(err)
		}
	}); n != 0 || heard < 100 {
		t.Errorf("%v allocations a beat, %d heard", n, heard)
	}
}

func TestHL7_BeatsWantADeviceAndAddresses(t *testing.T) {
	w := newWiring(t, 1, DefaultMTU)
	for name, cfg := range map[string]BeatsConfig{
		"no device":    {Device: "none0", Address: w.config(0).Address, Keys: []seal.Key{clusterKey}},
		"no key":       {Device: ccl0, Address: w.config(0).Address},
		"no address":   {Device: ccl0, Keys: []seal.Key{clusterKey}},
		"itself twice": {Device: ccl0, Address: w.config(0).Address, Peers: peersOf(5, 6)[:1], Keys: []seal.Key{clusterKey}},
	} {
		w.in(w.nodes[0], func() error {
			if b, err := OpenBeats(cfg); err == nil {
				t.Errorf("%s: no error", name)
				return b.Close()
			}
			return nil
		})
	}
}
