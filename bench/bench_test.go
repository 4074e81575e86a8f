package main

import (
	"bytes"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"cohort/bench/stat"
	"cohort/bench/traffic"
	"cohort/flowtable"
	"cohort/testenv/netns"
)

func TestMain(m *testing.M) {
	if isDaemon() {
		if err := runDaemon(os.Args[1:]); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		return
	}
	os.Exit(m.Run())
}

func needRoot(t *testing.T) {
	t.Helper()
	if os.Geteuid() != 0 {
		t.Skip(errNotRoot)
	}
}

// measured runs some parts, small; each part checks by counters that packets
// went the way it says.
func measured(t *testing.T, only ...string) *Report {
	t.Helper()
	needRoot(t)
	r, err := measure(t.Context(), options{parts: only}, planFor(true))
	if err != nil {
		t.Fatal(err)
	}
	return r
}

func TestRolesAndPathAreMeasured(t *testing.T) {
	r := measured(t, "roles", "path")
	if len(r.Roles) != len(roles) {
		t.Errorf("%d roles, want %d", len(r.Roles), len(roles))
	}
	for _, name := range []string{"owner", "forwarder", "forwarder+owner", "linux", "conntrack"} {
		if r.Path.Net[name].N == 0 || r.Path.Whole[name].Median <= 0 {
			t.Errorf("%s: %+v", name, r.Path.Net[name])
		}
	}
	for _, name := range []string{"owner/conntrack", "owner/linux", "forwarder/conntrack"} {
		if r.Path.Ratio[name].N == 0 {
			t.Errorf("no ratio %s", name)
		}
	}
}

func TestConnectionsAndMemoryAreMeasured(t *testing.T) {
	needRoot(t)
	p := planFor(true)
	res, rss, err := measureConnect(t.Context(), 2, p.connect)
	if err != nil {
		t.Fatal(err)
	}
	if res.Connections < uint64(p.connect.connections) || res.PerCPUSecond <= 0 || res.BackupMicros <= 0 {
		t.Errorf("%+v", res)
	}
	if len(rss) != 3 {
		t.Fatalf("memory of %d roles, want 3", len(rss))
	}
	for _, m := range rss {
		if m.Entries == 0 || m.RSS == 0 || m.Mapped == 0 {
			t.Errorf("%+v", m)
		}
	}
}

// TestTranslatedPathIsMeasured: each track checks that its packets went the
// way it is named after, and that the peer tracks exactly these connections.
func TestTranslatedPathIsMeasured(t *testing.T) {
	r := measured(t, "nat-path")
	p := r.NATPath[0]
	for _, name := range []string{"owner", "masquerade", "reply at owner", "steered", "steered+owner", "bare hop"} {
		if p.Net[name].N == 0 || p.Whole[name].Median <= 0 {
			t.Errorf("%s: %+v", name, p.Net[name])
		}
	}
	if p.Ratio["owner/masquerade"].N == 0 || p.Added[wholeHop.name()].N == 0 || p.Added[hop.name()].N == 0 {
		t.Errorf("not compared: %+v, %+v", p.Ratio, p.Added)
	}
}

func TestTranslatedConnectionsAreMeasured(t *testing.T) {
	needRoot(t)
	cfg := planFor(true).natConn
	cfg.nodes, cfg.hosts = 2, 4096
	res, err := measureNATConnect(t.Context(), cfg)
	if err != nil {
		t.Fatal(err)
	}
	if res.Rounds == 0 || res.Daemon.Median <= 0 || res.Masquerade.Median <= 0 || res.Backup.Median <= 0 || res.Ratio.N != res.Rounds {
		t.Errorf("%+v", res)
	}
}

// TestContestsWithLossesNeverCount: what did not arrive was not paid for.
func TestContestsWithLossesNeverCount(t *testing.T) {
	r := &race{cfg: natConnectConfig{rounds: 4}, lanes: [3]*lane{{}, {sent: 7}, {}}}
	one := func(daemon float64, quiet, whole bool) contest {
		return contest{xdp: 1, daemon: daemon, backup: 5, masquerade: 4, quiet: quiet, whole: whole}
	}
	got := r.result([]contest{one(1, true, true), one(90, false, true), one(0.1, true, false)})
	if got.Rounds != 1 || got.Rejected != 2 || got.Disturbed || got.Ratio.Median != 2 || got.RatioInGo.Median != 4 || got.Backup.Median != 5 || got.Connections != 7 {
		t.Errorf("%+v", got)
	}
	got = r.result([]contest{one(7, false, true), one(0.1, true, false)})
	if got.Rounds != 1 || !got.Disturbed || got.Ratio.Median != 0.5 {
		t.Errorf("%+v", got)
	}
}

