package ccl

import (
	"errors"
	"net/netip"
	"slices"
	"testing"

	"cohort/ccl/wire"
)

// probeThrough runs a Prober against a link that carries inner packets of at
// most limit bytes, losing the first few, and returns how long it took.
func probeThrough(t *testing.T, mtu, limit, lose int) (error, int64) {
	t.Helper()
	peer := netip.MustParseAddr("10.99.0.2")
	now := int64(7e9)
	var p *Prober
	p = NewProber(now, peer, mtu, 1000, func(to netip.Addr, m wire.Probe) {
		if lose--; to == peer && lose < 0 && int(m.Size) <= limit {
			p.Reply(to, wire.ProbeReply{ID: m.ID, Size: m.Size})
		}
	})
	for range 1000 {
		next := p.Tick(now)
		if done, err := p.Done(); done {
			return err, now - 7e9
		}
		if next <= now {
			t.Fatal("time stands still")
		}
		now = next
	}
	t.Fatal("no verdict")
	return nil, 0
}

func TestCL3ProberNamesTheSizes(t *testing.T) {
	const inner = VXLANOverhead
	tests := []struct {
		name    string
		mtu     int
		limit   int
		lose    int
		failing []int
		passing int
	}{
		{"full size crosses", 1654, 1654 - inner, 0, nil, 0},
		{"some loss", 1654, 1654 - inner, 6, nil, 0},
		{"jumbo", 9198, 9198 - inner, 0, nil, 0},
		{"one byte is missing", 1654, 1653 - inner, 0, []int{1654}, 827},
		{"half is too much", 9198, 1500, 0, []int{9198, 4599, 2299}, 1149},
		{"a quarter crosses", 1654, 413 - inner, 0, []int{1654, 827}, 413},
		{"nothing crosses", 1654, 0, 0, []int{1654, 827, 413, 206}, 0},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			err, took := probeThrough(t, tt.mtu, tt.limit, tt.lose)
			if took > 5e9 {
				t.Errorf("took %d ms", took/1e6)
			}
			if tt.failing == nil {
				if err != nil {
					t.Fatal(err)
				}
				return
			}
			var e *MTUError
			if !errors.As(err, &e) {
				t.Fatalf("verdict %v", err)
			}
			if e.Configured != tt.mtu || !slices.Equal(e.Failing, tt.failing) || e.Passing != tt.passing {
				t.Errorf("%v", err)
			}
			if errors.Is(err, ErrNoProbeAnswer) != (tt.passing == 0) {
				t.Errorf("silent or small? %v", err)
			}
		})
	}
}

func TestCL3ErrorReadsWell(t *testing.T) {
	err, _ := probeThrough(t, 1654, 1000, 0)
	const want = "ccl: peer 10.99.0.2: mtu 1654 is configured, but packets of 1654 bytes do not cross; " +
		"827 do: raise the mtu of every switch port between the nodes to 1654"
	if err == nil || err.Error() != want {
		t.Errorf("%v", err)
	}
	err, _ = probeThrough(t, 1654, 0, 0)
	const silent = "ccl: peer 10.99.0.2: mtu 1654 is configured, but packets of 1654, 827, 413, 206 bytes do not cross: no probe was answered"
	if err == nil || err.Error() != silent {
		t.Errorf("%v", err)
	}
}

func TestProberIgnoresRepliesThatAreNotItsOwn(t *testing.T) {
	peer := netip.MustParseAddr("10.99.0.2")
	p := NewProber(0, peer, 1654, 1000, func(netip.Addr, wire.Probe) {})
	p.Tick(0)
	p.Reply(netip.MustParseAddr("10.99.0.3"), wire.ProbeReply{ID: 1000, Size: 1604}) // another peer
	p.Reply(peer, wire.ProbeReply{ID: 999, Size: 1604})                              // before our numbers
	p.Reply(peer, wire.ProbeReply{ID: 1001, Size: 777})                              // of a stage to come
	p.Reply(peer, wire.ProbeReply{ID: 1000, Size: 1603})                             // arrived smaller
	if done, _ := p.Done(); done {
		t.Error("decided by a stray reply")
	}
	p.Reply(peer, wire.ProbeReply{ID: 1000, Size: 1604})
	if done, err := p.Done(); !done || err != nil {
		t.Errorf("%v, %v", done, err)
	}
}
