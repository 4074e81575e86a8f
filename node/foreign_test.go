package node

import (
	"fmt"
	"net/netip"
	"strings"
	"testing"
	"time"

	"go.uber.org/zap"
	"go.uber.org/zap/zapcore"
	"go.uber.org/zap/zaptest/observer"

	"cohort/ccl/seal"
	"cohort/ccl/wire"
)

// A flood of datagrams under another key is one line in ten minutes, and one check
// of health for as long as they come.
func TestEL8_PeerWithAnotherKeyIsNamedAndDoesNotFloodTheLog(t *testing.T) {
	seen, logs := observer.New(zapcore.InfoLevel)
	bad, good := netip.MustParseAddr("10.99.0.2"), netip.MustParseAddr("10.99.0.3")
	f := seal.Foreign{Why: seal.UnknownKey, Key: 0x3f}
	foreign := func(a netip.Addr) (seal.Foreign, bool) { return f, a == bad && f.Count > 0 }
	unnamed := func(netip.Addr) string { return "" }
	var k foreignPeers
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

// Which check fails, and that causes which change all the time, as a forger could have
// it, are a line each in ten minutes.
func TestEL8_PeerOfAnotherVersionIsNamedAndCausesDoNotFloodTheLog(t *testing.T) {
	seen, logs := observer.New(zapcore.InfoLevel)
	bad := netip.MustParseAddr("10.99.0.2")
	causes := []struct {
		f           seal.Foreign
		check, text string
	}{
		{seal.Foreign{Why: seal.OtherFormat, Format: 77}, "version", fmt.Sprintf("speaks version 77 of the control link's messages, this node version %d", wire.Version)},
		{seal.Foreign{Why: seal.BadVersion, Header: 9}, "version", fmt.Sprintf("sends datagrams of version 9 of the control link, this node's are of version %d", seal.Version)},
		{seal.Foreign{Why: seal.BadTag, Key: 0x3f}, "key", "sends with another key of the id 3f than this node has"},
	}
	var k foreignPeers
	now := int64(time.Hour)
	for i := range 600 {
		c := &causes[i%len(causes)]
		c.f.Count, c.f.Last = 1, now
		k.watch(now, []netip.Addr{bad}, func(netip.Addr) (seal.Foreign, bool) { return c.f, true }, nil, zap.New(seen))
		list := k.checks([]netip.Addr{bad}, func(netip.Addr) string { return "fw-b" })
		if len(list) != 1 || list[0].OK || list[0].Name != c.check || list[0].Member != "fw-b" || !strings.Contains(list[0].Cause, c.text) {
			t.Fatalf("health says %+v, want %s: %s", list, c.check, c.text)
		}
		now += int64(time.Second)
	}
	if logs.Len() != len(causes) {
		t.Fatalf("%d lines in 10 minutes, want %d", logs.Len(), len(causes))
	}
	for i, e := range logs.All() {
		if !strings.HasPrefix(e.Message, "peer 10.99.0.2 "+causes[i].text) || strings.Contains(e.Message, "\n") {
			t.Errorf("%q", e.Message)
		}
	}
}
