package campaign

import (
	"fmt"
	"net"
	"net/netip"
	"os/exec"
	"runtime"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/vishvananda/netlink"

	"cohort/api"
	"cohort/testenv/line"
	"cohort/testenv/topology"
)

// threadbare is what a node receives from the control link's switch, which trusts
// DSCP. The link is real-time programs on the CPUs that the test fills: a faster one
// would be busier than full.
var threadbare = line.Fault{Rate: 400_000, Classes: true}

// flooder sends every node twice what its control link carries, from a machine on
// the link's switch that is no member, until stop, which waits. Through the cluster
// it would prove little: of an established flow next to nothing crosses the link.
func flooder(l *lab) (stop func(), err error) {
	from, err := l.StrangerOnCCL()
	if err != nil {
		return nil, err
	}
	dev, err := from.Netlink().LinkByName(topology.StrangerIface)
	if err != nil {
		return nil, err
	}
	address, err := netlink.ParseAddr("10.99.0.250/24")
	if err != nil {
		return nil, err
	}
	if err := from.Netlink().AddrAdd(dev, address); err != nil {
		return nil, err
	}
	const size, discard = 1400, 9
	var conns []*net.UDPConn
	var ended sync.WaitGroup
	quit := make(chan struct{})
	stop = sync.OnceFunc(func() {
		close(quit)
		ended.Wait()
		for _, c := range conns {
			c.Close()
		}
	})
	for _, n := range l.Nodes {
		c, err := from.DialUDP(netip.AddrPortFrom(n.CCL, discard))
		if err != nil {
			stop()
			return nil, err
		}
		conns = append(conns, c)
	}
	ended.Go(func() {
		packet := make([]byte, size)
		tick := time.NewTicker(5 * time.Millisecond)
		defer tick.Stop()
		for began, sent := time.Now(), 0; ; {
			for due := int(time.Since(began).Seconds() * float64(2*threadbare.Rate) / size); sent < due; sent++ {
				for _, c := range conns {
					_, _ = c.Write(packet) // nobody is at that port, and some hosts say so
				}
			}
			select {
			case <-tick.C:
			case <-quit:
				return
			}
		}
	})
	return stop, nil
}

// hostLimit is a time without CPU that leaves a node no chance: its lease ends, and
// with the next beat the others have missed three.
const hostLimit = 80 * time.Millisecond

