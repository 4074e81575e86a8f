package nat

import (
	"math/rand/v2"
	"testing"

	"cohort/packet"
)

// The index answers as a map would, for addresses that are next to each other
// and for scattered ones, known and unknown.
func TestAddressIndexIsAMap(t *testing.T) {
	rng := rand.New(rand.NewPCG(1, 2))
	for round := range 50 {
		var x addressIndex
		model := map[packet.Addr]uint32{}
		random := func() packet.Addr {
			if round%2 == 0 {
				return packet.Addr{203, 0, byte(rng.IntN(3)), byte(rng.IntN(256))}
			}
			return addr(rng.Uint32())
		}
		for n := range rng.IntN(600) {
			a := random()
			if _, known := model[a]; known || a == (packet.Addr{}) {
				continue
			}
			x.put(a, uint32(n))
			model[a] = uint32(n)
		}
		for a, want := range model {
			if got, ok := x.get(a); !ok || got != want {
				t.Fatalf("%v is %d, %v; want %d", a, got, ok, want)
			}
		}
		for range 1000 {
			a := random()
			want, known := model[a]
			if got, ok := x.get(a); ok != known || ok && got != want {
				t.Fatalf("%v is %d, %v; want %d, %v", a, got, ok, want, known)
			}
		}
		if _, ok := x.get(packet.Addr{}); ok {
			t.Fatal("0.0.0.0 is in the index")
		}
	}
}
