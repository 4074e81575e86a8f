package fib

import "testing"

func TestCacheIsBoundedAndKeepsWhatIsUsed(t *testing.T) {
	c := newCache(100)
	hot := prefix{0x01010101, 32}
	c.put(hot, answer{nh: 7})
	for i := range 10_000 {
		c.put(prefix{10<<24 | uint32(i), 32}, answer{nh: 1})
		if c.len() > 100 {
			t.Fatalf("%d entries after %d, bound 100", c.len(), i)
		}
		if d, ok := c.get(hot); !ok || d.nh != 7 {
			t.Fatalf("a destination in use was forgotten after %d others", i)
		}
	}
	if _, ok := c.get(prefix{10<<24 | 1, 32}); ok {
		t.Error("a destination unused for 10,000 others is still there")
	}
}

func TestCacheReplacesInEitherHalf(t *testing.T) {
	c := newCache(4)
	for i := range 3 { // the first now lies in the old half
		c.put(prefix{uint32(i), 32}, answer{nh: 1})
	}
	c.put(prefix{0, 32}, answer{nh: 2})
	if d, _ := c.get(prefix{0, 32}); d.nh != 2 {
		t.Errorf("got entry %d after replacing it", d.nh)
	}
	seen := 0
	c.forget(func(answer) bool { seen++; return false })
	if seen != c.len() || seen != 3 {
		t.Errorf("%d remembered, %d counted, want 3", seen, c.len())
	}
}
