package heart

import (
	"context"
	"errors"
	"net/netip"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/vishvananda/netlink"
	"go.uber.org/zap"
	"golang.org/x/sys/unix"

	"cohort/ccl"
	"cohort/ccl/seal"
	"cohort/ccl/wire"
	"cohort/cluster/pulse"
	"cohort/dataplane"
	"cohort/node/realtime"
	"cohort/testenv/netns"
)

func TestMain(m *testing.M) {
	if len(os.Args) == 2 && os.Args[1] == Arg {
		os.Exit(Main())
	}
	os.Exit(m.Run())
}

const ms = int64(time.Millisecond)

var (
	here  = netip.MustParsePrefix("10.99.0.1/24")
	there = netip.MustParsePrefix("10.99.0.2/24")
	key   = seal.Key{ID: 1, Secret: [32]byte{1}}
)

// body is a heart that runs, the daemon's end of it, and the beats of a peer.
type body struct {
	*Process
	t     *testing.T
	lease *dataplane.Lease
	wake  int
	pid   string // file
	end   context.CancelFunc
	ended chan error

	peer   *ccl.Beats
	answer bool // beats of the peer go on
	heard  []wire.Beat
	at     []int64
}

// newBody starts a heart of life 7 whose event loop goes round and may forward.
func newBody(t *testing.T) *body {
	t.Helper()
	if os.Geteuid() != 0 {
		t.Skip("needs root")
	}
	tag, err := netns.NewTag()
	must(t, err)
	var spaces [2]*netns.Namespace
	for i := range spaces {
		spaces[i], err = netns.New(tag.Name("n" + strconv.Itoa(i)))
		must(t, err)
		t.Cleanup(func() { must(t, spaces[i].Close()) })
	}
	must(t, spaces[0].Do(func() error {
		v := &netlink.Veth{LinkAttrs: netlink.NewLinkAttrs(), PeerName: "ccl0", PeerMTU: ccl.DefaultMTU, PeerNamespace: netlink.NsFd(spaces[1].FD())}
		v.Name, v.MTU = "ccl0", ccl.DefaultMTU
		return netlink.LinkAdd(v)
	}))
	b := &body{t: t, ended: make(chan error, 1), pid: filepath.Join(t.TempDir(), "pid"), answer: true}
	var device [2]string
	for i, at := range []netip.Prefix{here, there} {
		other := []netip.Addr{[]netip.Prefix{there, here}[i].Addr()}
		must(t, spaces[i].Do(func() error {
			l, err := ccl.OpenLink(ccl.LinkConfig{Interface: "ccl0", Address: at, VNI: 77, Peers: other})
			if err != nil {
				return err
			}
			t.Cleanup(func() { must(t, l.Close()) })
			device[i] = l.Name()
			if i == 1 {
				b.peer, err = ccl.OpenBeats(ccl.BeatsConfig{Device: l.Name(), Address: at, Peers: other, Keys: []seal.Key{key}})
			}
			return err
		}))
	}
	t.Cleanup(func() { must(t, b.peer.Close()) })
	fd, err := unix.MemfdCreate("lease", unix.MFD_CLOEXEC)
	must(t, err)
	must(t, unix.Ftruncate(fd, int64(os.Getpagesize())))
	b.lease, err = dataplane.MapLease(fd)
	must(t, err)
	b.wake, err = unix.Eventfd(0, unix.EFD_CLOEXEC|unix.EFD_NONBLOCK)
	must(t, err)
	self, err := os.Executable()
	must(t, err)
	b.Process, err = New(Config{
		Command: []string{"/bin/sh", "-c", `echo $$ > "$0.new" && mv "$0.new" "$0" && exec "$1" "$2"`, b.pid, self, Arg},
		Device:  device[0], Address: here, Peers: []netip.Addr{there.Addr()}, Keys: []seal.Key{key},
		LeaseFD: fd, WakeFD: b.wake, Log: zap.NewNop(),
	})
	must(t, err)
	b.Life(7)
	ctx, cancel := context.WithCancel(t.Context())
	b.end = cancel
	go func() { b.ended <- spaces[0].Do(func() error { return b.Run(ctx) }) }()
	t.Cleanup(func() {
		cancel()
		must(t, <-b.ended)
		must(t, errors.Join(b.Process.Close(), b.lease.Close(), unix.Close(fd), unix.Close(b.wake)))
	})
	return b
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// until lets both ends go on, the event loop and the peer each 5 ms, until ok.
func (b *body) until(what string, ok func() bool) {
	b.t.Helper()
	deadline := time.Now().Add(10 * time.Second)
	fds := []unix.PollFd{{Fd: int32(b.peer.FD()), Events: unix.POLLIN}}
	for next := int64(0); !ok(); {
		if time.Now().After(deadline) {
			b.t.Fatalf("%s: not within 10 s; %+v, peers %+v, heard %d", what, b.Stats(), b.Peers(), len(b.heard))
		}
		if now := dataplane.Now(); b.answer && now >= next {
			b.peer.Broadcast(wire.Beat{Life: 9, Stale: 20, Sent: uint64(now / 1e3)})
			next = now + pulse.Period
		}
		if _, err := unix.Poll(fds, 5); err != nil && err != unix.EINTR {
			b.t.Fatal(err)
		}
		for n := 1; n > 0; {
			var err error
			n, err = b.peer.Receive(dataplane.Now(), func(_ int, m wire.Beat, _ int64) {
				b.heard, b.at = append(b.heard, m), append(b.at, dataplane.Now())
			})
			must(b.t, err)
		}
	}
}

// newest is the last beat that the peer heard.
func (b *body) newest() wire.Beat {
	if len(b.heard) == 0 {
		return wire.Beat{}
	}
	return b.heard[len(b.heard)-1]
}

func (b *body) process() int {
	b.t.Helper()
	text, err := os.ReadFile(b.pid)
	must(b.t, err)
	pid, err := strconv.Atoi(strings.TrimSpace(string(text)))
	must(b.t, err)
	return pid
}

// HL7: a heart beats as the life that it was told, says how long ago the event loop
// went round, and tells the daemon what it hears.
func TestHL7_AHeartBeatsAndHears(t *testing.T) {
	b := newBody(t)
	progress := dataplane.Now() - 400*ms
	b.Progress(progress)
	b.until("beats both ways", func() bool { return len(b.heard) > 10 && b.Peers()[there.Addr()].Longest > 0 })
	last, when := b.newest(), b.at[len(b.at)-1]
	if stale := int64(last.Stale) * ms; last.Life != 7 || stale < 400*ms || stale > when-progress {
		t.Errorf("%+v; its loop went round %v ago", last, time.Duration(when-progress))
	}
	p := b.Peers()[there.Addr()]
	var each []pulse.Peer
	b.Each(func(a netip.Addr, p pulse.Peer) {
		if a == there.Addr() {
			each = append(each, p)
		}
	})
	if d := p.At - p.Progress; p.Life != 9 || p.Hold || d != 20*ms || len(each) != 1 || each[0].Life != 9 {
		t.Errorf("%+v, each %+v", p, each)
	}
	s := b.Stats()
	if s.Sent < 10 || s.Received == 0 || b.Sent() == 0 || b.Attended() < p.At || s.Beat != b.Sent() {
		t.Errorf("%+v", s)
	}
	for i, w := range s.Stages {
		n := uint64(0)
		for _, c := range w.Counts {
			n += c
		}
		if n == 0 || i == int(pulse.AtReceiver) && w.Sum == 0 {
			t.Errorf("%v: %+v", pulse.Stage(i), w)
		}
	}
}

// HL7: everything in the process has real-time priority: a thread of Go's runtime
// that has not lets the one that beats wait for it.
func TestHL7_AllThreadsOfAHeartHaveRealTimePriority(t *testing.T) {
	b := newBody(t)
	b.until("a beat", func() bool { return len(b.heard) > 0 })
	if !b.Stats().Realtime {
		t.Skip("no right to real-time priority here")
	}
	all, err := realtime.Has(b.process())
	if err != nil || !all {
		t.Errorf("not all threads: %v", err)
	}
	if all, err := realtime.Has(os.Getpid()); err != nil || all {
		t.Errorf("this test has it too: %v %v", all, err)
	}
}

// HL5, HL7: each beat renews a lease that runs, up to what the event loop permits;
// one that is over stays over.
func TestHL7_HL5_BeatsRenewTheLease(t *testing.T) {
	b := newBody(t)
	b.until("a beat", func() bool { return len(b.heard) > 0 })
	if b.lease.Load() != 0 || b.newest().Flags&wire.PulseHold != 0 {
		t.Fatal("a lease out of nothing")
	}
	b.Permit(dataplane.Now() + 1000*ms)
	first := dataplane.Now() + 500*ms // a heart may be late here
	b.lease.Renew(0, first)
	b.until("judged by the hold time, as its lease is long", func() bool { return b.newest().Flags&wire.PulseHold != 0 })
	b.until("renewed", func() bool { return b.lease.Load() > first })
	b.until("an ordinary lease", func() bool { return b.newest().Flags&wire.PulseHold == 0 })
	// The loop stands still: no longer than permitted.
	limit := dataplane.Now() + 300*ms
	b.Permit(limit)
	b.until("over", func() bool { return dataplane.Now() > limit+100*ms })
	if l := b.lease.Load(); l > limit {
		t.Errorf("%v longer than permitted", time.Duration(l-limit))
	}
	b.Permit(dataplane.Now() + 5000*ms)
	over, sent := b.lease.Load(), b.Stats().Sent
	b.until("more beats", func() bool { return b.Stats().Sent > sent+3 })
	if b.lease.Load() != over {
		t.Error("a lease that was over is renewed")
	}
}

// HL7: a peer that falls silent is asked, and wakes the event loop, once.
func TestHL7_ASilentPeerIsAskedAndWakesTheLoop(t *testing.T) {
	b := newBody(t)
	b.until("hears it", func() bool { return b.Peers()[there.Addr()].At > 0 })
	var count [8]byte
	_, _ = unix.Read(b.wake, count[:])
	b.Alarmed()
	b.answer = false
	b.until("alarm", b.Alarmed)
	if silent := b.Attended() - b.Peers()[there.Addr()].At; silent < pulse.Deadline {
		t.Errorf("alarm after %v", time.Duration(silent))
	}
	if n, err := unix.Read(b.wake, count[:]); n != 8 || err != nil {
		t.Errorf("the loop is not woken: %v", err)
	}
	if b.Alarmed() || b.Stats().Asked == 0 {
		t.Errorf("alarmed again, or never asked: %+v", b.Stats())
	}
	asked := false
	for _, h := range b.heard {
		asked = asked || h.Flags&wire.PulseAsk != 0
	}
	if !asked {
		t.Error("the peer was not asked")
	}
	seen := len(b.heard)
	b.until("an answer, which repeats the number of a beat to all", func() bool {
		for i := seen; i < len(b.heard); i++ {
			if h := b.heard[i]; i > 0 && h.Number == b.heard[i-1].Number && h.Flags&wire.PulseAsk == 0 {
				return b.Stats().Answered > 0
			}
		}
		if seen < len(b.heard) { // one to all came, which an answer now repeats
			seen = len(b.heard)
			b.peer.Send(0, wire.Beat{Life: 9, Flags: wire.PulseAsk, Sent: uint64(dataplane.Now() / 1e3)})
		}
		return false
	})
}

// A heart that dies is started again, and beats as the same life.
func TestHL7_ADeadHeartIsStartedAgain(t *testing.T) {
	b := newBody(t)
	b.until("beats", func() bool { return len(b.heard) > 2 })
	was := b.process()
	must(t, unix.Kill(was, unix.SIGKILL))
	b.until("another process", func() bool { return b.process() != was })
	b.heard = nil
	b.until("it beats", func() bool { return b.newest().Life == 7 })
}

// HL5: a service manager that stops the service tells all its processes. The heart
// beats on until the daemon has said goodbye.
func TestHL7_HL5_AHeartHeedsTheDaemonAndNoSignal(t *testing.T) {
	b := newBody(t)
	b.until("beats", func() bool { return len(b.heard) > 2 })
	was := b.process()
	for _, s := range []unix.Signal{unix.SIGTERM, unix.SIGINT, unix.SIGHUP} {
		must(t, unix.Kill(was, s))
	}
	seen := len(b.heard)
	b.until("beats on", func() bool { return len(b.heard) > seen+10 })
	if now := b.process(); now != was {
		t.Errorf("process %d, then %d", was, now)
	}
}

// It is told new keys, and takes them.
func TestHL7_CL4_AHeartTakesNewKeys(t *testing.T) {
	b := newBody(t)
	b.until("beats", func() bool { return len(b.heard) > 2 })
	next := seal.Key{ID: 2, Secret: [32]byte{2}}
	b.SetKeys([]seal.Key{next})
	b.until("the peer does not know the key", func() bool { return b.peer.Counters().Seal[seal.UnknownKey] > 0 })
	must(t, b.peer.SetKeys([]seal.Key{next}))
	b.heard = nil
	b.until("beats under the new key", func() bool { return len(b.heard) > 2 })
}

// HL5: before its daemon is started again it says that silence is to be judged by
// the hold time, and the daemon hears that it was said.
func TestHL7_HL5_AHeartSaysGoodbye(t *testing.T) {
	b := newBody(t)
	b.until("beats", func() bool { return len(b.heard) > 2 })
	b.end()
	if !b.Rest() {
		t.Fatal("it has not said so")
	}
	b.until("hears it", func() bool { return b.newest().Flags&wire.PulseHold != 0 })
	if err := unix.Kill(b.process(), 0); err != unix.ESRCH {
		t.Errorf("it lives on: %v", err)
	}
}

// A heart ends when its daemon is gone, whatever became of that.
func TestHL7_AHeartEndsWithItsDaemon(t *testing.T) {
	b := newBody(t)
	b.until("beats", func() bool { return len(b.heard) > 2 })
	pid := b.process()
	b.mu.Lock()
	must(t, unix.Shutdown(int(b.orders.Fd()), unix.SHUT_RDWR)) // what the end of a process does
	b.mu.Unlock()
	b.until("its end", func() bool { return b.process() != pid || unix.Kill(pid, 0) == unix.ESRCH })
}

func TestHL7_AHeartWantsAProgramAndFewPeers(t *testing.T) {
	if _, err := New(Config{}); err == nil {
		t.Error("no program, and no error")
	}
	if _, err := New(Config{Command: []string{"x"}, Peers: make([]netip.Addr, maxPeers+1)}); err == nil {
		t.Error("too many peers, and no error")
	}
}
