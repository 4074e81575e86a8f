package node

import (
	"context"
	"crypto/rand"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"fmt"
	"net/netip"
	"runtime"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"go.uber.org/zap"
	"golang.org/x/sync/errgroup"
	"golang.org/x/sys/unix"

	"cohort/api"
	"cohort/ccl"
	"cohort/ccl/seal"
	"cohort/ccl/wire"
	"cohort/cluster/membership"
	"cohort/cluster/ownership"
	"cohort/cluster/pulse"
	"cohort/cluster/sequence"
	"cohort/dataplane"
	"cohort/dataplane/fib"
	"cohort/flowtable"
	"cohort/node/core"
	"cohort/node/heart"
	"cohort/packet"
)

// Node is one running node.
type Node struct {
	cfg    Config
	log    *zap.Logger
	dp     *dataplane.Dataplane
	io     *dataplane.IO
	link   *ccl.Link
	fib    *fib.Table
	core   *core.Core
	sealer *seal.Sealer
	table  *flowtable.Table
	copies *flowtable.BackupStore
	stubs  *flowtable.BackupStore // nil without NAT
	live   atomic.Pointer[live]
	next   *live // prepared last; the loop's
	state  *stateFile[saved]
	views  *stateFile[viewNumber]
	intent *intentFile
	units  *unitState // nil without NAT
	census census
	xlog   *xlateLog // nil when nothing of NAT asks for one

	incarnation wire.Incarnation
	resumed     bool

	wake   int        // eventfd: the API has a request
	caller int        // socket of announcements; -1 until the first
	postMu sync.Mutex // guards posted
	posted []func(now int64)

	requests chan request

	batch   []*dataplane.Frame
	frames  []*dataplane.Frame // by handle; nil = free
	handles []ownership.Handle // free ones
	pkt     packet.Packet
	parsed  *dataplane.Frame // what pkt is about
	owned   ownership.Packet
	scratch []byte
	inner   [ccl.InnerLen]byte // of the state datagram at hand
	waiting []unresolved
	errors  errorLimit
	drops   slowDrops
	reroute reroute
	hops    hopUse
	members memberMACs
	icmp    icmpBucket

	generated uint64 // ICMP errors made here
	fragments uint64 // made here, beyond the first of each packet

	addresses [dataplane.MaxIfaces]packet.Addr // own, by logical interface
	started   int64
	polls     polls
	now       int64 // of the loop's pass
	nextTick  int64
	flushed   int64 // when the core last sent what its calls had queued
	walkUntil int64 // the tables are walked for next hops
	working   bool  // the last tick has left something to do
	nextSlow  int64
	nextLink  int64
	cluster   clusterAddresses
	keeps     addressKeeper
	newest    viewNumber     // in views
	heart     *heart.Process // nil without the fast profile
	keeper    pulse.Keeper
	refused   refusalLog
	foreign   foreignPeers

	passing bool // out by leave: a restart brings it back
}

// request is a function that an API goroutine wants run in the loop.
type request struct {
	do   func(now int64)
	done chan struct{}
}

// New opens everything. On an error nothing stays open and the node's fast
// path is as it was.
func New(cfg Config) (*Node, error) {
	if len(cfg.Keys.Link) == 0 {
		return nil, errNoKey
	}
	n := &Node{cfg: cfg, log: cfg.Log, requests: make(chan request), wake: -1, caller: -1}
	n.cluster.here = true // a daemon before this one may have left them
	if err := n.open(); err != nil {
		n.close()
		return nil, err
	}
	return n, nil
}

