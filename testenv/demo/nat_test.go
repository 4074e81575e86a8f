package demo

import (
	"net/netip"
	"testing"

	"cohort/api"
)

func TestNT2_SharesMustBeEven(t *testing.T) {
	for _, c := range []struct {
		counts []int
		nodes  int
		want   bool
	}{
		{[]int{31, 31, 32, 32}, 4, true}, {[]int{126}, 1, true}, {[]int{63, 63}, 2, true},
		{[]int{30, 32, 32, 32}, 4, false}, {[]int{31, 31, 32, 31}, 4, false}, {[]int{42, 42, 42}, 4, false}, {nil, 4, false},
	} {
		if even(c.counts, c.nodes) != c.want {
			t.Errorf("%v of %d nodes: want %v", c.counts, c.nodes, c.want)
		}
	}
}

func TestFR11_AnotherMappedPortIsAFailure(t *testing.T) {
	end := netip.MustParseAddrPort
	conn := func(mapped string) *api.Conn {
		return &api.Conn{Source: end("10.0.1.10:4000"), MappedSource: end(mapped)}
	}
	a, b := "203.0.113.10:4000", "203.0.113.10:4001"
	if err := sameMapping([]netip.AddrPort{end(a)}, conn(a), conn(a)); err != nil {
		t.Error(err)
	}
	for what, err := range map[string]error{
		"the heir has another port": sameMapping([]netip.AddrPort{end(a)}, conn(a), conn(b)),
		"the server sees another":   sameMapping([]netip.AddrPort{end(b)}, conn(a), conn(a)),
		"the server sees none":      sameMapping(nil, conn(a), conn(a)),
		"the server sees two":       sameMapping([]netip.AddrPort{end(a), end(b)}, conn(a), conn(a)),
	} {
		if err == nil {
			t.Errorf("%s, and nobody complains", what)
		}
	}
}
