package dataplane

import (
	"errors"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"cohort/dataplane/internal/nstest"
	"cohort/flowtable"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/asm"
	"github.com/cilium/ebpf/link"
	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

const (
	inside  = 1
	outside = 2
)

// host is a namespace with the three interfaces of a node; their other ends
// are in1, out1 and ccl1.
type host struct {
	t   *testing.T
	cfg Config
}

func newHost(t *testing.T, mtu int) *host {
	t.Helper()
	nstest.Enter(t)
	for _, name := range []string{"in", "out", "ccl"} {
		nstest.Veth(t, name+"0", name+"1", mtu)
	}
	return &host{t: t, cfg: Config{
		Interfaces: []Interface{
			{ID: inside, Name: "inside", Device: "in0"},
			{ID: outside, Name: "outside", Device: "out0"},
		},
		CCL: "ccl0", VTEP: netip.MustParseAddr("10.99.0.1"), VNI: 7,
		Flows: 100, Forwards: 50, FastPath: true,
	}}
}

// pinned makes the host's dataplane outlive its Dataplane.
func (h *host) pinned() *host {
	h.t.Helper()
	h.cfg.PinDir = filepath.Join(h.t.TempDir(), "pins")
	h.t.Cleanup(func() { _ = unix.Unmount(h.cfg.PinDir, unix.MNT_DETACH) })
	return h
}

func (h *host) open() *Dataplane {
	h.t.Helper()
	d, err := Open(h.cfg)
	must(h.t, err)
	h.t.Cleanup(func() { must(h.t, d.Close(false)) })
	return d
}

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// programOn returns the id of the XDP program a device runs, 0 for none.
func programOn(t *testing.T, device string) uint32 {
	t.Helper()
	x := nstest.Link(t, device).Attrs().Xdp
	if x == nil || !x.Attached {
		return 0
	}
	return x.ProgId
}

func pins(t *testing.T, dir string) []string {
	t.Helper()
	var all []string
	for _, prefix := range []string{mapPin, linkPin} {
		names, err := filepath.Glob(filepath.Join(dir, prefix+"*"))
		must(t, err)
		all = append(all, names...)
	}
	return all
}

func TestOpenStartsEmptyFencedAndSized(t *testing.T) {
	h := newHost(t, 1500)
	d := h.open()
	c := d.memory.control
	m := d.Table()
	if len(m.Flows) != 101 || len(m.Forwards) != 51 || len(m.Index) != flowtable.IndexBuckets(100, 50) {
		t.Errorf("%d flows, %d forwards, %d buckets", len(m.Flows), len(m.Forwards), len(m.Index))
	}
	if c.Layout != flowtable.LayoutVersion || int(c.IndexMask) != len(m.Index)-1 || c.FlowSlots != 101 || c.ForwardSlots != 51 {
		t.Errorf("control %+v", *c)
	}
	if c.Lease != 0 || c.View != 0 || c.Flags != 0 || c.VNI != 7 || netip.AddrFrom16(c.CCLVTEP).Unmap().String() != "10.99.0.1" ||
		c.CCLMAC != [6]byte(nstest.MAC(t, "ccl0")) || int(c.CCLIfindex) != nstest.Link(t, "ccl0").Attrs().Index {
		t.Errorf("control %+v", *c)
	}
	if d.HashSeed() == ([10]uint64{}) {
		t.Error("no hash seed was drawn")
	}
	if d.Adopted() || d.Rebuilt() != "" {
		t.Errorf("adopted %v, rebuilt %q", d.Adopted(), d.Rebuilt())
	}
	for n, dev := range []string{"in0", "out0", "ccl0"} {
		s := d.Status()[n]
		if s.Device != dev || s.Mode != ModeNative || s.Reason != "" || programOn(t, dev) == 0 {
			t.Errorf("attachment %+v, program %d", s, programOn(t, dev))
		}
	}
	if d.Ifindex(outside) != nstest.Link(t, "out0").Attrs().Index || d.Ifindex(9) != 0 || d.Ifindex(200) != 0 {
		t.Error("interface ids are wrong")
	}
	if _, err := flowtable.New(m, d.HashSeed()); err != nil {
		t.Errorf("the flow table does not take the memory: %v", err)
	}
}

func TestTwoStartsHaveDifferentHashSeeds(t *testing.T) {
	h := newHost(t, 1500)
	d := h.open()
	first := d.HashSeed()
	must(t, d.Close(false))
	if h.open().HashSeed() == first {
		t.Error("the seed can be predicted")
	}
}

func TestHL5_RestartAdoptsMemoryAndLinks(t *testing.T) {
	h := newHost(t, 1500).pinned()
	d := h.open()
	d.RenewLease(Now() + int64(time.Hour))
	d.SetView(11, 10, 3)
	must(t, d.SetLocalAddrs([]netip.Addr{netip.MustParseAddr("10.1.0.1")}))
	d.Table().Flows[42].Rule = 4711
	d.NextHops()[5].Store(NextHop{Ifindex: 9, Flags: NextHopValid})
	seed, lease := d.HashSeed(), d.Lease()
	must(t, d.Close(true))
	before := programOn(t, "in0")
	if before == 0 {
		t.Fatal("closing detached the program")
	}

	d = h.open()
	if !d.Adopted() || d.Rebuilt() != "" {
		t.Fatalf("adopted %v, rebuilt %q", d.Adopted(), d.Rebuilt())
	}
	if d.Table().Flows[42].Rule != 4711 || !d.NextHops()[5].Valid() || d.HashSeed() != seed || d.Lease() != lease {
		t.Error("memory is not what it was")
	}
	if tag, prev, self := d.View(); tag != 11 || prev != 10 || self != 3 {
		t.Errorf("view %d %d %d", tag, prev, self)
	}
	for _, a := range d.Status() {
		if !a.Adopted || a.Mode != ModeNative {
			t.Errorf("link was not adopted: %+v", a)
		}
	}
	if after := programOn(t, "in0"); after == 0 || after == before {
		t.Errorf("program %d before, %d after: not replaced in place", before, after)
	}
	must(t, d.Close(false))
	for _, dev := range []string{"in0", "out0", "ccl0"} {
		if programOn(t, dev) != 0 {
			t.Errorf("%s still runs a program", dev)
		}
	}
	if left := pins(t, h.cfg.PinDir); len(left) != 0 {
		t.Errorf("still pinned: %v", left)
	}
}

// childEnv makes the test binary the daemon that dies; its value is the PinDir.
const childEnv = "COHORT_TEST_DIE_PINNED"

func TestMain(m *testing.M) {
	if dir := os.Getenv(childEnv); dir != "" {
		die(dir)
	}
	os.Exit(m.Run())
}

// die opens a dataplane, leaves a mark and exits without closing anything.
func die(dir string) {
	d, err := Open(Config{
		PinDir:     dir,
		Interfaces: []Interface{{ID: inside, Device: "in0"}, {ID: outside, Device: "out0"}},
		CCL:        "ccl0", VTEP: netip.MustParseAddr("10.99.0.1"), VNI: 7, Flows: 100, Forwards: 50, FastPath: true,
	})
	if err != nil {
		println(err.Error())
		os.Exit(1)
	}
	d.Table().Flows[9].Rule = 99
	os.Exit(0)
}

func TestHL5_KilledDaemonLeavesItsFastPath(t *testing.T) {
	h := newHost(t, 1500).pinned()
	exe, err := os.Executable()
	must(t, err)
	cmd := exec.Command(exe)
	cmd.Env = append(os.Environ(), childEnv+"="+h.cfg.PinDir)
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("child: %v: %s", err, out)
	}
	for _, dev := range []string{"in0", "out0", "ccl0"} {
		if programOn(t, dev) == 0 {
			t.Errorf("%s lost its program with the daemon", dev)
		}
	}
	if d := h.open(); !d.Adopted() || d.Table().Flows[9].Rule != 99 {
		t.Errorf("adopted %v (%s), mark %d", d.Adopted(), d.Rebuilt(), d.Table().Flows[9].Rule)
	}
}

