package node

import (
	"net/netip"
	"strings"
	"testing"
	"time"

	"go.uber.org/zap"
	"go.uber.org/zap/zapcore"
	"go.uber.org/zap/zaptest/observer"

	"cohort/ccl/seal"
)

// A flood of datagrams under another key is one line in ten minutes, and one check
// of health for as long as they come.
func TestEL8_PeerWithAnotherKeyIsNamedAndDoesNotFloodTheLog(t *testing.T) {
	seen, logs := observer.New(zapcore.InfoLevel)
	bad, good := netip.MustParseAddr("10.99.0.2"), netip.MustParseAddr("10.99.0.3")
	f := seal.Foreign{Key: 0x3f}
	foreign := func(a netip.Addr) (seal.Foreign, bool) { return f, a == bad && f.Count > 0 }
	unnamed := func(netip.Addr) string { return "" }
	var k foreignKeys
	now := int64(time.Hour)
	watch := func() {
		k.watch(now, []netip.Addr{bad, good}, foreign, []string{"a1"}, zap.New(seen))
		now += int64(time.Second)
	}
	watch()
	if logs.Len() != 0 || len(k.checks([]netip.Addr{bad, good}, unnamed)) != 0 {
		t.Fatal("blames a peer that has said nothing")
	}
	for range 1200 {
		f.Count, f.Last = f.Count+1000, now
		watch()
	}
	for _, e := range logs.All() {
		if e.Level != zapcore.WarnLevel || !strings.Contains(e.Message, "peer 10.99.0.2 sends with a key that this node does not have, of the id 3f") {
			t.Errorf("%v %q", e.Level, e.Message)
		}
	}
	if logs.Len() != 2 {
		t.Errorf("%d lines in 20 minutes, want 2", logs.Len())
	}
	list := k.checks([]netip.Addr{bad, good}, unnamed)
	if len(list) != 1 || list[0].OK || list[0].Name != "key" || list[0].Member != "10.99.0.2" || !strings.Contains(list[0].Cause, "1200000 datagrams") {
		t.Errorf("health says %+v", list)
	}
	now += foreignLife
	watch()
	if list := k.checks([]netip.Addr{bad, good}, unnamed); len(list) != 0 {
		t.Errorf("long silent, and still %+v", list)
	}
}
