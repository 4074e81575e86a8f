package campaign

import (
	"encoding/json"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"cohort/api"
	"cohort/testenv/topology"
)

func TestBits_AreASet(t *testing.T) {
	var b bits
	for _, n := range []uint64{0, 63, 64, 1000, 5} {
		if !b.add(n) {
			t.Errorf("%d is not new", n)
		}
		if b.add(n) {
			t.Errorf("%d is new twice", n)
		}
	}
}

func TestDistribute_OrdersAndRanks(t *testing.T) {
	var times []time.Duration
	for i := 200; i > 0; i-- {
		times = append(times, time.Duration(i)*time.Millisecond)
	}
	if got, want := Distribute(times), (Distribution{200, 1, 101, 199, 200}); got != want {
		t.Errorf("%+v, want %+v", got, want)
	}
	if got := Distribute(nil); got != (Distribution{}) || got.String() != "none" {
		t.Errorf("of nothing: %v", got)
	}
}

func TestStream_RemembersItsLongestGap(t *testing.T) {
	var s stream
	at := time.Unix(100, 0)
	for _, ms := range []int{0, 5, 10, 310, 315, 400} {
		s.arrived(at.Add(time.Duration(ms) * time.Millisecond))
	}
	if got := s.gap.Length(); got != 300*time.Millisecond {
		t.Errorf("longest gap %v, want 300ms", got)
	}
}

func TestApplied_CountsOnlyViewsSince(t *testing.T) {
	at := time.Unix(100, 0)
	events := []api.Event{
		{Time: at.Add(-time.Second), Cause: "view 1.1: formed"},
		{Time: at.Add(time.Second), Cause: "fw-b is silent"},
		{Time: at.Add(2 * time.Second), Cause: "view 1.2: without fw-b"},
		{Time: at.Add(3 * time.Second), Cause: "view 1.3: with fw-b"},
	}
	first, views := applied(events, at)
	if views != 2 || !first.Equal(at.Add(2*time.Second)) {
		t.Errorf("first %v of %d views", first, views)
	}
}

func TestSamples_CountForwardingOnlyWhenCertain(t *testing.T) {
	at := time.Unix(100, 0)
	reading := func(ms int, owner, ccl uint64) sample {
		return sample{at.Add(time.Duration(ms) * time.Millisecond), map[string]uint64{
			"forward_owner": owner, "forward_ccl": ccl, "drop_fenced": uint64(ms),
		}}
	}
	s := samples{reading(0, 10, 1), reading(5, 20, 2), reading(10, 21, 2), reading(15, 21, 4)}
	if got := s.since(at.Add(7 * time.Millisecond)); got != 2 {
		t.Errorf("%d forwarded since the middle, want 2", got)
	}
	if got := s.since(at.Add(time.Second)); got != 0 {
		t.Errorf("%d forwarded after the end, want 0", got)
	}
}

func TestCensus_TellsDoublesAndTheUnprotected(t *testing.T) {
	a, b := &topology.Node{Name: "fw-a"}, &topology.Node{Name: "fw-b"}
	key := func(port uint16) Key {
		return newKey("tcp", netip.AddrPortFrom(netip.MustParseAddr("192.0.2.1"), 7),
			netip.AddrPortFrom(netip.MustParseAddr("10.0.1.10"), port))
	}
	held := func(n *topology.Node, r api.Roles) Holding { return Holding{n, api.Conn{Roles: r}} }
	c := Census{
		key(1): {held(a, "O"), held(b, "DB")},
		key(2): {held(a, "O"), held(b, "O")},
		key(3): {held(a, "OD"), held(b, "F")},
		key(4): {held(b, "DB")},
	}
	if d := c.Doubles(); len(d) != 1 || d[0] != key(2) {
		t.Errorf("doubles %v", d)
	}
	if why := c.Unprotected([]Key{key(1), key(2), key(3), key(4), key(5)}); len(why) != 4 || !strings.HasSuffix(why[3], "nobody") {
		t.Errorf("unprotected: %q", why)
	}
	if k := newKey("tcp", key(1).High, key(1).Low); k != key(1) {
		t.Errorf("the other direction is another connection: %v", k)
	}
}

func TestResult_IsWrittenForMachinesAndPeople(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "results")
	r := NewResult("kill", "make campaign")
	r.Add("lost", 0, "0")
	r.Add("detection", Distribute([]time.Duration{time.Second}), "")
	if err := r.Write(dir); err != nil {
		t.Fatal(err)
	}
	text, err := os.ReadFile(filepath.Join(dir, "campaign-kill.json"))
	var back Result
	if err != nil || json.Unmarshal(text, &back) != nil || back.Command != "make campaign" || len(back.Figures) != 2 {
		t.Errorf("JSON: %v %s", err, text)
	}
	text, err = os.ReadFile(filepath.Join(dir, "campaign-kill.md"))
	if err != nil || !strings.Contains(string(text), "| detection | 1000.0 / 1000.0 / 1000.0 / 1000.0 ms (n=1) |  |\n") {
		t.Errorf("Markdown: %v %s", err, text)
	}
}
