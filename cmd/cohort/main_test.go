package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"go.uber.org/goleak"

	"cohort/api"
	"cohort/api/apitest"
	"cohort/config"
)

var update = flag.Bool("update", false, "rewrite the golden files")

func TestMain(m *testing.M) {
	time.Local = time.UTC // golden files show local time
	goleak.VerifyTestMain(m)
}

// serve runs a daemon's API for node and returns its socket.
func serve(t *testing.T, node api.Provider) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "fw.sock")
	l, err := api.Listen(path)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- api.NewServer(node, nil).Run(ctx, l) }()
	t.Cleanup(func() {
		cancel()
		if err := <-done; err != nil {
			t.Errorf("server: %v", err)
		}
	})
	return path
}

// run runs the command line and returns what it prints.
func run(t *testing.T, args ...string) (string, error) {
	t.Helper()
	var out bytes.Buffer
	root := newRoot(&out)
	root.SetArgs(args)
	root.SetErr(&out)
	err := root.ExecuteContext(t.Context())
	return out.String(), err
}

func golden(t *testing.T, name, got string) {
	t.Helper()
	path := filepath.Join("testdata", name)
	if *update {
		if err := os.WriteFile(path, []byte(got), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(string(want), got); diff != "" {
		t.Errorf("%s: %s", name, diff)
	}
}

func TestMG1_Shows(t *testing.T) {
	socket := serve(t, apitest.Example())
	for name, args := range map[string]string{
		"info":         "show cluster info",
		"history":      "show cluster history",
		"health":       "show cluster health",
		"packets":      "show cluster packet-distribution",
		"exposure":     "show cluster exposure",
		"conn":         "show conn",
		"conn-owner":   "show conn --role owner --address 10.1.0.0/24 --port 443 --protocol tcp",
		"conn-limit":   "show conn --limit 2",
		"conn-none":    "show conn --port 9",
		"conn-count":   "show conn --count",
		"counters":     "show counters",
		"counters-all": "show counters --all",
		"drops":        "show drops",
		"drops-all":    "show drops --all",
		"interfaces":   "show interfaces",
		"pools":        "show nat pool",
		"pool-egress":  "show nat pool egress",
		"pool-direct":  "show nat pool direct",
		"xlate":        "show xlate",
		"xlate-local":  "show xlate --local --pool egress --address 203.0.113.10 --port 6001 --protocol udp --role owner",
		"xlate-limit":  "show xlate --limit 1",
	} {
		args := append(strings.Fields(args), "--socket", socket)
		got, err := run(t, args...)
		if err != nil {
			t.Errorf("%s: %v", name, err)
			continue
		}
		golden(t, name+".txt", got)
		got, err = run(t, append(args, "-o", "json")...)
		if err != nil {
			t.Errorf("%s as json: %v", name, err)
			continue
		}
		if !json.Valid([]byte(got)) {
			t.Errorf("%s: not JSON: %s", name, got)
		}
		golden(t, name+".json", got)
	}
}

func TestEmptyListsAreListsInJSON(t *testing.T) {
	socket := serve(t, &apitest.Node{})
	for _, what := range []string{"cluster history", "conn", "counters", "drops", "interfaces", "nat pool", "xlate"} {
		args := append(append([]string{"show"}, strings.Fields(what)...), "-o", "json", "--socket", socket)
		if got, err := run(t, args...); got != "[]\n" || err != nil {
			t.Errorf("%s: %q, %v", what, got, err)
		}
	}
}

func TestHealthSaysWhenTheLeaseHasEnded(t *testing.T) {
	node := apitest.Example()
	node.Condition.LeaseMS = -61_000
	got, err := run(t, "show", "cluster", "health", "--socket", serve(t, node))
	if err != nil || !strings.Contains(got, "forwards nothing: its lease ended 1m1s ago\n") {
		t.Errorf("HL5: %v %s", err, got)
	}
}

// A million connections pass through page by page; three pages show it.
func TestLongTablesArePrintedInPages(t *testing.T) {
	node := apitest.Example()
	c := node.Held[0]
	node.Held = nil
	for i := range 2500 {
		c.Source = netip.AddrPortFrom(c.Source.Addr(), uint16(10000+i))
		node.Held = append(node.Held, c)
	}
	socket := serve(t, node)
	got, err := run(t, "show", "conn", "--limit", "0", "--socket", socket)
	if err != nil {
		t.Fatal(err)
	}
	if heads, lines := strings.Count(got, "ROLE"), strings.Count(got, "\n"); heads != 3 || lines != 2503 {
		t.Errorf("%d heads in %d lines, want 3 in 2503", heads, lines)
	}
	got, err = run(t, "show", "conn", "--socket", socket)
	if err != nil || !strings.HasSuffix(got, "\nthere are more than these 1,000; use filters or --limit 0\n") {
		t.Errorf("%v: %s", err, got[max(0, len(got)-200):])
	}
	got, err = run(t, "show", "conn", "-o", "json", "--socket", socket)
	var all []api.Conn
	if err != nil || json.Unmarshal([]byte(got), &all) != nil || len(all) != 2500 {
		t.Errorf("json has %d connections, %v", len(all), err)
	}
}

func TestMistakesGetOneLine(t *testing.T) {
	dir := t.TempDir()
	absent := filepath.Join(dir, "absent.sock")
	dead := filepath.Join(dir, "dead.sock")
	l, err := net.ListenUnix("unix", &net.UnixAddr{Name: dead, Net: "unix"})
	if err != nil {
		t.Fatal(err)
	}
	l.SetUnlinkOnClose(false)
	l.Close()
	starting := apitest.Example()
	starting.Err = errors.New("the node is starting")
	socket := serve(t, starting)
	good, empty := serve(t, apitest.Example()), serve(t, &apitest.Node{})
	without := serve(t, struct{ api.Provider }{apitest.Example()})

	for args, want := range map[string]string{
		"show cluster info --socket " + absent:        "there is no socket " + absent + ": is cohortd running? (--socket names another)",
		"show conn --socket " + dead:                  "nobody serves the socket " + dead + ": is cohortd running?",
		"show conn --socket " + socket:                "ask cohortd at " + socket + ": the node is starting",
		"shwo":                                        `unknown command "shwo" for cohort; did you mean show?`,
		"show clutser":                                `unknown command "clutser" for cohort show; did you mean cluster?`,
		"show everything":                             `unknown command "everything" for cohort show; see cohort show --help`,
		"show":                                        "show what? cluster, conn, counters, drops, interfaces, nat, xlate",
		"show cluster":                                "show cluster what? exposure, health, history, info, packet-distribution",
		"show cluster info now":                       `cohort show cluster info takes no argument "now"`,
		"show drops -o yaml":                          `output "yaml" is not known; write -o table or -o json`,
		"show conn --port http":                       `port "http" is not a number from 1 to 65535`,
		"show conn --address 10.1":                    `address "10.1" is neither an address nor a network; write 10.1.0.5 or 10.1.0.0/16`,
		"show conn --role king":                       `role "king" is not owner, director, backup, forwarder or stub`,
		"show nat":                                    "show nat what? pool",
		"show nat pool egress direct":                 "cohort show nat pool takes one name; write cohort show nat pool egress",
		"show nat pool egres --socket " + good:        `there is no pool "egres"; there are: egress, direct`,
		"show nat pool x --socket " + empty:           `there is no pool "x"; there are: none`,
		"show nat pool --socket " + without:           "ask cohortd at " + without + ": nat is not configured",
		"show xlate --socket " + without:              "ask cohortd at " + without + ": nat is not configured",
		"show xlate --role king":                      `role "king" is not owner, director, backup, forwarder or stub`,
		"show xlate --limit -1":                       "limit -1 is negative; write --limit 0 for all",
		"show conn --protocol 300":                    `protocol "300" is not tcp, udp, icmp or a number from 0 to 255`,
		"show conn --limit -1":                        "limit -1 is negative; write --limit 0 for all",
		"show conn --sockt x":                         "unknown flag: --sockt",
		"keygen":                                      "keygen needs one file; write cohort keygen /etc/cohort/cluster.key",
		"check-config":                                "check-config needs a file; write cohort check-config /etc/cohort/node.yaml",
		"check-config " + filepath.Join(dir, "n.yml"): "1 of 1 files cannot be used",
	} {
		_, err := run(t, strings.Fields(args)...)
		if err == nil || err.Error() != want {
			t.Errorf("%s: %v, want %s", args, err, want)
		}
	}
}

func TestTheOnlySocketIsFound(t *testing.T) {
	t.Setenv("COHORT_SOCKET", "")
	dir := t.TempDir()
	o := &options{}
	if _, err := o.findSocket(dir); err == nil || err.Error() != "there is no socket in "+dir+": is cohortd running? (--socket names another place)" {
		t.Errorf("no socket: %v", err)
	}
	one, two := filepath.Join(dir, "a.sock"), filepath.Join(dir, "b.sock")
	touch := func(path string) {
		if err := os.WriteFile(path, nil, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	touch(one)
	if got, err := o.findSocket(dir); got != one || err != nil {
		t.Errorf("one socket: %q, %v", got, err)
	}
	touch(two)
	if _, err := o.findSocket(dir); err == nil || err.Error() != "several nodes run here; choose one with --socket: "+one+", "+two {
		t.Errorf("two sockets: %v", err)
	}
	t.Setenv("COHORT_SOCKET", "/from/environment")
	if got, err := o.findSocket(dir); got != "/from/environment" || err != nil {
		t.Errorf("environment: %q, %v", got, err)
	}
	o.socket = "/from/flag"
	if got, err := o.findSocket(dir); got != "/from/flag" || err != nil {
		t.Errorf("flag: %q, %v", got, err)
	}
}

func TestKeygenAndCheckConfig(t *testing.T) {
	dir := t.TempDir()
	key := filepath.Join(dir, "cluster.key")
	if got, err := run(t, "keygen", key); err != nil || got != key+": a new cluster key; copy it to every node over a safe channel\n" {
		t.Fatalf("%q, %v", got, err)
	}
	first, err := config.LoadKeys(key)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := run(t, "keygen", key); !errors.Is(err, os.ErrExist) {
		t.Errorf("a second keygen: %v", err)
	}
	if again, err := config.LoadKeys(key); again.Link[0] != first.Link[0] || err != nil {
		t.Errorf("the key changed, %v", err)
	}
	for step, want := range []string{"--add", "--use", "--drop"} {
		got, err := run(t, "keygen", want, key)
		if err != nil || !strings.HasPrefix(got, key+": seals with key ") || strings.Contains(got, " and ") != (step < 2) {
			t.Errorf("keygen %s: %q, %v", want, got, err)
		}
	}
	if _, err := run(t, "keygen", "--add", "--drop", key); err == nil {
		t.Error("two steps at once")
	}
	if last, err := config.LoadKeys(key); err != nil || last.Link[0] == first.Link[0] || last.Seed != first.Seed {
		t.Errorf("after all steps: %v", err)
	}

	node, cluster := filepath.Join(dir, "node.yaml"), filepath.Join(dir, "cluster.yaml")
	text := strings.NewReplacer("/etc/cohort/", dir+"/").Replace(config.ExampleNode)
	for path, text := range map[string]string{node: text, cluster: config.ExampleCluster} {
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	got, err := run(t, "check-config", node, cluster)
	if want := node + ": bootstrap file, good\n" + cluster + ": cluster configuration, good\n"; got != want || err != nil {
		t.Errorf("%v %q, want %q", err, got, want)
	}

	bad := strings.Replace(config.ExampleCluster, "action: deny", "action: drop", 1)
	if err := os.WriteFile(cluster, []byte(bad), 0o600); err != nil {
		t.Fatal(err)
	}
	line := 1 + strings.Count(bad[:strings.Index(bad, "action: drop")], "\n")
	got, err = run(t, "check-config", node, cluster)
	want := strings.Repeat(cluster+":"+fmt.Sprint(line)+": policy.rules[3].action drop is not one of allow, deny; write action: allow\n", 2)
	if got != want || err == nil || err.Error() != "2 of 2 files cannot be used" {
		t.Errorf("%v %q, want %q", err, got, want)
	}
}

func TestUnitsForPeople(t *testing.T) {
	for ms, want := range map[int64]string{
		0: "0ms", 999: "999ms", 1000: "1.0s", 9999: "9.9s", 10_000: "10s", 59_999: "59s", 60_000: "1m0s",
		3_599_999: "59m59s", 3_600_000: "1h0m", 86_400_000: "1d0h", 200_000_000: "2d7h", -1500: "-1.5s",
	} {
		if got := ago(ms); got != want {
			t.Errorf("%d ms: %s, want %s", ms, got, want)
		}
	}
	for n, want := range map[int]string{0: "0", 999: "999", 1000: "1,000", 1234567: "1,234,567", -1000: "-1,000", -100: "-100"} {
		if got := thousands(n); got != want {
			t.Errorf("%d: %s, want %s", n, got, want)
		}
	}
	for n, want := range map[uint64]string{0: "0 B", 999: "999 B", 1000: "1.0 kB", 999_949: "999.9 kB", 999_950: "1.0 MB", 18446744073709551615: "18.4 EB"} {
		if got := size(n); got != want {
			t.Errorf("%d: %s, want %s", n, got, want)
		}
	}
}

// What a reload led to is one line that says what is to be done next.
func TestNT7_ReloadSaysWhatIsNext(t *testing.T) {
	for want, r := range map[string]api.Reload{
		"configuration 1a2b3c4d runs":                                                                                           {Config: "1a2b3c4d", State: api.ReloadRuns},
		"configuration 1a2b3c4d runs already; nothing else is prepared":                                                         {Config: "1a2b3c4d", State: api.ReloadSame},
		"configuration 1a2b3c4d is prepared; it runs when these have reloaded it too: fw-b, fw-c":                               {Config: "1a2b3c4d", State: api.ReloadPrepared, Waiting: []string{"fw-b", "fw-c"}},
		"configuration 1a2b3c4d runs already; nothing else is prepared\nthe control link seals and opens with key f3 only":      {Config: "1a2b3c4d", State: api.ReloadSame, Keys: []string{"f3"}},
		"configuration 1a2b3c4d runs already; nothing else is prepared\nthe control link seals with key 0a and opens 0a and f3": {Config: "1a2b3c4d", State: api.ReloadSame, Keys: []string{"0a", "f3"}},
		"configuration 1a2b3c4d is prepared, everywhere: it runs as soon as the control node hears so":                          {Config: "1a2b3c4d", State: api.ReloadPrepared},
	} {
		if got := outcome(r); got != want {
			t.Errorf("%+v: %q, want %q", r, got, want)
		}
	}
}