// HL7: with no CPU idle and every control link offered twice what it carries, nobody
// is taken for dead in the fast profile. ROUNDS are minutes. What fills the CPUs is
// programs of ordinary priority; the links, which in a rack are not made of the nodes'
// CPUs, are processes above them.
func TestHL7_NobodyIsRemovedAtFullLoad(t *testing.T) {
	lasting := time.Duration(size(5, 600)) * time.Second
	if *rounds > 0 {
		lasting = time.Duration(*rounds) * time.Minute
	}
	l := newLab(t, topology.Config{HoldTime: 3 * time.Second, Health: "profile: fast", LinesApart: true}, lasting+2*time.Minute)
	o := openLoad(t, l, loadSize{idle: 32, busy: 2, streams: 4, every: 20 * time.Millisecond, timeout: time.Minute})
	l.protected(t, o.keys())
	s := &scene{lab: l}
	for _, n := range l.Nodes {
		ccl, err := n.LineCCL(uint64(n.Index))
		if err != nil {
			t.Fatal(err)
		}
		if err := ccl.Set(topology.NodeReceives, threadbare); err != nil {
			t.Fatal(err)
		}
	}
	quiet, err := flooder(l)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(quiet)
	s.undo = append(s.undo, quiet)
	t.Cleanup(func() { _ = emptyLinks(s, nil) })
	before, began := l.counters(t), time.Now() // a cable was exchanged: what was lost then does not count
	idle, err := idleTicks()
	if err != nil {
		t.Fatal(err)
	}
	host := watchHost(t)
	stop := spin(t, lasting+time.Minute)
	select {
	case <-time.After(lasting):
	case <-l.ctx.Done():
		t.Fatal(l.ctx.Err())
	}
	idleNow, err := idleTicks()
	if err != nil {
		t.Fatal(err)
	}
	taken := host()
	if taken >= hostLimit && !*full {
		t.Skipf("the host of this machine took its CPUs away for %v: whoever stands still for that long is rightly removed", taken)
	}
	links, err := linesProof(s)
	if err != nil {
		t.Errorf("the links were not full: %v", err)
	}
	for _, n := range l.Nodes {
		ccl, err := n.LineCCL(0) // as above
		if err != nil {
			t.Fatal(err)
		}
		if c := ccl.Counters(topology.NodeReceives); c.Full < c.Delivered/4 {
			t.Errorf("the link to %s was not full all the time: %+v", n.Name, c)
		}
	}
	stop()
	const hz = 100 // USER_HZ, of amd64
	share := float64(idleNow-idle) / hz / time.Since(began).Seconds() / float64(runtime.NumCPU())
	if share > 0.1 {
		t.Errorf("CPUs were idle for %.1f %% of the time: that proves nothing", 100*share)
	}
	views, doubts, worst, late := 0, 0, 0.0, uint64(0)
	var stages [3]api.PulseStage
	for _, n := range l.Nodes {
		events, err := n.API().History(l.ctx)
		if err != nil {
			t.Fatal(err)
		}
		if _, more := applied(events, began); more > 0 {
			views += more
			t.Errorf("%s: %d views while everybody lived: %+v", n.Name, more, events)
		}
		for _, e := range events {
			if e.Time.After(began) && strings.HasPrefix(e.Cause, "did not run") {
				doubts++
			}
		}
		h, err := n.API().Health(l.ctx)
		if err != nil {
			t.Fatal(err)
		}
		if h.Pulse == nil || !h.Pulse.Realtime {
			t.Fatalf("%s: pulse %+v: it needs real-time priority", n.Name, h.Pulse)
		}
		worst = max(worst, h.Pulse.WorstMS)
		for i, s := range h.Pulse.Stages {
			stages[i].Stage = s.Stage
			stages[i].P99MS, stages[i].WorstMS = max(stages[i].P99MS, s.P99MS), max(stages[i].WorstMS, s.WorstMS)
		}
	}
	counters := l.counters(t)
	for name := range counters {
		counters[name] -= before[name]
	}
	late = counters["beats_late"]
	if err := emptyLinks(s, nil); err != nil {
		t.Fatal(err)
	}
	lost := append(o.idle.Finish(), o.busy.Finish()...)
	if len(lost) > 0 {
		t.Errorf("lost connections: %v", lost)
	}
	sent := counters["beats_sent"]
	r := NewResult("fast-full-load", *command)
	r.Add("lasted", lasting, "")
	r.Add("CPUs idle", fmt.Sprintf("%.1f %%", 100*share), "max 10 %")
	r.Add("longest time for which the host took a CPU away", taken.Round(100*time.Microsecond), "")
	r.Add("control links", links, "")
	r.Add("views that followed, of all nodes", views, "0")
	r.Add("times that a node found its own lease over", doubts, "")
	r.Add("established TCP connections / lost", fmt.Sprintf("%d / %d", len(o.keys())-len(o.streams.flows), len(lost)), "0 lost")
	r.Add("beats to all, of all nodes", sent, "")
	r.Add("beats that came more than 75 ms after the one before", late, "")
	for _, s := range stages {
		r.Add("- of them, most of the time lost in the "+s.Stage, counters["beats_late_"+s.Stage], "")
	}
	r.Add("- of them, because beats before were lost", counters["beats_late_lost"], "")
	for _, s := range stages {
		r.Add("late in the "+s.Stage+": 99 % / all", fmt.Sprintf("%.1f / %.1f ms", s.P99MS, s.WorstMS), "")
	}
	r.Add("beats lost", counters["beats_lost"], "")
	r.Add("latest wake-up of a pulse (0: none was 5 ms late)", fmt.Sprintf("%.1f ms", worst), "")
	finish(t, r)
}

// spin keeps all CPUs busy until stop, or until limit has passed or this process is
// dead.
func spin(t *testing.T, limit time.Duration) (stop func()) {
	t.Helper()
	var all []*exec.Cmd
	stop = func() {
		for _, cmd := range all {
			_ = syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL)
			_ = cmd.Wait()
		}
		all = nil
	}
	t.Cleanup(stop)
	for range 2 * runtime.NumCPU() {
		cmd := exec.Command("timeout", fmt.Sprint(int(limit.Seconds())), "sh", "-c", "while :; do :; done")
		cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		all = append(all, cmd)
	}
	return stop
}
