package docs

import (
	"flag"
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"os"
	"strconv"
	"strings"
	"testing"

	"cohort/bpf"
	"cohort/ccl/seal"
	"cohort/cluster/ownership"
	"cohort/dataplane"
	"cohort/packet"
)

var update = flag.Bool("update", false, "write counters.md instead of comparing it")

// TestMG5_EveryCounterIsDocumented compares counters.md with the counters that
// the code has. Mend it with: go test ./docs -run Counter -update
func TestMG5_EveryCounterIsDocumented(t *testing.T) {
	want := countersPage(t)
	if *update {
		if err := os.WriteFile("counters.md", []byte(want), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	got, err := os.ReadFile("counters.md")
	if err != nil {
		t.Fatal(err)
	}
	if string(got) != want {
		t.Fatalf("counters.md is not what the code says; run: go test ./docs -run Counter -update\n%s", firstDifference(string(got), want))
	}
}

func countersPage(t *testing.T) string {
	var b strings.Builder
	b.WriteString("# Counters and drop reasons\n\n" +
		"Written by `go test ./docs -run Counter -update`; `make test` fails when it is not what the code says.\n\n" +
		"`cohort show counters` shows all that are not zero, `cohort show drops` the drops; `--all` shows the rest too.\n" +
		"Prometheus has them as `cohort_dropped_packets_total{reason}`, `cohort_packets_total{outcome,reason}` (pass, forward, punt)\n" +
		"and `cohort_events_total{kind,name}`.\n\n" +
		"XDP counts every packet once, under one outcome. A packet that it punts to Go is counted there a second time: as `slow_sent`, or\n" +
		"under one `slow_` reason. At rest: punts + `icmp_errors` = `slow_sent` + slow drops. XDP's counters live in a pinned map and survive a restart of the daemon; the others start at zero.\n")
	for _, s := range []struct {
		kind       bpf.Kind
		title, say string
	}{
		{bpf.KindPass, "XDP: passed to the host", "The node's own traffic. Nothing here is forwarded by the kernel: `ip_forward` is off."},
		{bpf.KindForward, "XDP: forwarded", "The fast path."},
		{bpf.KindPunt, "XDP: punted to Go", "The slow path. Not a fault: each connection begins here."},
		{bpf.KindDrop, "XDP: dropped", ""},
	} {
		section(&b, s.title, s.say)
		for _, o := range bpf.Outcomes() {
			if o.Kind() == s.kind {
				row(&b, o.String(), o.Description())
			}
		}
	}

	section(&b, "Slow path: could not be parsed", "The packet is malformed, or of a kind that this version does not forward (VLAN tags, source routes). Of those of fragments "+
		"[a table](fragments.md#what-is-refused) says more.")
	for r := packet.Reject(1); r.String() != "invalid"; r++ {
		row(&b, "slow_"+strings.ReplaceAll(r.String(), "-", "_"), r.Describe())
	}
	section(&b, "Slow path: refused by the role logic", "")
	for _, r := range ownership.Reasons() {
		row(&b, "slow_"+r.String(), r.Describe())
	}
	section(&b, "Slow path: refused by the router", "")
	for _, r := range routerReasons(t) {
		row(&b, "slow_"+r[0], r[1])
	}
	section(&b, "Slow path: could not be sent or received", "")
	for d := dataplane.Sent + 1; !strings.HasPrefix(d.String(), "drop_"); d++ {
		row(&b, "slow_io_"+d.String(), ioMeaning[d.String()])
	}
	for _, name := range []string{"kernel_no_frame", "kernel_ring_full"} {
		row(&b, "slow_io_"+name, ioMeaning[name])
	}
	section(&b, "Other counters", "Kind and name as in `show counters`.")
	for _, e := range events(t) {
		row(&b, e[0]+" "+e[1], e[2])
	}
	b.WriteString("\n## Connections without a confirmed copy\n\n" +
		"`exposed_packets` counts packets, once they have left. How many connections are exposed now, and for how long updates wait, are gauges and\n" +
		"no counters: `cohort show cluster exposure`, and in Prometheus `cohort_connections_unconfirmed{durability}` and its neighbours\n" +
		"([operating](operating.md#looking-at-it)).\n")
	section(&b, "Control link: refused", "Parts of `link_refused`; kind `link`. Why a datagram was not believed ([control link](ccl.md#3-sealed-datagrams-cclseal)).")
	for r := seal.Reflected; r < seal.NumReasons; r++ {
		row(&b, "link_"+r.String(), r.Describe())
	}
	section(&b, "Beats: refused", "Parts of `beats_refused`; kind `link`. As those of the control link, on the port of the [beats](ccl.md#8-beats-hl7).")
	for r := seal.Reflected; r < seal.NumReasons; r++ {
		row(&b, "beats_"+r.String(), r.Describe())
	}
	return b.String()
}

// ioMeaning has a sentence for every reason of dataplane.IO.
var ioMeaning = map[string]string{
	"lease":            "the lease is over or the node is fenced",
	"next_hop":         "the next hop is not valid any more",
	"too_big":          "larger than the MTU towards the next hop, or than the CCL carries",
	"member":           "the node that should get it is not an alive member",
	"hops":             "the packet has crossed the CCL too often",
	"port":             "no socket serves the interface that it should leave by",
	"queue_full":       "the transmit ring is full",
	"no_frame":         "no packet memory left to send from",
	"no_jumbo":         "too many packets larger than a frame at once",
	"malformed":        "XDP handed over something that is not one IPv4 packet",
	"hold_full":        "too many packets wait for a director or a neighbour",
	"kernel_no_frame":  "the socket had no memory for a punted packet; before Linux 6.6 also: the packet is larger than a frame",
	"kernel_ring_full": "the daemon did not empty the receive ring in time",
}

func TestMG5_EverySendReasonHasASentence(t *testing.T) {
	seen := 2 // the kernel's
	for d := dataplane.Sent + 1; !strings.HasPrefix(d.String(), "drop_"); d++ {
		seen++
		if ioMeaning[d.String()] == "" {
			t.Errorf("reason %s has no sentence", d)
		}
	}
	if seen != len(ioMeaning) {
		t.Errorf("%d reasons, %d sentences: one is of a reason that is gone", seen, len(ioMeaning))
	}
}

func section(b *strings.Builder, title, say string) {
	fmt.Fprintf(b, "\n## %s\n\n", title)
	if say != "" {
		fmt.Fprintf(b, "%s\n\n", say)
	}
	b.WriteString("| name | meaning |\n|---|---|\n")
}

func row(b *strings.Builder, name, meaning string) {
	fmt.Fprintf(b, "| `%s` | %s |\n", name, strings.ReplaceAll(meaning, "|", "\\|"))
}

// routerReasons reads the table reasonNames of package node, which only the
// daemon itself can use.
func routerReasons(t *testing.T) (list [][2]string) {
	ast.Inspect(parse(t, "../node/slowpath.go"), func(n ast.Node) bool {
		v, ok := n.(*ast.ValueSpec)
		if !ok || v.Names[0].Name != "reasonNames" {
			return true
		}
		for _, e := range v.Values[0].(*ast.CompositeLit).Elts {
			pair := e.(*ast.KeyValueExpr).Value.(*ast.CompositeLit).Elts
			list = append(list, [2]string{text(pair[0]), text(pair[1])})
		}
		return false
	})
	if len(list) == 0 {
		t.Fatal("node/slowpath.go has no table reasonNames any more")
	}
	return list
}

// events reads the counters that loopCounters of package node adds by name.
func events(t *testing.T) (list [][3]string) {
	collect := func(n ast.Node) bool {
		call, ok := n.(*ast.CallExpr)
		if !ok || len(call.Args) != 4 {
			return true
		}
		if f, ok := call.Fun.(*ast.Ident); !ok || f.Name != "add" {
			return true
		}
		if kind, name := text(call.Args[0]), text(call.Args[1]); kind != "" && name != "" {
			list = append(list, [3]string{kind, name, text(call.Args[3])})
		}
		return true
	}
	ast.Inspect(parse(t, "../node/provider.go"), collect)
	ast.Inspect(parse(t, "../node/fast.go"), collect)
	if len(list) < 10 {
		t.Fatalf("found only %d counters in node/provider.go: they are added in another way now", len(list))
	}
	return list
}

func parse(t *testing.T, file string) *ast.File {
	t.Helper()
	f, err := parser.ParseFile(token.NewFileSet(), file, nil, 0)
	if err != nil {
		t.Fatal(err)
	}
	return f
}

// text returns the value of a string literal, "" for anything else.
func text(e ast.Expr) string {
	l, ok := e.(*ast.BasicLit)
	if !ok || l.Kind != token.STRING {
		return ""
	}
	s, _ := strconv.Unquote(l.Value)
	return s
}

func firstDifference(got, want string) string {
	g, w := strings.Split(got, "\n"), strings.Split(want, "\n")
	for i := range w {
		if i >= len(g) || g[i] != w[i] {
			was := "(end)"
			if i < len(g) {
				was = g[i]
			}
			return fmt.Sprintf("line %d is %q, want %q", i+1, was, w[i])
		}
	}
	return fmt.Sprintf("line %d is too much: %q", len(w)+1, g[len(w)])
}
