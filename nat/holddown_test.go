package nat

import (
	"math/rand/v2"
	"testing"
	"time"

	"pgregory.net/rapid"

	"cohort/packet"
)

// The ring with its index answers as a map from keys to ends does, as long as
// the limit is not met.
func TestRFC6888_HoldDownEqualsAMap(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		h := newHoldDown(1<<20, rand.New(rand.NewPCG(rapid.Uint64().Draw(t, "seed"), 1)))
		ends, now := map[packet.FlowKey]int64{}, int64(0)
		draw := func(t *rapid.T) packet.FlowKey {
			k := packet.FlowKey{Dst: ip("203.0.113.1"), DstPort: rapid.Uint16Range(1, 300).Draw(t, "port"), Proto: packet.ProtoTCP}
			if rapid.Bool().Draw(t, "remote") {
				k.Src, k.SrcPort = ip("192.0.2.1"), 80
			}
			return k
		}
		t.Repeat(map[string]func(*rapid.T){
			"": func(t *rapid.T) {
				wildcards := 0
				for k, end := range ends {
					if h.has(now, k) != (end > now) {
						t.Fatalf("%s until %d, now %d: has says %v", k, end, now, h.has(now, k))
					}
				}
				for _, e := range h.index {
					if e != 0 && isMapping(h.ring[e-1].key) {
						wildcards++
					}
				}
				if wildcards != h.wildcards {
					t.Fatalf("%d wildcards counted, %d there", h.wildcards, wildcards)
				}
			},
			"add": func(t *rapid.T) {
				for range rapid.IntRange(1, 100).Draw(t, "n") {
					k := draw(t)
					h.add(now, k, now+1000)
					ends[k] = now + 1000
				}
			},
			"time": func(t *rapid.T) {
				now += rapid.Int64Range(1, 600).Draw(t, "ns")
				if rapid.Bool().Draw(t, "tick") {
					h.expire(now, rapid.IntRange(0, 500).Draw(t, "limit"))
				}
			},
			"ask": func(t *rapid.T) {
				k := draw(t)
				if h.has(now, k) != (ends[k] > now) {
					t.Fatalf("%s: %v", k, h.has(now, k))
				}
			},
		})
		if h.cut != 0 {
			t.Fatalf("%d cut below the limit", h.cut)
		}
	})
}

// RFC 6888 REQ-8: the number of ports in hold-down is bounded and configurable;
// beyond it the oldest comes back first.
func TestRFC6888_HoldDownIsBounded(t *testing.T) {
	w := newWorld(t, time.Hour, portPool("egress", 1)).holdAll()
	w.SetHoldDownMax(100)
	var keys []packet.FlowKey
	for i := range 250 {
		k := ReplyKey(tcp(1, 80).To, ip("203.0.113.1"), uint16(1024+i))
		keys = append(keys, k)
		w.Use(k)
		w.close(k, true)
	}
	if s := w.Stats(); s.HoldDownWaiting != 100 || s.HoldDownCut != 150 {
		t.Errorf("stats %+v, want 100 waiting, 150 cut", s)
	}
	for i, k := range keys {
		if got := w.waiting.has(w.now, k); got != (i >= 150) {
			t.Errorf("key %d waits: %v", i, got)
		}
	}
	if len(w.waiting.ring) > 128 {
		t.Errorf("the ring has %d places", len(w.waiting.ring))
	}
	w.SetHoldDownMax(0)
	if w.waiting.limit != DefaultHoldDownMax {
		t.Errorf("0 stands for %d", w.waiting.limit)
	}
}

// Memory comes back even if nobody calls Tick.
func TestRFC6888_HoldDownWithoutTicks(t *testing.T) {
	w := newWorld(t, time.Second, portPool("egress", 1)).holdAll()
	for range 20000 {
		w.close(w.must(tcp(1, 80)), true)
		w.now += second / 10
	}
	if len(w.waiting.ring) > 64 {
		t.Errorf("a ring of %d places for 10 keys that wait at a time", len(w.waiting.ring))
	}
}

func TestZeroHoldDownKeepsNothing(t *testing.T) {
	w := newWorld(t, 0, portPool("egress", 1))
	w.SetHeld(0, true)
	k := w.must(tcp(1, 1024))
	w.close(k, true)
	if !w.Idle(w.now, 0) || w.must(tcp(1, 1024)) != k {
		t.Error("a port is in hold-down, but there is none")
	}
}

func BenchmarkHoldDown(b *testing.B) {
	h := newHoldDown(DefaultHoldDownMax, rand.New(rand.NewPCG(1, 1)))
	k := packet.FlowKey{Src: ip("192.0.2.1"), Dst: ip("203.0.113.1"), Proto: packet.ProtoTCP}
	for i := 0; b.Loop(); i++ {
		k.SrcPort, k.DstPort = uint16(i>>16), uint16(i)
		h.add(int64(i), k, int64(i)+1<<18)
	}
}