func TestPinnedMapsThatDoNotFitAreReplacedByEmptyOnes(t *testing.T) {
	for name, c := range map[string]struct {
		spoil func(*Dataplane, *Config)
		want  string
	}{
		"layout version":   {func(d *Dataplane, _ *Config) { d.memory.control.Layout = 999 }, "version 999"},
		"more flows":       {func(_ *Dataplane, c *Config) { c.Flows = 200 }, "MaxEntries"},
		"fewer forwards":   {func(_ *Dataplane, c *Config) { c.Forwards = 10 }, "forwards"},
		"a map is missing": {func(_ *Dataplane, c *Config) { _ = os.Remove(filepath.Join(c.PinDir, mapPin+"nexthops")) }, "nexthops"},
		"a daemon without NAT left them": {func(d *Dataplane, c *Config) {
			d.memory.control.Layout = 1
			_ = os.Remove(filepath.Join(c.PinDir, mapPin+"nat_addrs"))
			_ = os.Remove(filepath.Join(c.PinDir, mapPin+"nat_units"))
		}, "nat_addrs"},
		"a daemon that knew IPv4 VTEPs only left them": {func(d *Dataplane, c *Config) {
			d.memory.control.Layout = 2
			pin := filepath.Join(c.PinDir, mapPin+"members")
			m, err := ebpf.NewMap(&ebpf.MapSpec{Type: ebpf.Array, KeySize: 4, ValueSize: 16, MaxEntries: MaxNodes, Flags: unix.BPF_F_MMAPABLE})
			must(t, err)
			must(t, os.Remove(pin))
			must(t, m.Pin(pin))
			must(t, m.Close())
		}, "members"},
	} {
		done := make(chan struct{})
		t.Run(name, func(t *testing.T) {
			defer close(done)
			h := newHost(t, 1500).pinned()
			d := h.open()
			d.Table().Flows[1].Rule = 1
			d.RenewLease(Now() + int64(time.Hour))
			c.spoil(d, &h.cfg)
			must(t, d.Close(true))
			d = h.open()
			if d.Adopted() || !strings.Contains(d.Rebuilt(), c.want) {
				t.Errorf("adopted %v, rebuilt %q, want %q in it", d.Adopted(), d.Rebuilt(), c.want)
			}
			if d.Table().Flows[1].Rule != 0 || d.Lease() != 0 || len(d.Table().Flows) != h.cfg.Flows+1 {
				t.Error("the new maps are not empty")
			}
			must(t, d.Close(true))
			if d = h.open(); !d.Adopted() {
				t.Errorf("the new maps were not pinned: %q", d.Rebuilt())
			}
		})
		<-done
	}
}

