package fib

import (
	"encoding/binary"
	"math/rand/v2"
	"testing"

	"cohort/packet"

	"golang.org/x/sys/unix"
)

func toAddr(a uint32) (p packet.Addr) {
	binary.BigEndian.PutUint32(p[:], a)
	return p
}

func TestLongestPrefixIsThatOfASlowSearch(t *testing.T) {
	r := rand.New(rand.NewPCG(1, 2))
	for range 50 {
		s := newPrefixSet(1000)
		list := append([]prefix{{}}, special[:]...)
		for range r.IntN(60) {
			p := newPrefix(r.Uint32()&0x3f000003, uint8(r.IntN(33)))
			list = append(list, p)
			if !s.add(p) {
				t.Fatal("no room")
			}
		}
		for range 500 {
			a := r.Uint32() & 0xff00003f
			if r.IntN(2) == 0 {
				a = list[r.IntN(len(list))].addr ^ uint32(r.IntN(4))
			}
			var want prefix
			for _, p := range list {
				if a&mask(p.bits) == p.addr && p.bits >= want.bits {
					want = p
				}
			}
			if got := s.longest(toAddr(a)); got != want {
				t.Fatalf("%v: %v, want %v", toAddr(a), got, want)
			}
		}
	}
}

func TestPrefixSetIsBoundedAndCountsOnce(t *testing.T) {
	s := newPrefixSet(len(special) + 1)
	p := prefix{10 << 24, 8}
	if !s.add(p) || !s.add(p) || s.count != len(special)+1 {
		t.Errorf("%d prefixes", s.count)
	}
	if s.add(prefix{11 << 24, 8}) || s.longest(packet.Addr{11, 1, 1, 1}) != (prefix{}) {
		t.Error("there is room beyond the bound")
	}
}

func FuzzMessages(f *testing.F) {
	var r request
	r.set(packet.Addr{10, 1, 2, 3}, 0, 1)
	f.Add(r[:])
	f.Add(dumpRequest(1, 2))
	f.Fuzz(func(t *testing.T, b []byte) {
		messages(b, func(h unix.NlMsghdr, body []byte) bool {
			if m, ok := parseRoute(body); ok && (m.dst.bits > 32 || m.dst.addr&^mask(m.dst.bits) != 0) {
				t.Errorf("prefix %v", m.dst)
			}
			if p, ok := parseRule(body); ok && (p.bits > 32 || p.addr&^mask(p.bits) != 0) {
				t.Errorf("prefix %v", p)
			}
			errno(body)
			return true
		})
	})
}