// Each entry of the largest store that is weighed has a second key of its own.
func TestEveryWeighedEntryHasItsOwnSecondKey(t *testing.T) {
	if _, err := backupBytes(joinedBackup, 1<<20, true); err != nil {
		t.Fatal(err)
	}
}

// TestBytesPerEntry: the sizes of DESIGN 3, index included where it is promised.
func TestBytesPerEntry(t *testing.T) {
	all, err := entryBytes(1 << 12)
	if err != nil {
		t.Fatal(err)
	}
	most := map[string]int{"owner": 128, "forwarder": 48, "backup": 29, translatedBackup: 29, joinedBackup: 34}
	for _, e := range all {
		if e.Slot > most[e.Role] || e.Slot == 0 || e.Total < float64(e.Slot) {
			t.Errorf("%+v, want a slot of at most %d bytes", e, most[e.Role])
		}
	}
	if len(all) != len(most) {
		t.Errorf("%d roles, want %d", len(all), len(most))
	}
}

// All that the scaling benchmark opens is translated: its copies and stubs are weighed
// with their second keys.
func TestDESIGN8_TranslatedConnectionsAreWeighedWithBothKeys(t *testing.T) {
	all, err := entryBytes(1 << 14) // in less than a few shards the last steps of growth weigh
	if err != nil {
		t.Fatal(err)
	}
	bytes := map[string]float64{}
	for _, e := range all {
		bytes[e.Role] = e.Total
	}
	if d := bytes[translatedBackup] - bytes["backup"]; d != 0 {
		t.Errorf("a second key takes %.1f bytes, for which there is room", d)
	}
	if d := bytes[joinedBackup] - bytes[translatedBackup]; d < flowtable.PairBytes || d > 1.3*flowtable.PairBytes {
		t.Errorf("a second way in takes %.1f bytes", d)
	}
	both := ScaleConnections{Owned: 1, Copies: 1, Joined: 1}
	if both.weigh(bytes, false); both.ManyBytes != bytes["owner"]+bytes[joinedBackup] {
		t.Errorf("%.1f bytes a connection whose copy is its stub", both.ManyBytes)
	}
	// docs/scaling.md counts what four nodes keep of a connection: the aim is 0.78.
	counted := ScaleConnections{Owned: 1, Copies: 1, Joined: 0.83, Stubs: 0.17}
	if counted.weigh(bytes, false); counted.Factor < 0.78 {
		t.Errorf("four nodes hold %.3f of what they would alone", counted.Factor)
	}
	r := ScaleConnections{Owned: 1, Copies: 1, Stubs: 1}
	r.weigh(bytes, false)
	if want := bytes["owner"] + 2*bytes[translatedBackup]; r.ManyBytes != want {
		t.Errorf("%.1f bytes a connection, want %.1f", r.ManyBytes, want)
	}
}

func TestReportIsReadable(t *testing.T) {
	one := stat.Of([]float64{1, 2, 3})
	r := Report{
		Environment: environment(),
		Roles:       []RoleResult{{Role: "owner", Flows: 1 << 16, Net: one}},
		Path:        &PathResult{Flows: 5, Net: map[string]stat.Summary{"owner": one}, Ratio: map[string]stat.Summary{"owner/conntrack": one}},
		Connect:     []ConnectResult{{Nodes: 2, Hosts: 4096}, {Nodes: 1}},
		Entries:     []EntryResult{{Role: "owner"}},
		RSS:         []RSSResult{{Role: "owner"}},
		NATPath: []PathResult{
			{Flows: 60_000, Ratio: map[string]stat.Summary{"owner/masquerade": {Median: 0.32}}, Added: map[string]stat.Summary{wholeHop.name(): {Median: 81}, hop.name(): {Median: 79}}},
			{Flows: 1 << 20, Ratio: map[string]stat.Summary{"owner/masquerade": {Median: 0.34}}},
		},
		NATConnect: []NATConnectResult{{Nodes: 2, Ratio: stat.Summary{Median: 2.5}}},
	}
	var out bytes.Buffer
	if err := r.print(&out); err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{"aim 130: met", "aim 0.35: missed", "aim 0.30: missed", "aim 0.35: met", "aim 80, the cable included: missed", "aim 80, without the cable: met", "aim 2.0: met", "2, 4096", "all new", r.Environment.Kernel} {
		if !strings.Contains(out.String(), want) {
			t.Errorf("no %q in\n%s", want, out.String())
		}
	}
	file := filepath.Join(t.TempDir(), "sub", "bench.json")
	if err := r.write(file); err != nil {
		t.Fatal(err)
	}
	b, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	var back Report
	if err := json.Unmarshal(b, &back); err != nil || back.Path.Ratio["owner/conntrack"] != one {
		t.Errorf("%+v, %v", back, err)
	}
}

