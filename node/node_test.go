package node

import (
	"net/netip"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"testing"
	"time"

	"cohort/ccl/wire"
	"cohort/config"
)

func TestEL7_LocalAddressIsPinnedOrFollowsTheID(t *testing.T) {
	addr := netip.MustParseAddr
	i := &config.Interface{
		ClusterAddress: netip.MustParsePrefix("10.1.0.254/24"),
		Pool:           config.Range{First: addr("10.1.0.1"), Last: addr("10.1.0.4")},
		Pins:           []config.Pin{{Node: "fw-b", Address: addr("10.1.0.2")}},
	}
	both := *i
	both.ClusterAddressIPv6 = netip.MustParsePrefix("2001:db8::254/64")
	both.PoolIPv6 = config.Range{First: addr("2001:db8::1"), Last: addr("2001:db8::4")}
	both.Pins = []config.Pin{
		{Node: "fw-b", Address: addr("10.1.0.2"), AddressIPv6: addr("2001:db8::1")},
		{Node: "fw-c", AddressIPv6: addr("2001:db8::4")},
	}
	for _, c := range []struct {
		name      string
		id        int
		ipv4, all string
	}{
		{"fw-b", 0, "10.1.0.2/24", "10.1.0.2/24 2001:db8::1/64"},
		{"fw-b", 3, "10.1.0.2/24", "10.1.0.2/24 2001:db8::1/64"},
		{"fw-a", 0, "", ""},
		{"fw-a", 1, "10.1.0.1/24", "10.1.0.1/24 2001:db8::2/64"},
		{"fw-a", 2, "10.1.0.3/24", "10.1.0.3/24 2001:db8::3/64"}, // not another's
		{"fw-a", 3, "10.1.0.4/24", "10.1.0.4/24"},                // nothing is left
		{"fw-a", 4, "", ""},
		{"fw-c", 0, "", "2001:db8::4/64"}, // of one family only
		{"fw-c", 2, "10.1.0.3/24", "10.1.0.3/24 2001:db8::4/64"},
	} {
		for i, want := range map[*config.Interface]string{i: c.ipv4, &both: c.all} {
			var got []string
			for _, a := range localAddresses(i, c.name, c.id) {
				got = append(got, a.prefix.String())
			}
			if got := strings.Join(got, " "); got != want {
				t.Errorf("node %s with id %d: %q, want %q", c.name, c.id, got, want)
			}
		}
	}
}

func TestICMPErrorsAreLimited(t *testing.T) {
	var b icmpBucket
	now := int64(1e12)
	sent := 0
	for range 10 * icmpBurst {
		if b.take(now) {
			sent++
		}
	}
	if sent != icmpBurst {
		t.Fatalf("%d at one instant, want the burst of %d", sent, icmpBurst)
	}
	for end := now + int64(time.Second); now < end; now += 1e5 {
		if b.take(now) {
			sent++
		}
	}
	if got := sent - icmpBurst; got < icmpPerSecond-1 || got > icmpPerSecond+1 {
		t.Fatalf("%d in the next second, want %d", got, icmpPerSecond)
	}
}

func TestStateFileKeepsTheNewest(t *testing.T) {
	dir := t.TempDir()
	fail := func(err error) { t.Error(err) }
	s := openState[saved](dir, "membership.json", nil, fail)
	if s.load() != nil {
		t.Error("a state out of nothing")
	}
	for i := range 200 {
		s.put(saved{Incarnation: 7, ID: 3, View: &wire.View{Term: 1, Epoch: uint32(i + 1)}})
	}
	s.close()
	s = openState[saved](dir, "membership.json", nil, fail)
	defer s.close()
	got := s.load()
	if got == nil || got.View.Epoch != 200 || got.ID != 3 || got.Incarnation != 7 {
		t.Fatalf("loaded %+v, want epoch 200", got)
	}
	for _, bad := range []string{"", "{", `{"ID":3}`, `{"Incarnation":1,"ID":2,"View":null}`, "null"} {
		if err := os.WriteFile(filepath.Join(dir, "membership.json"), []byte(bad), 0o600); err != nil {
			t.Fatal(err)
		}
		if v := s.load(); v.usable() {
			t.Errorf("%q was taken for %+v", bad, v)
		}
	}
}

func TestDirectorOrderKeyFollowsTheClusterKey(t *testing.T) {
	if orderKey([32]byte{1}) == orderKey([32]byte{2}) {
		t.Fatal("two cluster keys have one director order")
	}
	if orderKey([32]byte{1}) != orderKey([32]byte{1}) {
		t.Fatal("the order key is not a function of the cluster key")
	}
}

// The switch for all may be off while an interface forwards (HL5).
func TestHL5_NoInterfaceForwardsAroundTheDataplane(t *testing.T) {
	dir := t.TempDir()
	file := func(proto, device string) string { return filepath.Join(dir, proto, "conf", device, "forwarding") }
	devices := []string{"in0", "out0.7"}
	for _, proto := range []string{"ipv4", "ipv6"} {
		for device, on := range map[string]string{"all": "0", "default": "1", "in0": "1", "out0.7": "1", "docker0": "1"} {
			f := file(proto, device)
			if err := os.MkdirAll(filepath.Dir(f), 0o755); err != nil {
				t.Fatal(err)
			}
			if err := os.WriteFile(f, []byte(on+"\n"), 0o644); err != nil {
				t.Fatal(err)
			}
		}
	}
	if _, err := noKernelForwarding(dir, devices); err != nil {
		t.Fatal(err)
	}
	for _, proto := range []string{"ipv4", "ipv6"} {
		for device, want := range map[string]string{"all": "0", "default": "0", "in0": "0", "out0.7": "0", "docker0": "1"} {
			if b, err := os.ReadFile(file(proto, device)); err != nil || string(b[:1]) != want {
				t.Errorf("%s of %s: %q %v, want %s", proto, device, b, err, want)
			}
		}
	}
	if _, err := noKernelForwarding(dir, []string{"missing"}); err != nil {
		t.Errorf("a device without IPv6: %v", err)
	}
}

func TestEL8_TierOfANodeIsItsLabelItsCPUsAndItsLimit(t *testing.T) {
	c := Config{
		Bootstrap: &config.Node{Tier: "large"},
		Cluster:   &config.Cluster{Limits: config.Limits{Connections: 4096, Forwards: 8192}},
	}
	if got, want := c.tier(), (wire.Tier{Label: "large", CPUs: uint16(runtime.NumCPU()), Connections: 4096}); got != want {
		t.Errorf("%+v, want %+v", got, want)
	}
}