func (n *Node) open() error {
	boot := n.cfg.Bootstrap
	var err error
	if n.wake, err = unix.Eventfd(0, unix.EFD_NONBLOCK|unix.EFD_CLOEXEC); err != nil {
		return fmt.Errorf("node: eventfd: %w", err)
	}
	n.state = openMembership(boot.StateDir, func(err error) { n.log.Warn("membership not saved", zap.Error(err)) })
	n.views = openState[viewNumber](boot.StateDir, "views.json", nil, func(err error) { n.log.Warn("the number of the view is not saved", zap.Error(err)) })
	n.newest = n.recall()
	n.intent = openIntent(boot.StateDir, func(err error) { n.log.Warn("whether this node is disabled is not saved", zap.Error(err)) })
	if err := n.prepareInterfaces(); err != nil {
		return err
	}
	n.link, err = ccl.OpenLink(ccl.LinkConfig{
		Interface: boot.CCL.Interface, Address: boot.CCL.Address, VNI: boot.CCL.VNI,
		MTU: n.cfg.dataMTU() + ccl.AllowanceFor(boot.CCL.Address.Addr()), Peers: boot.CCL.Peers,
	})
	if err != nil {
		return err
	}
	if err := n.openDataplane(); err != nil {
		return err
	}
	if err := n.openHeart(); err != nil {
		return err
	}
	return n.openCore()
}

func (n *Node) openDataplane() error {
	boot, cl := n.cfg.Bootstrap, n.cfg.Cluster
	dcfg := dataplane.Config{
		PinDir: n.cfg.pinDir(), CCL: boot.CCL.Interface, VTEP: boot.CCL.Address.Addr(), VNI: boot.CCL.VNI,
		Flows: cl.Limits.Connections, Forwards: cl.Limits.Forwards, Delegations: cl.Limits.Delegations, Mode: n.cfg.Mode, FastPath: !n.cfg.SlowPath,
	}
	for _, i := range cl.Interfaces {
		dcfg.Interfaces = append(dcfg.Interfaces, dataplane.Interface{ID: i.ID, Name: i.Name, Device: i.Device})
	}
	var err error
	if n.dp, err = dataplane.Open(dcfg); err != nil {
		return err
	}
	if why := n.dp.Rebuilt(); why != "" {
		n.log.Warn("flow table starts empty", zap.String("why", why))
	}
	for _, a := range n.dp.Status() {
		n.log.Info("fast path attached", zap.String("device", a.Device), zap.Stringer("mode", a.Mode), reasonField(a.Reason))
	}
	if n.table, err = flowtable.New(n.dp.Table(), n.dp.HashSeed()); err != nil {
		return err
	}
	n.table.Watch(n.dp.Grace())
	if !n.dp.Grace().Exact() {
		n.log.Warn("the kernel does not tell when programs have ended (membarrier): slots rest for a second of the clock")
	}
	seed, err := flowtable.NewSeed(rand.Reader)
	if err != nil {
		return err
	}
	n.copies = flowtable.NewBackupStore(seed, 2*cl.Limits.Connections)
	fcfg := fib.Config{NextHops: n.dp.NextHops()}
	for _, i := range cl.Interfaces {
		fcfg.Interfaces = append(fcfg.Interfaces, fib.Interface{ID: i.ID, Ifindex: n.dp.Ifindex(i.ID)})
	}
	if n.fib, err = fib.New(fcfg); err != nil {
		return err
	}
	if err := n.dp.SetLocalAddrs(n.fib.LocalAddrs()); err != nil {
		return err
	}
	n.noteAddresses()
	if n.io, err = n.dp.OpenIO(dataplane.IOConfig{Hold: holdFrames + maxFragments}); err != nil {
		return err
	}
	n.batch = make([]*dataplane.Frame, 64)
	n.scratch = make([]byte, 0, 2048)
	return nil
}

