package node

import (
	"context"
	"errors"
	"net"
	"net/http"
	"net/netip"
	"runtime"
	"time"

	"go.uber.org/zap"
	"golang.org/x/sys/unix"

	"cohort/api"
	"cohort/api/metrics"
	"cohort/ccl/wire"
	"cohort/dataplane"
	"cohort/packet"
)

const (
	tickEvery = int64(10 * time.Millisecond)
	fastTick  = int64(5 * time.Millisecond) // in the fast profile
	slowEvery = int64(time.Second)
	// walkFor is how long after a tick next hops are looked for in the tables, between
	// packets: it is work that may take seconds, and must not take all of the CPU.
	walkFor = tickEvery / 2

	// statePace is how long the messages of a connection may wait for those of
	// others while datagrams to the same node leave more often than that; on a quiet
	// link they do not wait. It bounds what the link costs by datagrams a second.
	statePace = int64(500 * time.Microsecond)

	// linger is how long what nobody waits for may wait for other messages to the same
	// node: the end of a connection, whose copy and second key stay there for so long, and
	// a stub that no packet needs. Short connections that end one after the other share
	// datagrams.
	linger = int64(50 * time.Millisecond)

	// linkFor bounds the time that one pass spends on the control link, so that packets
	// and time get their turn; linkBatch is after how many datagrams it looks at the
	// clock. Each may carry some seventy registrations, and any of these may make a part
	// of the store of copies grow.
	linkFor   = int64(300 * time.Microsecond)
	linkBatch = 4
	// leftFor is how long the loop sleeps at most while a device has not taken all frames.
	leftFor = int64(time.Millisecond)
	// holdFrames is how many packets may wait for a director or a neighbour.
	holdFrames = 4096
)

// loop is the node's only worker. Each pass handles a bounded share of every
// source and sends what that produced as one batch. While packets keep coming it
// does not ask the kernel each time what else there is.
func (n *Node) loop(ctx context.Context) error {
	stop := context.AfterFunc(ctx, n.wakeUp)
	defer stop()
	n.polls.add(n.wake, n.link.FD())
	n.polls.add(n.io.FDs()...)
	watch := n.cfg.Watch
	for ctx.Err() == nil {
		n.now = dataplane.Now()
		if watch != nil {
			watch.TurnBegins()
		}
		if n.heart != nil {
			n.heart.Progress(n.now)
			if n.heart.Alarmed() {
				n.nextTick = n.now
			}
		}
		packets := n.packets(n.now)
		more := n.datagrams(n.now)
		n.runPosted()
		n.serveRequests(n.now)
		switch {
		case n.now >= n.nextTick:
			n.tick(n.now)
			if n.polls.keeps {
				runtime.Gosched() // once in a while, or Go's monitor interrupts it
			}
			n.working, n.walkUntil = true, n.now+walkFor
			n.nextTick = n.now + tickEvery
			if n.heart != nil {
				n.nextTick = n.now + fastTick
			}
		case n.working:
			n.working = n.work(n.now)
		}
		if packets < len(n.batch) || n.now-n.flushed >= statePace {
			n.core.Flush(n.now) // else more packets wait, and their messages fill the datagrams
			n.flushed = n.now
		}
		until := n.restUntil(n.io.Flush())
		if watch != nil {
			watch.TurnEnds()
		}
		idle := packets == 0 && !more && !n.working
		if err := n.polls.wait(idle, n.now, until); err != nil {
			return err
		}
	}
	n.planRestart()
	return nil
}

// restUntil is until when the loop may sleep if no packet comes: what is due next, or soon
// when a device has left something in its ring, of which nothing else wakes the loop.
func (n *Node) restUntil(left bool) int64 {
	until := min(n.nextTick, n.core.Due())
	if left {
		until = min(until, n.now+leftFor)
	}
	return until
}

// planRestart leaves the lease that a successor needs.
func (n *Node) planRestart() {
	now := dataplane.Now()
	until := n.core.Member().PlanRestart(now)
	n.core.FlushAll(now)
	n.io.Flush() // what a device does not take now is lost, as it may be on any link
	if until > 0 && (n.heart == nil || n.heart.Rest()) {
		n.dp.RenewLease(until)
	}
}

// packets handles one batch of what XDP handed over and returns its size.
func (n *Node) packets(now int64) int {
	count := n.io.Receive(n.batch)
	for _, f := range n.batch[:count] {
		n.table.Expect(f.Punt.H1, f.Punt.Tag)
	}
	for _, f := range n.batch[:count] {
		n.table.ExpectFlow(f.Punt.H1, f.Punt.Tag)
	}
	for _, f := range n.batch[:count] {
		n.packet(now, f)
	}
	return count
}

