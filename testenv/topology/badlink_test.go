package topology

import (
	"net/netip"
	"sync/atomic"
	"testing"
	"time"

	"cohort/testenv/icmp"
	"cohort/testenv/line"
)

// pings sends n echo requests of a size at once and counts the distinct and the
// repeated answers until quiet for a while. A raw socket has room for about 250.
func pings(t *testing.T, from *Node, to netip.Addr, n, size int) (distinct, repeated int) {
	t.Helper()
	// Each its own identifier: what an earlier call has in the air, twice and late,
	// is nothing that this one sent.
	c, err := icmp.Open(from.Namespace(), uint16(77+callsOfPings.Add(1)))
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	for seq := range n {
		if err := c.Send(to, uint16(seq+1), make([]byte, size)); err != nil {
			t.Fatal(err)
		}
	}
	seen := map[uint16]bool{}
	for len(seen) < n {
		c.SetReadDeadline(time.Now().Add(time.Second))
		r, err := c.Read()
		if err != nil {
			break
		}
		if seen[r.Seq] {
			repeated++
		}
		seen[r.Seq] = true
	}
	return len(seen), repeated
}

// callsOfPings numbers them.
var callsOfPings atomic.Uint32

func TestLineCCL_DoesWhatTheFaultSaysToEachWay(t *testing.T) {
	for name, apart := range map[string]bool{"in this process": false, "apart": true} {
		t.Run(name, func(t *testing.T) { doesWhatTheFaultSays(t, apart) })
	}
}

func doesWhatTheFaultSays(t *testing.T, apart bool) {
	top := start(t, Config{Nodes: 2, Mode: Bare, Track: patient, LinesApart: apart})
	a, b := top.Nodes[0], top.Nodes[1]
	l, err := a.LineCCL(1)
	if err != nil {
		t.Fatal(err)
	}
	set := func(way line.Way, f line.Fault) {
		t.Helper()
		if err := l.Set(way, f); err != nil {
			t.Fatal(err)
		}
	}
	for range 10 { // the address has to be resolved first
		if ping(t, a, b.CCL, 1) {
			break
		}
	}
	if got, again := pings(t, a, b.CCL, 200, 64); got != 200 || again != 0 {
		t.Fatalf("a perfect line carried %d of 200 pings, %d twice", got, again)
	}
	set(NodeSends, line.Fault{Loss: 100})
	before := l.Counters(NodeSends)
	got, _ := pings(t, a, b.CCL, 150, 64)
	lost := int(l.Counters(NodeSends).Lost - before.Lost)
	if lost < 3 || lost > 40 || got < 150-lost { // ARP may be among the lost
		t.Errorf("%d frames of about 150 were lost, %d pings answered", lost, got)
	}
	set(NodeSends, line.Fault{})
	set(NodeReceives, line.Fault{Duplicate: 500, Jitter: 20 * time.Millisecond})
	before = l.Counters(NodeReceives)
	got, again := pings(t, a, b.CCL, 120, 64)
	after := l.Counters(NodeReceives)
	if got != 120 || again < 10 || after.Overtaken == before.Overtaken || after.Duplicated == before.Duplicated {
		t.Errorf("%d of 120 answered, %d twice, %+v", got, again, after)
	}
	set(NodeReceives, line.Fault{MTU: 1000})
	if got, _ := pings(t, a, b.CCL, 20, 900); got != 20 {
		t.Errorf("%d of 20 small pings crossed a line of MTU 1000", got)
	}
	if got, _ := pings(t, a, b.CCL, 20, 1200); got != 0 {
		t.Errorf("%d of 20 large pings crossed a line of MTU 1000", got)
	}
	set(NodeReceives, line.Fault{Cut: true})
	if got, _ := pings(t, a, b.CCL, 3, 64); got != 0 {
		t.Errorf("%d answers over a cut line", got)
	}
	set(NodeReceives, line.Fault{})
	if got, _ := pings(t, a, b.CCL, 20, 64); got != 20 {
		t.Errorf("%d of 20 crossed after all", got)
	}
	if err := l.Set(NodeReceives, line.Fault{Loss: -1}); err == nil {
		t.Error("a loss of less than nothing, and no error")
	}
}

func TestLineCCL_CutsSplitsAndPowerGoOnWorking(t *testing.T) {
	top := start(t, Config{Nodes: 2, Mode: Bare, Track: patient})
	a, b := top.Nodes[0], top.Nodes[1]
	reach := func(want bool, when string) {
		t.Helper()
		for range 10 {
			if ok := ping(t, a, b.CCL, 5); ok || !want {
				if ok != want {
					t.Errorf("%s: reachable is %v", when, ok)
				}
				return
			}
		}
		t.Errorf("%s: not reachable", when)
	}
	if _, err := a.LineCCL(1); err != nil {
		t.Fatal(err)
	}
	reach(true, "with a line")
	for _, d := range []Direction{FromNode, ToNode} {
		if err := a.CutCCL(d); err != nil {
			t.Fatal(err)
		}
		reach(false, "cut")
		if err := a.MendCCL(d); err != nil {
			t.Fatal(err)
		}
		reach(true, "mended")
	}
	if err := top.SplitCCL(a); err != nil {
		t.Fatal(err)
	}
	reach(false, "split")
	if err := top.JoinCCL(); err != nil {
		t.Fatal(err)
	}
	reach(true, "joined")
	if _, err := a.PowerOff(); err != nil {
		t.Fatal(err)
	}
	if err := a.PowerOn(); err != nil {
		t.Fatal(err)
	}
	reach(true, "with power, on a good cable")
	if _, err := a.LineCCL(1); err != nil {
		t.Errorf("a second line: %v", err)
	}
	reach(true, "with a second line")
}
