package fib

import (
	"testing"

	"cohort/packet"
)

func TestCacheIsBoundedAndKeepsWhatIsUsed(t *testing.T) {
	c := newCache(100)
	hot := packet.Addr{1, 1, 1, 1}
	c.put(hot, destination{nh: 7})
	for i := range 10_000 {
		c.put(packet.Addr{10, 0, byte(i >> 8), byte(i)}, destination{nh: 1})
		if c.len() > 100 {
			t.Fatalf("%d entries after %d, bound 100", c.len(), i)
		}
		if d, ok := c.get(hot); !ok || d.nh != 7 {
			t.Fatalf("a destination in use was forgotten after %d others", i)
		}
	}
	if _, ok := c.get(packet.Addr{10, 0, 0, 1}); ok {
		t.Error("a destination unused for 10,000 others is still there")
	}
}

func TestCacheReplacesInEitherHalf(t *testing.T) {
	c := newCache(4)
	for i := range 3 { // the first now lies in the old half
		c.put(packet.Addr{byte(i)}, destination{nh: 1})
	}
	c.put(packet.Addr{0}, destination{nh: 2})
	if d, _ := c.get(packet.Addr{0}); d.nh != 2 {
		t.Errorf("got entry %d after replacing it", d.nh)
	}
	seen := 0
	c.forget(func(destination) bool { seen++; return false })
	if seen != c.len() || seen != 3 {
		t.Errorf("%d remembered, %d counted, want 3", seen, c.len())
	}
}
