package fib

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
	"testing"

	"cohort/dataplane/internal/nstest"
	"cohort/packet"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

// randomTables makes random changes of routes and rules, in a part of the
// address space so small that prefixes lie within each other.
type randomTables struct {
	w    *world
	r    *rand.Rand
	undo []string
}

func (x *randomTables) prefix() string {
	p := newPrefix(uint32(198<<24|18<<16)|x.r.Uint32()&0xfff, uint8(18+x.r.IntN(15)))
	if x.r.IntN(12) == 0 {
		return "0.0.0.0/0"
	}
	return fmt.Sprintf("%v/%d", toAddr(p.addr), p.bits)
}

func (x *randomTables) change() string {
	table := []int{254, 254, 100, 101}[x.r.IntN(4)]
	metric := x.r.IntN(3)
	where := fmt.Sprintf("%s table %d metric %d", x.prefix(), table, metric)
	gw := func() string { return fmt.Sprint("10.1.0.", 7+x.r.IntN(3)) }
	var add string
	switch n := x.r.IntN(20); {
	case n < 4 && len(x.undo) > 0:
		i := x.r.IntN(len(x.undo))
		u := x.undo[i]
		x.undo = append(x.undo[:i], x.undo[i+1:]...)
		return u
	case n < 9:
		add = "route replace " + where + " via " + gw()
		x.undo = append(x.undo, "route del "+where)
	case n < 11:
		add = "route replace " + where + " dev in0"
		x.undo = append(x.undo, "route del "+where)
	case n < 14:
		add = "route replace " + []string{"blackhole ", "unreachable ", "prohibit ", "throw "}[x.r.IntN(4)] + where
		x.undo = append(x.undo, "route del "+where)
	case n < 15:
		add = "route replace " + where + " nexthop via " + gw() + " nexthop via 10.1.0.6"
		x.undo = append(x.undo, "route del "+where)
	case n < 16:
		add = "route append " + where + " via " + gw()
	case n < 17:
		add = "route replace " + where + " via 172.16.0.2"
		x.undo = append(x.undo, "route del "+where)
	case n < 18:
		add = fmt.Sprintf("addr add 198.18.%d.%d/%d dev in0", x.r.IntN(16), x.r.IntN(256), 20+x.r.IntN(13))
	case n < 19:
		rule := fmt.Sprintf("from all to %s lookup %d pref %d", x.prefix(), 100+x.r.IntN(2), 1000+x.r.IntN(10))
		add = "rule add " + rule
		x.undo = append(x.undo, "rule del "+rule)
	default:
		rule := fmt.Sprintf("from 10.9.9.9 lookup 100 pref %d", 1000+x.r.IntN(10))
		add = "rule add " + rule
		x.undo = append(x.undo, "rule del "+rule)
	}
	return add
}

// want is what the kernel says of dst by its ordinary lookup.
func want(t *testing.T, w *world, dst packet.Addr) string {
	t.Helper()
	routes, err := netlink.RouteGet(net.IP(dst[:]))
	if e := unix.Errno(0); errors.As(err, &e) && refuses(e) {
		return ""
	}
	must(t, err)
	r := routes[0]
	switch {
	case r.Type != unix.RTN_UNICAST || r.LinkIndex != w.in.Attrs().Index:
		return ""
	case r.Gw != nil:
		return r.Gw.String()
	}
	return dst.String()
}

// TestTR1_RandomTablesAgreeWithTheKernel changes random tables and compares
// random addresses with what "ip route get" says.
func TestTR1_RandomTablesAgreeWithTheKernel(t *testing.T) {
	for seed := range uint64(3) {
		t.Run(fmt.Sprint("seed ", seed), func(t *testing.T) { agree(t, seed) })
	}
}

func agree(t *testing.T, seed uint64) {
	w := newWorld(t)
	w.array = sharedArray(t, 4096)
	nstest.Veth(t, "mgmt0", "m0", 1500)
	nstest.Up(t, "m0")
	nstest.Up(t, "mgmt0", "172.16.0.1/24")
	w.restart(0, nil)
	w.known()
	x := &randomTables{w: w, r: rand.New(rand.NewPCG(seed, 7))}
	var did []string
	for range 150 {
		c := x.change()
		if try(c) == nil { // it may be there already, or not be possible
			did = append(did, c)
		}
		w.settle()
		for range 60 {
			dst := toAddr(uint32(198<<24|18<<16) | x.r.Uint32()&0xfff)
			if got, should := w.via(dst.String()), want(t, w, dst); got != should {
				t.Fatalf("%v goes to %q, the kernel says %q; after %q", dst, got, should, did)
			}
		}
		w.table.Collect(func(uint16) bool { return false })
	}
	if s := w.table.Stats(); s.RouteLookups > 150*60*3/4 || s.RouteErrors != 0 {
		t.Errorf("asked %d times for %d addresses, %d errors", s.RouteLookups, 150*60, s.RouteErrors)
	}
}
