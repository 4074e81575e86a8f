package ccl

import (
	"errors"
	"math/rand/v2"
	"net/netip"
	"slices"
	"testing"
	"time"

	"cohort/ccl/wire"
)

const (
	gaugeHold = int64(3 * time.Second)
	gaugeTick = int64(10 * time.Millisecond)
)

// gauged runs a Gauge on a clock of its own. cross decides about every probe and
// its answer.
type gauged struct {
	*Gauge
	now   int64
	sent  []wire.Probe
	cross func(size int) bool
}

func newGauged(mtu int) *gauged {
	g := &gauged{now: 7e9, cross: func(int) bool { return true }}
	peer := netip.MustParseAddr("10.99.0.2")
	g.Gauge = NewGauge(g.now, peer, mtu, gaugeHold, func(to netip.Addr, m wire.Probe) {
		g.sent = append(g.sent, m)
		if g.cross(int(m.Size)) {
			g.Reply(g.now, to, wire.ProbeReply{ID: m.ID, Size: m.Size})
		}
	})
	return g
}

// run lets d pass, and returns when the verdict first was narrow, from now on.
func (g *gauged) run(d time.Duration) (narrow time.Duration, ever bool) {
	for end, began := g.now+int64(d), g.now; g.now < end; g.now += gaugeTick {
		g.Tick(g.now)
		if g.Narrow() && !ever {
			narrow, ever = time.Duration(g.now-began), true
		}
	}
	return narrow, ever
}

func TestCL3GaugeIsCheapWhileAllIsWell(t *testing.T) {
	g := newGauged(1654)
	if _, ever := g.run(60 * time.Second); ever {
		t.Error("a good path is narrow")
	}
	if n := len(g.sent); n < 55 || n > 60 {
		t.Errorf("%d probes in 60 s, want one a second", n)
	}
	for _, m := range g.sent {
		if int(m.Size) != 1654-VXLANOverhead {
			t.Fatalf("a probe of %d bytes", m.Size)
		}
	}
}

func TestCL3GaugeFindsAPathThatHasBecomeNarrow(t *testing.T) {
	for _, tt := range []struct{ mtu, limit int }{{1654, 1653}, {1654, 1500}, {9198, 9000}, {9198, 1500}, {730, 700}} {
		g := newGauged(tt.mtu)
		g.run(5 * time.Second)
		g.cross = func(size int) bool { return size+VXLANOverhead <= tt.limit }
		after, ever := g.run(5 * time.Second)
		if !ever || after > 2*time.Second {
			t.Errorf("mtu %d, %d cross: narrow %v after %v, want two thirds of the hold time at most", tt.mtu, tt.limit, ever, after)
		}
		var e *MTUError
		if !errors.As(g.Err(), &e) || e.Configured != tt.mtu || !slices.Equal(e.Failing, []int{tt.mtu}) || e.Passing == 0 || e.Passing > tt.limit {
			t.Errorf("mtu %d, %d cross: %v", tt.mtu, tt.limit, g.Err())
		}
		for _, m := range g.sent {
			if m.Size < 100 {
				t.Fatalf("mtu %d: a probe of %d bytes has no room for itself and its seal", tt.mtu, m.Size)
			}
		}
		g.cross = func(int) bool { return true }
		if g.run(2 * time.Second); g.Narrow() || g.Err() != nil {
			t.Errorf("mtu %d: still narrow 2 s after it was mended", tt.mtu)
		}
	}
}

// A path that stays narrow is not probed for ever as if it had just become so.
func TestCL3GaugeCalmsDown(t *testing.T) {
	g := newGauged(1654)
	g.cross = func(size int) bool { return size < 1000 }
	g.run(20 * time.Second)
	was := len(g.sent)
	g.run(60 * time.Second)
	if n := len(g.sent) - was; n < 2*55 || n > 2*61 || !g.Narrow() {
		t.Errorf("%d probes in 60 s, narrow %v; want a pair a second", n, g.Narrow())
	}
}

// Nothing crosses: the peer is dead, or the link. Others see to that.
func TestCL3GaugeSaysNothingOfASilentPeer(t *testing.T) {
	g := newGauged(1654)
	g.cross = func(int) bool { return false }
	if _, ever := g.run(time.Minute); ever {
		t.Error("silence is a narrow path")
	}
}

// Loss is no narrow path, whichever packets it takes.
func TestCL3GaugeIsNotMisledByLoss(t *testing.T) {
	for _, tt := range []struct {
		lost  float64
		runs  int
		limit int // of runs in which the verdict was narrow at any time in 100 s
	}{{0.01, 200, 0}, {0.05, 200, 4}} {
		wrong := 0
		for seed := range tt.runs {
			r := rand.New(rand.NewPCG(uint64(seed), 1))
			g := newGauged(1654)
			g.cross = func(int) bool { return r.Float64() >= tt.lost && r.Float64() >= tt.lost }
			if _, ever := g.run(100 * time.Second); ever {
				wrong++
			}
		}
		if wrong > tt.limit {
			t.Errorf("%v lost: narrow in %d of %d runs", tt.lost, wrong, tt.runs)
		}
	}
}

// A process that did not run has not listened to answers.
func TestCL3GaugeForgivesASleep(t *testing.T) {
	g := newGauged(1654)
	late := false
	g.cross = func(size int) bool { return size < 1000 || !late }
	g.run(2 * time.Second)
	late = true
	for range 20 {
		g.now += int64(time.Second)
		g.Tick(g.now)
	}
	if g.Narrow() {
		t.Error("narrow, because nobody read the answers")
	}
}

func TestGaugeIgnoresRepliesThatAreNotItsOwn(t *testing.T) {
	g := newGauged(1654)
	g.cross = func(size int) bool { return size < 1000 }
	peer := netip.MustParseAddr("10.99.0.2")
	for i := range 500 {
		g.run(10 * time.Millisecond)
		size := uint16(1654 - VXLANOverhead)
		g.Reply(g.now, netip.MustParseAddr("10.99.0.3"), wire.ProbeReply{ID: g.id, Size: size}) // another peer
		g.Reply(g.now, peer, wire.ProbeReply{ID: g.id + 1, Size: size})                         // to come
		g.Reply(g.now, peer, wire.ProbeReply{ID: uint32(i), Size: size})                        // of a Prober
		g.Reply(g.now, peer, wire.ProbeReply{ID: g.id, Size: size - 1})                         // arrived smaller
	}
	if !g.Narrow() {
		t.Error("a stray reply proved the path")
	}
	g.Reply(g.now, peer, wire.ProbeReply{ID: g.id - 1, Size: 1654 - VXLANOverhead}) // late
	if g.Narrow() {
		t.Error("a late answer of full size counts")
	}
}
