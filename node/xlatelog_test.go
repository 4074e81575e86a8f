package node

import (
	"context"
	"fmt"
	"strings"
	"testing"
	"time"

	"go.uber.org/zap"
	"go.uber.org/zap/zapcore"
	"go.uber.org/zap/zaptest/observer"

	"cohort/config"
	"cohort/flowtable"
	"cohort/nat"
	"cohort/node/core"
	"cohort/packet"
)

// waitFor waits for something that other goroutines do.
func waitFor(t *testing.T, holds func() bool) {
	t.Helper()
	for end := time.Now().Add(10 * time.Second); !holds(); time.Sleep(time.Millisecond) {
		if time.Now().After(end) {
			t.Fatal("not within 10 s")
		}
	}
}

func line(e observer.LoggedEntry) string {
	f := e.ContextMap()
	s := e.Message
	for _, name := range []string{"type", "protocol", "real", "mapped", "remote", "pool", "rule", "gen"} {
		if v, ok := f[name]; ok {
			s += fmt.Sprintf(" %v", v)
		}
	}
	return s
}

// RFC 6888, REQ-12: a record for each mapping that is made and each that is
// deleted, with protocol, both endpoints and the time.
func TestNT6_EveryTranslationIsLoggedWithItsTime(t *testing.T) {
	seen, logs := observer.New(zapcore.InfoLevel)
	sampled := zap.New(zapcore.NewSamplerWithOptions(seen, time.Hour, 1, 0))
	rules, err := nat.Compile(nat.Config{
		Pools: []nat.Pool{{Name: "egress", Addresses: []packet.Addr{{203, 0, 113, 10}}}},
		Rules: []nat.Rule{{Name: "out", Type: nat.DynamicPAT, From: 1, To: 2, Pool: "egress", LogXlates: true}},
	})
	if err != nil {
		t.Fatal(err)
	}
	now, wall := int64(5e9), time.Unix(1_800_000_000, 0)
	l := newXlateLog(sampled, rules, 8)
	l.clock, l.wall = func() int64 { return now }, func() time.Time { return wall }
	k := udp(packet.Addr{10, 1, 0, 5}, 5000)
	f := &flowtable.FlowSlot{Key: [2]packet.FlowKey{k, nat.ReplyKey(k, packet.Addr{203, 0, 113, 10}, 6001)}, Iface: [2]uint8{1, 2}, Gen: 3}
	for round := range 3 { // past the end of the ring
		for i := range 4 {
			l.put(xlateRecord{at: now - int64(time.Second), keys: f.Key, gen: f.Gen, ifaces: f.Iface, began: i%2 == 0})
		}
		l.drain()
		got := logs.TakeAll()
		if len(got) != 4 {
			t.Fatalf("round %d: %d lines, want 4: sampling must not apply", round, len(got))
		}
		for i, e := range got {
			want := "xlate began connection udp 10.1.0.5:5000 203.0.113.10:6001 192.0.2.1:53 egress out 3"
			if i%2 == 1 {
				want = strings.Replace(want, "began", "ended", 1)
			}
			if line(e) != want || !e.Time.Equal(wall.Add(-time.Second)) {
				t.Errorf("line %q at %v, want %q a second before %v", line(e), e.Time, want, wall)
			}
		}
	}
	for range 11 {
		l.put(xlateRecord{at: now, keys: f.Key, began: true})
	}
	l.drain()
	if got := len(logs.TakeAll()); got != 8 || l.lost.Load() != 3 {
		t.Errorf("%d lines and %d lost of 11 in a ring of 8", got, l.lost.Load())
	}
}

func TestLoggingAllocatesNothingInTheLoop(t *testing.T) {
	l := newXlateLog(zap.NewNop(), nil, 64)
	if n := testing.AllocsPerRun(1000, func() { l.put(xlateRecord{at: 1, began: true}) }); n != 0 {
		t.Errorf("%v allocations a record", n)
	}
}

// The log hears of what its rules ask for, and of nothing else.
func TestNT6_RulesSayWhatIsLogged(t *testing.T) {
	c := newTestCluster(t, 1)
	n := c.nodes[0]
	seen, logs := observer.New(zapcore.InfoLevel)
	n.xlog.log = seen
	c.send(0, udp(packet.Addr{10, 1, 0, 5}, 5000))
	c.send(0, udp(packet.Addr{10, 2, 0, 9}, 5060)) // with its mapping
	c.send(0, udp(packet.Addr{10, 3, 0, 9}, 5000)) // not logged
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error)
	go func() { done <- n.xlog.run(ctx) }()
	waitFor(t, func() bool { return logs.Len() >= 3 })
	c.until("all ended", func() bool { return n.table.Stats().Flows == 0 })
	waitFor(t, func() bool { return logs.Len() >= 6 })
	cancel()
	if err := <-done; err != nil {
		t.Error(err)
	}
	count := map[string]int{}
	for _, e := range logs.TakeAll() {
		f := strings.Fields(line(e))
		count[strings.Join(append(f[1:3], f[len(f)-3:len(f)-1]...), " ")]++
	}
	for what, want := range map[string]int{
		"began connection egress out": 1, "ended connection egress out": 1,
		"began connection voice sip": 1, "ended connection voice sip": 1,
		"began mapping voice sip": 1, "ended mapping voice sip": 1,
	} {
		if count[what] != want {
			t.Errorf("%d lines of %q, want %d", count[what], what, want)
		}
		delete(count, what)
	}
	if len(count) > 0 {
		t.Errorf("lines that nobody asked for: %v", count)
	}
	if newTestCluster(t, 1).nodes[0].openXlateLog(nil) != nil {
		t.Error("a node without NAT logs translations")
	}
}

// One record for a block that a host gets, and one for its end (RFC 7422).
func TestNT6_BlocksOfHostsAreLogged(t *testing.T) {
	n := &Node{log: zap.NewNop(), cfg: Config{Cluster: &config.Cluster{NAT: nat.Config{
		Pools: []nat.Pool{{Name: "egress", Addresses: []packet.Addr{{203, 0, 113, 10}}, MaxBlocksPerHost: 2}},
	}}}}
	rules, err := nat.Compile(n.cfg.Cluster.NAT)
	if err != nil {
		t.Fatal(err)
	}
	translation := &core.NAT{Rules: rules}
	n.openXlateLog(translation)
	seen, logs := observer.New(zapcore.InfoLevel)
	n.xlog.log = seen
	translation.BlockLog(1, packet.Addr{10, 1, 0, 5}, true)
	translation.BlockLog(1, packet.Addr{10, 1, 0, 5}, false)
	n.xlog.drain()
	for i, e := range logs.TakeAll() {
		f := e.ContextMap()
		got := fmt.Sprint(e.Message, " ", f["host"], " ", f["address"], " ", f["first"], "-", f["last"], " ", f["pool"])
		if want := []string{"block assigned", "block released"}[i] + " 10.1.0.5 203.0.113.10 1536-2047 egress"; got != want {
			t.Errorf("line %q, want %q", got, want)
		}
	}
	if n.xlog.tail.Load() != 2 {
		t.Errorf("%d records, want 2", n.xlog.tail.Load())
	}
}
