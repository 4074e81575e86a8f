package membership

import (
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"cohort/ccl/wire"
)

var update = flag.Bool("update", false, "rewrite the transcripts in testdata")

// TestScripts runs the scenarios of testdata. Lines that begin with ">" are
// commands, with "#" comments; the rest is what happened, and must happen
// again. See command for the language.
func TestScripts(t *testing.T) {
	files, err := filepath.Glob("testdata/*.txt")
	if err != nil || len(files) < 10 {
		t.Fatalf("%d scripts, %v", len(files), err)
	}
	for _, file := range files {
		t.Run(strings.TrimSuffix(filepath.Base(file), ".txt"), func(t *testing.T) {
			want, err := os.ReadFile(file)
			if err != nil {
				t.Fatal(err)
			}
			n := newNetwork(1)
			var got strings.Builder
			for _, line := range strings.Split(strings.TrimSpace(string(want)), "\n") {
				if line == "" && strings.HasSuffix(got.String(), "\n\n") {
					continue
				}
				if line != "" && line[0] != '>' && line[0] != '#' {
					continue
				}
				fmt.Fprintln(&got, line)
				if cmd, ok := strings.CutPrefix(line, "> "); ok {
					n.command(t, strings.Fields(cmd))
					got.WriteString(n.log.String())
					n.log.Reset()
				}
			}
			for _, b := range n.broken {
				t.Error(b)
			}
			if *update {
				if err := os.WriteFile(file, []byte(got.String()), 0o644); err != nil {
					t.Fatal(err)
				}
				return
			}
			if diff := cmp.Diff(strings.Split(string(want), "\n"), strings.Split(got.String(), "\n")); diff != "" {
				t.Errorf("transcript differs (-want +got):\n%s", diff)
			}
		})
	}
}

// command runs one line:
//
//	nodes a b:20 c:30     declare nodes, priority after the colon (default 10, 20, ...)
//	ghost 3               three more configured peers that never exist
//	set a version=2 ...   change a node's configuration: version, mtu, cluster, serial, tier, cpus, connections, quick, hold
//	start a b             boot with an empty flow table (again after kill: a new incarnation)
//	run 3s                let time pass
//	cut a,b c | cut a>b   no packets between the groups | from a to b
//	heal                  every link works
//	kill a, pause a, unpause a, resume a (hitless restart), leave a, rejoin a
//	join a, create a      rejoin, only an existing cluster | without waiting for silent peers
//	prepare a b config=7  be ready for another configuration
//	remove a 3 cause      on node a, as the control node
//	down a 1 2 | up a 1   interfaces of a fail | work again
//	grace a | settle a    a has just joined | is to be judged by its interfaces
//	narrow a b c          full-sized packets of a do not reach b and c | narrow a: they reach everybody
//	drain a | undrain a
//	promote a c, expel a c, ask a c, break a    an operator's order, said to a; who is asked drains
//	absent a c            a's transport says that c's address is unreachable
//	show                  the state of every node
func (n *network) command(t *testing.T, f []string) {
	t.Helper()
	each := func(do func(*testNode)) {
		for _, name := range f[1:] {
			do(n.node(name))
		}
	}
	switch f[0] {
	case "nodes":
		for i, name := range f[1:] {
			name, prio, _ := strings.Cut(name, ":")
			p, err := strconv.Atoi(prio)
			if err != nil {
				p = 10 * (i + 1)
			}
			n.add(name, uint8(p))
		}
		n.connect()
	case "ghost":
		count, _ := strconv.Atoi(f[1])
		for _, node := range n.nodes {
			for i := range count {
				node.cfg.Peers = append(node.cfg.Peers, vtep(200+i))
			}
		}
	case "set":
		for _, kv := range f[2:] {
			k, v, _ := strings.Cut(kv, "=")
			n.set(t, n.node(f[1]), k, v)
		}
	case "start":
		each((*testNode).boot)
	case "resume":
		each((*testNode).resume)
	case "kill":
		each((*testNode).kill)
	case "pause":
		each((*testNode).pause)
	case "unpause":
		each((*testNode).unpause)
	case "leave":
		each(func(o *testNode) { o.do(func() { o.m.Leave(n.now, "left") }); o.lease = 0 })
	case "rejoin", "join", "create":
		mode := map[string]Mode{"rejoin": Auto, "join": Join, "create": Create}[f[0]]
		each(func(o *testNode) {
			o.cfg.Self.Incarnation, o.applied = n.newLife(), nil
			o.do(func() {
				if err := o.m.RejoinAs(n.now, o.cfg.Self.Incarnation, mode); err != nil {
					t.Fatal(err)
				}
			})
		})
	case "prepare":
		_, config, _ := strings.Cut(f[len(f)-1], "=")
		number, _ := strconv.ParseUint(config, 10, 32)
		for _, name := range f[1 : len(f)-1] {
			o := n.node(name)
			o.cfg.Running = number << 32 // what the next process finds in the file
			o.do(func() {
				if o.m.Prepare(n.now, number<<32) {
					fmt.Fprintf(&n.log, "%s runs it\n", name)
				}
			})
		}
	case "run":
		d, err := time.ParseDuration(f[1])
		if err != nil {
			t.Fatal(err)
		}
		n.run(d)
	case "cut":
		n.cut(f[1:])
	case "heal":
		n.heal()
	case "remove":
		id, _ := strconv.Atoi(f[2])
		o := n.node(f[1])
		o.do(func() {
			if err := o.m.Remove(n.now, wire.NodeID(id), wire.CauseOperator, strings.Join(f[3:], " ")); err != nil {
				fmt.Fprintf(&n.log, "error: %v\n", err)
			}
		})
	case "down", "up":
		o := n.node(f[1])
		for _, id := range f[2:] {
			i, _ := strconv.Atoi(id)
			if o.down &^= 1 << i; f[0] == "down" {
				o.down |= 1 << i
			}
		}
		o.report()
	case "grace", "settle":
		each(func(o *testNode) { o.grace = f[0] == "grace"; o.report() })
	case "narrow":
		o := n.node(f[1])
		o.narrow = nil
		for _, name := range f[2:] {
			o.narrow = append(o.narrow, n.node(name))
		}
		o.do(o.measure)
	case "drain", "undrain":
		each(func(o *testNode) { o.do(func() { o.m.Drain(n.now, f[0] == "drain") }) })
	case "promote", "expel", "ask", "break":
		o := n.node(f[1])
		o.do(func() {
			var err error
			switch f[0] {
			case "promote":
				err = o.m.Promote(n.now, f[2])
			case "expel":
				err = o.m.Expel(n.now, f[2])
			case "ask":
				err = o.m.AskDrain(n.now, f[2])
			case "break":
				err = o.m.Break(n.now)
			}
			if err != nil {
				fmt.Fprintf(&n.log, "error: %v\n", err)
			}
		})
	case "absent":
		o := n.node(f[1])
		o.do(func() { o.m.Absent(n.now, n.node(f[2]).cfg.Self.VTEP) })
	case "show":
		n.show()
	default:
		t.Fatalf("unknown command %v", f)
	}
}