func (n *Node) openCore() error {
	boot, cl := n.cfg.Bootstrap, n.cfg.Cluster
	n.incarnation = n.NewIncarnation()
	was := n.state.load()
	if was.usable() && n.dp.Adopted() && slices.Equal(was.Interfaces, n.cfg.interfaceNames()) {
		if tag, _, self := n.dp.View(); tag != 0 && tag == was.View.Tag() && self == was.ID {
			n.incarnation, n.resumed = was.Incarnation, true
		}
	}
	if n.resumed && was.View.Config != cl.Checksum() {
		// The fast path that is left serves another configuration than the file's.
		n.resumed, n.incarnation = false, n.NewIncarnation()
		n.log.Warn("policy or nat in the file are not those of the view that this node was in: it joins anew, with an empty flow table",
			zap.String("file", membership.ConfigName(cl.Checksum())), zap.String("view", membership.ConfigName(was.View.Config)))
	}
	var err error
	n.sealer, err = seal.New(seal.Config{
		Local: boot.CCL.Address.Addr(), Rand: rand.Reader, Keys: sealKeys(n.cfg.Keys), Format: wire.Version,
	})
	if err != nil {
		return err
	}
	check := core.MTUEnforce
	if boot.CCL.MTUCheck == "warn" {
		check = core.MTUWarn
	}
	judge, err := cl.CompilePolicy()
	if err != nil {
		return err
	}
	translation, err := n.openNAT()
	if err != nil {
		return err
	}
	runs := &live{cluster: cl, config: cl.Checksum()}
	if translation != nil {
		runs.rules = translation.Rules
	}
	n.live.Store(runs)
	n.core, err = core.New(core.Config{
		IO: n, NAT: translation,
		Membership: membership.Config{
			Self: wire.Member{
				Name: boot.Name, Serial: boot.Serial, VTEP: boot.CCL.Address.Addr(),
				Incarnation: n.incarnation, Priority: boot.Priority,
			},
			Cluster: boot.Cluster, Version: Version, DataMTU: uint16(n.cfg.dataMTU()), Interfaces: n.cfg.interfaceNames(),
			Tier:    n.cfg.tier(),
			Running: runs.config, LastTerm: n.newest.Term, LastEpoch: n.newest.Epoch,
			Peers: boot.CCL.Peers, Hold: cl.Health.HoldTime, Fast: cl.Health.Fast, ElectionWait: cl.Health.ElectionTimeout,
		},
		Ownership: ownership.Config{
			Table: n.table, Copies: n.copies, Router: router{n}, Policy: judge,
			Timeouts: cl.Timeouts, Sequences: sequence.Of(n.cfg.Keys.Seed), KeepNumbers: !cl.Sequences, OrderKey: orderKey(n.cfg.Keys.Seed), MaxHeld: holdFrames / 2,
			OwnerOnly: cl.OwnerOnly, MaxLent: cl.Limits.Delegations,
			// A member that died unnoticed is waited for until it is removed.
			SettleTime: max(3*time.Second, cl.Health.HoldTime),
			Xlate:      n.openXlateLog(translation),
		},
		Endpoint: ccl.EndpointConfig{
			Local: boot.CCL.Address.Addr(), MTU: n.link.MTU(), Sealer: n.sealer, Rand: rand.Reader, QueueBytes: 8 << 20,
			Pace: statePace, Linger: linger,
		},
		MTUCheck: check, Health: watched(cl), Kept: n.intentKept,
		Fragments: fragmentBounds(),
	})
	if err != nil {
		return err
	}
	now := dataplane.Now()
	n.started, n.now = now, now
	n.reportLinks(now)
	n.watchControlLink(now)
	wanted := n.intent.want
	if n.resumed && !wanted.Disabled {
		n.restoreUnits(now)
		leaving := ""
		if wanted.Leaving {
			leaving = wanted.Why
		}
		if err := n.core.Resume(now, was.View, was.ID, leaving, core.Patience); err == nil {
			n.log.Info("took over the fast path of the daemon before", zap.Int("flows", n.table.Stats().Flows))
			n.reroute.start() // nobody told the flows what changed meanwhile
			return nil
		}
	}
	n.resumed = false
	n.Fence(starting)
	n.core.Owner().Reset(now)
	n.loseUnits(now)
	switch {
	case wanted.Leaving: // what it had it has lost: there is nothing to wait for
		n.core.StartDisabled(now, wanted.Why+"; its daemon ended on the way")
	case wanted.Disabled:
		n.core.StartDisabled(now, wanted.Why)
	default:
		n.core.Start(now)
	}
	return nil
}

// reasonField is left out of a line that needs no reason.
func reasonField(why string) zap.Field {
	if why == "" {
		return zap.Skip()
	}
	return zap.String("why", why)
}

// orderKey derives the key of the director order from the cluster's seed: the
// same on every node, unknown outside.
func orderKey(k [32]byte) (key [16]byte) {
	sum := sha256.Sum256(append([]byte("cohort director order 1"), k[:]...))
	copy(key[:], sum[:])
	return key
}