func TestParse(t *testing.T) {
	if o, err := parse(nil); err != nil || len(o.parts) != len(parts) || o.out == "" {
		t.Errorf("%+v, %v", o, err)
	}
	if _, err := parse([]string{"-only", "roles,nonsense"}); err == nil || !strings.Contains(err.Error(), `"nonsense"`) {
		t.Error(err)
	}
}

// TestDisturbedRoundsAreThrownAway: they count as long as there are enough
// quiet ones.
func TestDisturbedRoundsAreThrownAway(t *testing.T) {
	f := &field{tracks: []*track{{name: "generator"}, {name: "owner"}, {name: "conntrack"}, {name: "linux"}, {name: "forwarder"}, {name: "forwarder+owner"}}}
	f.ratios = []pair{{"owner", "conntrack"}}
	f.added = []difference{{pair{"forwarder+owner", "owner"}, ""}, {pair{"forwarder+owner", "owner"}, "forwarder"}}
	one := func(owner float64, quiet bool) round {
		return round{quiet: quiet, whole: true, ns: map[string]float64{
			"generator": 100, "owner": owner, "conntrack": 1100, "linux": 600, "forwarder": 300, "forwarder+owner": 700,
		}}
	}
	r := &runner{field: f, cfg: pathConfig{rounds: 4}}
	lossy := one(1, true)
	lossy.whole = false
	got := r.result([]round{one(400, true), one(9000, false), lossy, one(420, true), one(380, true), one(400, true)})
	if got.Rejected != 2 || got.Rounds != 4 || got.Disturbed || got.Ratio["owner/conntrack"].Median != 0.3 || got.Added["forwarder+owner - owner"].Median != 300 || got.Added["forwarder+owner - owner - forwarder"].Median != 100 {
		t.Errorf("%+v", got)
	}
	got = r.result([]round{one(400, false), one(500, false), one(600, false)})
	if got.Rejected != 0 || got.Rounds != 3 || !got.Disturbed || got.Ratio["owner/conntrack"].Median != 0.4 {
		t.Errorf("%+v", got)
	}
}

// TestSleepIsNoDisturbance: it is one when somebody else had the CPU, and not
// when the sender waited for the kernel. Nor is the softirq thread somebody else.
func TestSleepIsNoDisturbance(t *testing.T) {
	if s := (spent{ours: 900 * time.Millisecond, queued: 100 * time.Millisecond}); s.disturbed() < 0.099 || s.disturbed() > 0.101 {
		t.Errorf("disturbed %v", s.disturbed())
	}
	m, err := newMeter(lastCPU())
	if err != nil {
		t.Fatal(err)
	}
	// The kernel may be busy with what the test before has left: of several sleeps
	// the quietest tells. Were the sleep counted, it would be in all of them.
	least := time.Duration(1 << 62)
	for range 20 {
		s, err := m.measure(func() error { time.Sleep(50 * time.Millisecond); return nil })
		if err != nil {
			t.Fatal(err)
		}
		least = min(least, s.ours+s.queued)
	}
	if least > 25*time.Millisecond {
		t.Errorf("%v of a sleep of 50 ms are counted", least)
	}
}

// TestSendersStayOnOneCPU: one that moves loses packets, see pin.
func TestSendersStayOnOneCPU(t *testing.T) {
	needRoot(t)
	f, err := newField(traffic.Shape{Flows: 1, Flags: traffic.ACK}, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer f.close()
	for _, ns := range []*netns.Namespace{f.gen, f.far} {
		var set unix.CPUSet
		if err := ns.Do(func() error { return unix.SchedGetaffinity(0, &set) }); err != nil || set.Count() != 1 || !set.IsSet(0) {
			t.Errorf("%s runs on %v, %v", ns.Name(), set, err)
		}
	}
}

// TestLossWhileOpeningIsSeen: the number of tracked connections does not tell
// that a SYN-ACK was lost, and what its client sends later is dropped.
func TestLossWhileOpeningIsSeen(t *testing.T) {
	needRoot(t)
	f, err := newField(traffic.Shape{Flows: 128, UDP: true, Flags: traffic.ACK}, lastCPU())
	if err != nil {
		t.Fatal(err)
	}
	defer f.close()
	p, err := f.linuxRouter("lossy")
	if err != nil {
		t.Fatal(err)
	}
	if err := nft(p.ns, "table inet lossy { chain forward { type filter hook forward priority -1; tcp flags syn,ack / syn,ack drop; }; }\n"+ruleset); err != nil {
		t.Fatal(err)
	}
	track, err := f.add("lossy", p.near, p.in, p.far, false)
	if err != nil {
		t.Fatal(err)
	}
	if err := f.establish(track, p); err == nil || !strings.Contains(err.Error(), "SYN-ACK: 64 of 128 arrived") {
		t.Error(err)
	}
	if err := track.check(); err != nil {
		t.Errorf("the count alone: %v", err)
	}
}