// foreign attaches somebody else's XDP program.
func foreign(t *testing.T, device string) {
	t.Helper()
	p, err := ebpf.NewProgram(&ebpf.ProgramSpec{Type: ebpf.XDP, Instructions: asm.Instructions{asm.Mov.Imm(asm.R0, 2), asm.Return()}})
	must(t, err)
	l, err := link.AttachXDP(link.XDPOptions{Program: p, Interface: nstest.Link(t, device).Attrs().Index})
	must(t, err)
	t.Cleanup(func() { l.Close(); p.Close() })
}

func TestFailedAttachLeavesNothingBehind(t *testing.T) {
	h := newHost(t, 1500).pinned()
	foreign(t, "ccl0") // attached last
	if _, err := Open(h.cfg); err == nil || !strings.Contains(err.Error(), "ccl0") {
		t.Fatalf("error %v, want one that names ccl0", err)
	}
	for _, dev := range []string{"in0", "out0"} {
		if programOn(t, dev) != 0 {
			t.Errorf("%s still runs a program", dev)
		}
	}
	if left := pins(t, h.cfg.PinDir); len(left) != 0 {
		t.Errorf("still pinned: %v", left)
	}
}

func TestFailedRestartLeavesTheOldFastPath(t *testing.T) {
	h := newHost(t, 1500).pinned()
	d := h.open()
	d.Table().Flows[3].Rule = 3
	must(t, d.Close(true))
	old := programOn(t, "in0")
	bad := h.cfg
	bad.Interfaces = append(bad.Interfaces[:2:2], Interface{ID: 3, Name: "dmz", Device: "dmz0"})
	nstest.Veth(t, "dmz0", "dmz1", 1500)
	foreign(t, "dmz0")
	if _, err := Open(bad); err == nil {
		t.Fatal("opened on a device that is taken")
	}
	if now := programOn(t, "in0"); now != old {
		t.Errorf("in0 runs program %d, before the failure %d", now, old)
	}
	if d := h.open(); !d.Adopted() || d.Table().Flows[3].Rule != 3 {
		t.Error("the old maps are gone")
	}
}

