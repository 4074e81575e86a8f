package ccl

import (
	"errors"
	"math/rand"
	"net/netip"
	"testing"
	"time"

	"github.com/vishvananda/netlink"

	"cohort/ccl/seal"
	"cohort/ccl/wire"
)

// station is a sealed Endpoint on a real Link, in real time.
type station struct {
	*Endpoint
	link *Link
	got  []wire.Message
	from []netip.Addr
}

func newStation(t *testing.T, i int, l *Link) *station {
	t.Helper()
	rnd := rand.New(rand.NewSource(int64(i)))
	s, err := seal.New(seal.Config{Local: vtep(i), Keys: []seal.Key{clusterKey}, Rand: rnd})
	if err != nil {
		t.Fatal(err)
	}
	st := &station{link: l}
	st.Endpoint, err = NewEndpoint(EndpointConfig{
		Local: vtep(i), MTU: l.MTU(), Sealer: s, Rand: rnd, Output: l.Send, OutputControl: l.SendControl,
		Deliver: func(from netip.Addr, m wire.Message) { st.got, st.from = append(st.got, m), append(st.from, from) },
	})
	if err != nil {
		t.Fatal(err)
	}
	return st
}

// converse runs stations until ok; each turn has its own time.
func converse(t *testing.T, stations []*station, ok func(now int64) bool) {
	t.Helper()
	began := time.Now()
	var links []*Link
	for _, s := range stations {
		links = append(links, s.link)
	}
	for {
		now := int64(time.Since(began))
		for _, s := range stations {
			if _, err := s.link.Receive(1000, func(from netip.Addr, b []byte) { s.Receive(now, from, b) }); err != nil {
				t.Fatal(err)
			}
			s.Tick(now)
		}
		if ok(now) {
			return
		}
		wait(t, links, began.Add(10*time.Second))
	}
}

// CL3: a switch port that is too narrow in the middle is found and named; the
// same link, repaired, passes.
func TestCL3ProberFindsABlackHole(t *testing.T) {
	w := newWiring(t, 2, DefaultMTU)
	a, b := newStation(t, 0, w.mustOpen(0, w.config(0))), newStation(t, 1, w.mustOpen(1, w.config(1)))
	stations := []*station{a, b}
	setMTU := func(mtu int) {
		w.in(w.sw, func() error {
			port, err := netlink.LinkByName("p1")
			if err != nil {
				return err
			}
			return netlink.LinkSetMTU(port, mtu)
		})
	}
	if err := a.Send(0, vtep(1), wire.Synced{View: 1}); err != nil {
		t.Fatal(err)
	}
	converse(t, stations, func(int64) bool { return len(b.got) == 1 })
	verdict := func() error {
		var p *Prober
		a.got, a.from = nil, nil
		converse(t, stations, func(now int64) bool {
			if p == nil {
				p = NewProber(now, vtep(1), a.link.MTU(), 4000, func(to netip.Addr, m wire.Probe) { _ = a.Datagram(now, to, m) })
			}
			for i, m := range a.got {
				if r, ok := m.(wire.ProbeReply); ok {
					p.Reply(a.from[i], r)
				}
			}
			a.got, a.from = nil, nil
			p.Tick(now)
			done, _ := p.Done()
			return done
		})
		_, err := p.Done()
		return err
	}
	if err := verdict(); err != nil {
		t.Errorf("full size on a good link: %v", err)
	}
	setMTU(1500)
	var e *MTUError
	if err := verdict(); !errors.As(err, &e) || e.Configured != 1654 || e.Passing != 827 || len(e.Failing) != 1 || e.Failing[0] != 1654 {
		t.Errorf("black hole: %v", err)
	}
	setMTU(1653) // one byte
	if err := verdict(); !errors.As(err, &e) || e.Passing != 827 {
		t.Errorf("one byte: %v", err)
	}
	setMTU(1654)
	if err := verdict(); err != nil {
		t.Errorf("repaired: %v", err)
	}
}

// CL7 end to end: messages over real sockets, sealed, in order, all of them.
func TestCL7StateArrivesOverTheRealLink(t *testing.T) {
	w := newWiring(t, 3, DefaultMTU)
	var stations []*station
	for i := range 3 {
		stations = append(stations, newStation(t, i, w.mustOpen(i, w.config(i))))
	}
	const count = 20_000
	sent := 0
	converse(t, stations, func(now int64) bool {
		for range 500 {
			if sent < count {
				for _, to := range peersOf(0, 3) {
					if err := stations[0].Send(now, to, wire.Synced{View: uint32(sent)}); err != nil {
						t.Fatal(err)
					}
				}
				sent++
			}
		}
		return len(stations[1].got) == count && len(stations[2].got) == count
	})
	for _, s := range stations[1:] {
		for i, m := range s.got {
			if m.(wire.Synced).View != uint32(i) {
				t.Fatalf("message %d is %v", i, m)
			}
		}
	}
	st, _ := stations[0].Stats(vtep(1))
	t.Logf("%d messages in %d segments, rtt %d us, %d repeated", count, st.State.SentSegments, st.State.RTT/1000, st.State.Retransmits)
}