func (n *network) set(t *testing.T, o *testNode, k, v string) {
	t.Helper()
	switch k {
	case "version":
		o.cfg.Version = v
	case "cluster":
		o.cfg.Cluster = v
	case "serial":
		o.cfg.Self.Serial = v
	case "interfaces":
		o.cfg.Interfaces = strings.Split(v, ",")
	case "mtu":
		mtu, _ := strconv.Atoi(v)
		o.cfg.DataMTU = uint16(mtu)
	case "config":
		number, _ := strconv.ParseUint(v, 10, 32)
		o.cfg.Running = number << 32
	case "narrow":
		o.cfg.RemoveNarrow = v == "remove"
	case "tier":
		o.cfg.Tier.Label = v
	case "cpus":
		cpus, _ := strconv.ParseUint(v, 10, 16)
		o.cfg.Tier.CPUs = uint16(cpus)
	case "connections":
		size, _ := strconv.ParseUint(v, 10, 32)
		o.cfg.Tier.Connections = uint32(size)
	case "quick":
		o.cfg.QuickWait, _ = time.ParseDuration(v)
	case "hold":
		o.cfg.Hold, _ = time.ParseDuration(v)
	default:
		t.Fatalf("unknown setting %s", k)
	}
}

func (n *network) cut(f []string) {
	if a, b, oneWay := strings.Cut(f[0], ">"); oneWay {
		for _, from := range strings.Split(a, ",") {
			for _, to := range strings.Split(b, ",") {
				n.cuts[[2]*testNode{n.node(from), n.node(to)}] = true
			}
		}
		return
	}
	for i := range f {
		for j := range f {
			if i == j {
				continue
			}
			for _, a := range strings.Split(f[i], ",") {
				for _, b := range strings.Split(f[j], ",") {
					n.cuts[[2]*testNode{n.node(a), n.node(b)}] = true
				}
			}
		}
	}
}

func (n *network) show() {
	for _, o := range n.nodes {
		if !o.running || o.paused {
			fmt.Fprintf(&n.log, "  %s: not running, fast path forwards: %v\n", o.cfg.Self.Name, o.lease > n.now)
			continue
		}
		s := o.m.Status(n.now)
		line := fmt.Sprintf("  %s: %s", o.cfg.Self.Name, StateName(s.State))
		if s.View != nil {
			line += " in " + ViewName(s.View.Term, s.View.Epoch) + ","
			for _, m := range s.View.Members {
				line += fmt.Sprintf(" %d=%s", m.ID, m.Name)
				if m.ID == s.View.Control {
					line += "*"
				}
				if s.View.Drains(m.ID) {
					line += "(draining)"
				}
			}
		}
		if s.Doubt {
			line += ", in doubt"
		}
		if s.Running != 0 || s.Prepared != 0 {
			line += ", runs " + ConfigName(s.Running)
		}
		if s.Prepared != 0 {
			line += ", prepared " + ConfigName(s.Prepared)
		}
		if len(s.Unready) > 0 {
			line += ", waiting for " + strings.Join(s.Unready, " ")
		}
		if s.Refused != "" {
			line += ", refused: " + s.Refused
		}
		for _, w := range s.Narrow {
			line += fmt.Sprintf(", narrow: %s-%s", w.Name, w.To)
			if w.All {
				line += " (all)"
			}
		}
		fmt.Fprintf(&n.log, "%s, forwards: %v\n", line, o.lease > n.now)
	}
}