// datagrams handles what waits on the control link; true when some is left.
func (n *Node) datagrams(now int64) bool {
	if !n.polls.ready(pollLink) {
		return false
	}
	for end := dataplane.Now() + linkFor; ; {
		count, err := n.link.Receive(linkBatch, func(from netip.Addr, b []byte) { n.core.Datagram(now, from, b) })
		if err != nil {
			n.errors.log(now, n.log, "control link", err)
		}
		if count < linkBatch {
			n.polls.done(pollLink)
			return false
		}
		if dataplane.Now() >= end {
			return true
		}
	}
}

// tick advances everything that lives by time.
func (n *Node) tick(now int64) {
	n.watchControlLink(now)
	n.listen(now)
	n.core.Tick(now)
	n.renewLease(now)
	if n.members.view != nil && n.members.missing {
		n.writeMembers()
	}
	n.keepIntent()
	n.announceAddresses(now)
	n.kernelChanges(now)
	n.keepAddresses(now)
	n.retryUnresolved(now)
	if now >= n.nextSlow {
		n.nextSlow = now + slowEvery
		n.fib.Tick()
		n.watchForwarding()
		n.refused.log(n.log, n.refusalsNow())
		n.foreign.watch(now, n.cfg.Bootstrap.CCL.Peers, n.sealer.Foreign, n.cfg.Keys.IDs(), n.log)
		if n.fib.Stats().NextHopEntries > hopsLow {
			n.hops.start()
		}
		n.writeMembers()
		if n.members.view == nil {
			n.cclNeighbours()
		}
	}
}

// work goes on for one turn with what walks over tables, and reports whether that is to
// go on in the next.
func (n *Node) work(now int64) (more bool) {
	more = n.core.Work(now)
	if now < n.walkUntil {
		n.reroute.step(n.table, n.nextHop, dataplane.Now)
		n.hops.step(n.table, n.fib.Collect)
		more = more || n.reroute.on || n.hops.on
	}
	return more
}

// kernelChanges takes what netlink told about routes, neighbours and links.
func (n *Node) kernelChanges(now int64) {
	select {
	case <-n.fib.Changed():
	default:
		return
	}
	ch := n.fib.Take()
	n.keeps.look = n.keeps.look || ch.Addrs || ch.Links
	if ch.Addrs {
		n.takeAddresses()
	}
	if ch.Links {
		for _, l := range n.fib.Links() {
			n.dp.SetInterface(l.ID, l.MAC, l.MTU)
		}
		n.reportLinks(now)
	}
	if ch.Routes {
		n.reroute.start()
	}
}

// nextHop is where a flow's packets to dst go; 0 = nowhere.
func (n *Node) nextHop(dst packet.Addr) uint16 {
	nh, _, _ := n.lookup(dst)
	return nh
}

func (n *Node) wakeUp() {
	one := [8]byte{1}
	_, _ = unix.Write(n.wake, one[:]) // full means that it is awake already
}

// inLoop runs do in the loop and waits for it; false when ctx ended first.
func (n *Node) inLoop(ctx context.Context, do func(now int64)) error {
	r := request{do: do, done: make(chan struct{})}
	n.wakeUp()
	for {
		select {
		case n.requests <- r:
			<-r.done
			return nil
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

// serveRequests runs what the API asks, one request a pass.
func (n *Node) serveRequests(now int64) {
	if n.polls.ready(pollWake) {
		var b [8]byte
		_, _ = unix.Read(n.wake, b[:])
		n.polls.done(pollWake)
	}
	select {
	case r := <-n.requests:
		r.do(now)
		close(r.done)
	default:
	}
}

// members of the newest view, by id, for what shows them.
func memberName(v *wire.View, id wire.NodeID) string {
	if m := v.Member(id); m != nil {
		return m.Name
	}
	return ""
}

// serveMetrics answers Prometheus until ctx ends.
func serveMetrics(ctx context.Context, at netip.AddrPort, p api.Provider) error {
	l, err := net.Listen("tcp", at.String())
	if err != nil {
		return err
	}
	mux := http.NewServeMux()
	mux.Handle("/metrics", metrics.Handler(p))
	s := &http.Server{Handler: mux, ReadHeaderTimeout: 5 * time.Second}
	done := make(chan error, 1)
	go func() { done <- s.Serve(l) }()
	select {
	case err := <-done:
		return err
	case <-ctx.Done():
	}
	_ = s.Close()
	if err := <-done; !errors.Is(err, http.ErrServerClosed) {
		return err
	}
	return nil
}

// errorLimit keeps a repeated error from filling the log: one line a second.
type errorLimit struct{ next int64 }

func (e *errorLimit) log(now int64, l *zap.Logger, what string, err error) {
	if now >= e.next {
		e.next = now + int64(time.Second)
		l.Warn(what, zap.Error(err))
	}
}