func TestInterfaceThatIsNoLongerConfiguredIsDetached(t *testing.T) {
	h := newHost(t, 1500).pinned()
	must(t, h.open().Close(true))
	h.cfg.Interfaces = h.cfg.Interfaces[:1]
	d := h.open()
	if programOn(t, "out0") != 0 || programOn(t, "in0") == 0 || d.Ifindex(outside) != 0 {
		t.Error("out0 is still part of the dataplane")
	}
}

func TestChangeOfModeAttachesAnewAndKeepsTheMaps(t *testing.T) {
	h := newHost(t, 1500).pinned()
	for range 3 {
		for _, mode := range []Mode{ModeNative, ModeGeneric} {
			h.cfg.Mode = mode
			d := h.open()
			d.Table().Flows[1].Rule++
			for _, a := range d.Status() {
				if a.Mode != mode || runningMode(a.Ifindex) != mode {
					t.Errorf("%v: %+v", mode, a)
				}
			}
			must(t, d.Close(true))
		}
	}
	if n := h.open().Table().Flows[1].Rule; n != 6 {
		t.Errorf("%d starts shared their maps, want 6", n)
	}
}

func TestDeviceMadeAnewIsAttachedAnew(t *testing.T) {
	h := newHost(t, 1500).pinned()
	must(t, h.open().Close(true))
	must(t, netlink.LinkDel(nstest.Link(t, "in0")))
	nstest.Veth(t, "in0", "in1", 1500)
	d := h.open()
	if a := d.Status()[0]; a.Adopted || programOn(t, "in0") == 0 {
		t.Errorf("attachment %+v", a)
	}
	if !d.Adopted() || d.Ifindex(inside) != nstest.Link(t, "in0").Attrs().Index {
		t.Error("the rest was not adopted")
	}
}

func TestGenericModeIsReportedWithItsReason(t *testing.T) {
	h := newHost(t, 1500)
	h.cfg.Mode = ModeGeneric
	d := h.open()
	if a := d.Status()[0]; a.Mode != ModeGeneric || a.Reason != "configured" || runningMode(a.Ifindex) != ModeGeneric {
		t.Errorf("%+v", a)
	}
	must(t, d.Close(false))

	h.cfg.Mode = ModeAuto
	h.cfg.Interfaces[0].Device = "lo" // no driver, no native XDP
	d = h.open()
	if a := d.Status()[0]; a.Mode != ModeGeneric || !strings.Contains(a.Reason, "native") {
		t.Errorf("%+v", a)
	}
	if a := d.Status()[1]; a.Mode != ModeNative {
		t.Errorf("%+v", a)
	}
	must(t, d.Close(false))

	h.cfg.Mode = ModeNative
	if _, err := Open(h.cfg); err == nil {
		t.Error("native mode on lo did not fail")
	}
}

func TestHL5_NothingPassesPastTheLeaseNorBehindTheFence(t *testing.T) {
	h := newHost(t, 1500)
	d := h.open()
	wire1 := nstest.OpenWire(t, "in1")
	arp := make([]byte, 60)
	copy(arp, []byte{255, 255, 255, 255, 255, 255, 2, 0, 0, 0, 0, 1, 0x08, 0x06})
	counted := func(name string) uint64 {
		all, err := d.Counters()
		must(t, err)
		return all[name]
	}
	expect := func(name string) {
		t.Helper()
		was := counted(name)
		wire1.Send(arp)
		nstest.Until(t, name+" is counted", func() bool { return counted(name) > was })
	}
	expect("drop_lease_expired")
	d.RenewLease(Now() + int64(time.Hour))
	expect("drop_fenced")
	d.SetView(1, 0, 1)
	expect("pass_arp")
	d.RenewLease(Now() - int64(time.Second)) // XDP reads a coarse clock
	expect("drop_lease_expired")
	d.RenewLease(Now() + int64(time.Hour))
	d.SetView(0, 0, 1)
	expect("drop_fenced")
}