// Run serves until ctx ends. The fast path stays pinned for a successor.
func (n *Node) Run(ctx context.Context) error {
	defer n.close()
	if n.cfg.OwnProcess {
		if runtime.GOMAXPROCS(0) < 2 { // said at all, Go does not follow the machine's processors any more
			runtime.GOMAXPROCS(2)
		}
		n.polls.keeps = true
	}
	l, err := api.Listen(n.cfg.Bootstrap.ControlSocket)
	if err != nil {
		return err
	}
	g, ctx := errgroup.WithContext(ctx)
	g.Go(func() error { return api.NewServer(provider{n}, nil).Run(ctx, l) })
	if n.cfg.Hangup != nil {
		g.Go(func() error { return n.hangups(ctx) })
	}
	if at := n.cfg.Bootstrap.Metrics; at.IsValid() {
		g.Go(func() error { return serveMetrics(ctx, at, provider{n}) })
	}
	for i := range n.cfg.Cluster.Interfaces {
		if in := &n.cfg.Cluster.Interfaces[i]; in.Monitored && len(in.Targets) > 0 {
			g.Go(func() error { return n.watchTargets(ctx, in) })
		}
	}
	if n.stubs != nil {
		g.Go(func() error { return n.census.run(ctx, n) })
	}
	if n.xlog != nil {
		defer n.xlog.drain() // what the loop logged last
		g.Go(func() error { return n.xlog.run(ctx) })
	}
	if n.heart != nil {
		g.Go(func() error { return n.heart.Run(ctx) })
	}
	g.Go(func() error { return n.loop(ctx) })
	return g.Wait()
}

// close lets go of what open opened, in the opposite order.
func (n *Node) close() {
	var errs []error
	if n.heart != nil {
		errs = append(errs, n.heart.Close())
	}
	if n.io != nil {
		errs = append(errs, n.io.Close())
	}
	if n.fib != nil {
		errs = append(errs, n.fib.Close())
	}
	if n.dp != nil {
		errs = append(errs, n.dp.Close(true))
	}
	if n.link != nil {
		errs = append(errs, n.link.Close())
	}
	if n.state != nil {
		n.state.close()
	}
	if n.views != nil {
		n.views.close()
	}
	if n.intent != nil {
		n.intent.close()
	}
	if n.units != nil {
		errs = append(errs, n.units.close())
	}
	for _, fd := range []int{n.wake, n.caller} {
		if fd >= 0 {
			errs = append(errs, unix.Close(fd))
		}
	}
	n.io, n.fib, n.dp, n.link, n.state, n.views, n.intent, n.heart, n.wake, n.caller = nil, nil, nil, nil, nil, nil, nil, nil, -1, -1
	if err := errors.Join(errs...); err != nil {
		n.log.Warn("closing", zap.Error(err))
	}
}

// NewIncarnation implements core.IO.
func (n *Node) NewIncarnation() wire.Incarnation {
	var b [8]byte
	for {
		rand.Read(b[:])
		if i := wire.Incarnation(binary.NativeEndian.Uint64(b[:])); i != 0 && i.Tag() != n.incarnation.Tag() {
			n.incarnation = i
			n.beginUnits()
			return i
		}
	}
}

// Datagram implements core.IO.
func (n *Node) Datagram(to netip.Addr, b []byte, control bool) {
	switch {
	case control:
		if n.io != nil {
			n.io.FlushTunnel() // what was said before leaves before, as far as the device takes it
		}
		n.link.SendControl(to, b)
	case !n.tunnel(to, b):
		n.link.Send(to, b)
	}
}

// tunnel queues a state datagram for the next Flush of the packet path, which spares it the
// kernel's UDP, route and VXLAN device; false when it has to take these.
func (n *Node) tunnel(to netip.Addr, b []byte) bool {
	return n.io != nil && n.link.Inner(n.inner[:], to, len(b)) &&
		n.io.Tunnel(n.core.MemberAt(to), to, ccl.StateTOS, n.inner[:], b) == dataplane.Sent
}

// router answers the role logic from the kernel's routes.
type router struct{ n *Node }

func (r router) Route(dst packet.Addr) (uint16, uint8, bool) {
	return r.n.lookup(dst)
}