func TestMembersAreReplacedAsAWhole(t *testing.T) {
	h := newHost(t, 1500)
	d := h.open()
	a := Peer{ID: 1, VTEP: netip.MustParseAddr("10.99.0.1"), Incarnation: 0x1ff, Self: true}
	b := Peer{ID: 63, VTEP: netip.MustParseAddr("10.99.0.2"), MAC: [6]byte{2, 1, 2, 3, 4, 5}, Incarnation: 0x102}
	must(t, d.SetMembers([]Peer{a, b}))
	want := Member{VTEP: [16]byte{10: 0xff, 11: 0xff, 12: 10, 13: 99, 15: 2}, MAC: b.MAC, Flags: MemberAlive, Incarnation: 2}
	if got := d.memory.members[63]; got != want {
		t.Errorf("member %+v, want %+v", got, want)
	}
	if f := d.memory.members[1].Flags; f != MemberAlive|MemberSelf {
		t.Errorf("own flags %#x", f)
	}
	must(t, d.SetMembers([]Peer{a}))
	if got := d.memory.members[63]; got != (Member{}) {
		t.Errorf("removed member is still %+v", got)
	}
	for _, bad := range []Peer{{ID: 0, VTEP: a.VTEP}, {ID: 64, VTEP: a.VTEP}, {ID: 2}, {ID: 2, VTEP: netip.MustParseAddr("fd00:99::2")}} {
		if err := d.SetMembers([]Peer{bad}); !errors.Is(err, ErrConfig) {
			t.Errorf("%+v: %v", bad, err)
		}
	}
}

func TestLocalAddressesAreReplacedAsAWhole(t *testing.T) {
	h := newHost(t, 1500)
	d := h.open()
	set := func(addrs ...string) {
		var all []netip.Addr
		for _, a := range addrs {
			all = append(all, netip.MustParseAddr(a))
		}
		must(t, d.SetLocalAddrs(all))
		var key [4]byte
		var value uint32
		var key6 [16]byte
		n := 0
		for it := d.maps["local_addrs"].Iterate(); it.Next(&key, &value); n++ {
			if !slices.Contains(all, netip.AddrFrom4(key)) {
				t.Errorf("%v is in the map of %v", netip.AddrFrom4(key), addrs)
			}
		}
		for it := d.maps["local_addrs6"].Iterate(); it.Next(&key6, &value); n++ {
			if !slices.Contains(all, netip.AddrFrom16(key6)) {
				t.Errorf("%v is in the map of %v", netip.AddrFrom16(key6), addrs)
			}
		}
		if n != len(addrs) {
			t.Errorf("%d addresses in the map, want %v", n, addrs)
		}
	}
	set("10.1.0.1", "10.1.0.2")
	set("10.1.0.2", "10.1.0.3", "10.1.0.4", "2001:db8::1", "2001:db8::2")
	set("10.1.0.2", "2001:db8::2", "fd00::3")
	set()
}

func TestConfigurationIsChecked(t *testing.T) {
	good := Config{CCL: "c", VTEP: netip.MustParseAddr("10.0.0.1"), Flows: 1, Forwards: 1}
	for name, spoil := range map[string]func(*Config){
		"no flows":    func(c *Config) { c.Flows = 0 },
		"no forwards": func(c *Config) { c.Forwards = 0 },
		"no VTEP":     func(c *Config) { c.VTEP = netip.Addr{} },
		"zone":        func(c *Config) { c.VTEP = netip.MustParseAddr("fe80::1%ccl0") },
		"VNI":         func(c *Config) { c.VNI = 1 << 24 },
		"mode":        func(c *Config) { c.Mode = 3 },
		"no CCL":      func(c *Config) { c.CCL = "" },
		"id 0":        func(c *Config) { c.Interfaces = []Interface{{ID: 0, Device: "a"}} },
		"id 32":       func(c *Config) { c.Interfaces = []Interface{{ID: 32, Device: "a"}} },
		"id twice":    func(c *Config) { c.Interfaces = []Interface{{ID: 1, Device: "a"}, {ID: 1, Device: "b"}} },
		"dev twice":   func(c *Config) { c.Interfaces = []Interface{{ID: 1, Device: "a"}, {ID: 2, Device: "a"}} },
		"CCL as data": func(c *Config) { c.Interfaces = []Interface{{ID: 1, Device: "c"}} },
	} {
		c := good
		spoil(&c)
		if _, err := Open(c); !errors.Is(err, ErrConfig) {
			t.Errorf("%s: %v", name, err)
		}
	}
}
