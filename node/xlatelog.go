package node

import (
	"context"
	"sync/atomic"
	"time"

	"go.uber.org/zap"
	"go.uber.org/zap/zapcore"

	"cohort/dataplane"
	"cohort/flowtable"
	"cohort/nat"
	"cohort/node/core"
	"cohort/packet"
)

// xlateRing is how many records may wait for the log: a second of 65,000
// translations that begin and end. A power of two.
const xlateRing = 1 << 17

// xlatePause is how often the ring is emptied.
const xlatePause = 50 * time.Millisecond

// xlateRecord says that a translation began or ended at this node, or that a
// host got a block of its own or gave it back.
type xlateRecord struct {
	at     int64 // of the monotonic clock
	keys   [2]packet.FlowKey
	gen    uint32
	ifaces [2]uint8
	began  bool
	rules  *nat.Rules
	block  bool // then only these two count besides:
	unit   uint32
	host   packet.Addr
}

// xlateLog writes one line for the beginning and one for the end of every
// translation whose rule says so (RFC 6888, REQ-12), and of every block that is
// a host's own (RFC 7422). The loop puts records into
// a ring and never waits; one goroutine at a time takes them out, finds names
// and writes. A record that finds the ring full is counted and lost.
type xlateLog struct {
	log   zapcore.Core
	rules *nat.Rules   // that run; the loop's
	clock func() int64 // monotonic, as xlateRecord.at
	wall  func() time.Time

	ring []xlateRecord
	head atomic.Uint64 // records put in, ever
	tail atomic.Uint64 // records taken out, ever
	lost atomic.Uint64
}

func newXlateLog(log *zap.Logger, rules *nat.Rules, size int) *xlateLog {
	return &xlateLog{log: log.Core(), rules: rules, clock: dataplane.Now, wall: time.Now, ring: make([]xlateRecord, size)}
}

// openXlateLog opens the log, and returns what the role logic calls; nil without
// NAT. Whether a rule asks for it is decided with each connection, and may
// change with a reload.
func (n *Node) openXlateLog(t *core.NAT) func(f *flowtable.FlowSlot, began bool) {
	if t == nil {
		return nil
	}
	n.xlog = newXlateLog(n.log, t.Rules, xlateRing)
	t.BlockLog = func(unit int, host packet.Addr, assigned bool) {
		n.xlog.put(xlateRecord{at: dataplane.Now(), block: true, unit: uint32(unit), host: host, began: assigned})
	}
	return func(f *flowtable.FlowSlot, began bool) {
		n.xlog.put(xlateRecord{at: dataplane.Now(), keys: f.Key, gen: f.Gen, ifaces: f.Iface, began: began})
	}
}

// put takes a record. It belongs to the loop.
func (l *xlateLog) put(r xlateRecord) {
	head := l.head.Load()
	if head-l.tail.Load() == uint64(len(l.ring)) {
		l.lost.Add(1)
		return
	}
	r.rules = l.rules
	l.ring[head%uint64(len(l.ring))] = r
	l.head.Store(head + 1)
}

// run writes until ctx ends.
func (l *xlateLog) run(ctx context.Context) error {
	tick := time.NewTicker(xlatePause)
	defer tick.Stop()
	for {
		select {
		case <-tick.C:
			l.drain()
		case <-ctx.Done():
			return nil
		}
	}
}

// drain writes what the ring holds. Not while run runs.
func (l *xlateLog) drain() {
	// One offset for all: the clocks do not drift apart in a ring's time.
	now, wall := l.clock(), l.wall()
	for tail := l.tail.Load(); tail != l.head.Load(); tail++ {
		r := l.ring[tail%uint64(len(l.ring))]
		l.tail.Store(tail + 1)
		l.write(&r, wall.Add(time.Duration(r.at-now)))
	}
}

// write writes the lines of a record: of a hairpin, which translates both ends,
// there are two.
func (l *xlateLog) write(r *xlateRecord, at time.Time) {
	if r.block {
		d := r.rules.Geometry().Describe(int(r.unit))
		l.line(at, r.began, "block assigned", "block released",
			zap.Stringer("host", r.host), zap.Stringer("address", d.Addr), zap.Uint16("first", d.First), zap.Uint16("last", d.Last),
			zap.String("pool", poolName(r.rules, d.Addr)))
		return
	}
	e := newEntry(r.keys[0], r.keys[1])
	e.ifaces = r.ifaces
	list, count := xlatesOf(r.rules, &e)
	for i := range count {
		x := &list[i]
		remote := zap.Skip()
		if x.Remote.IsValid() {
			remote = zap.Stringer("remote", x.Remote)
		}
		l.line(at, r.began, "xlate began", "xlate ended",
			zap.String("type", x.Type), zap.String("protocol", x.Protocol),
			zap.Stringer("real", x.Real), zap.Stringer("mapped", x.Mapped), remote,
			zap.String("pool", x.Pool), zap.String("rule", x.Rule), zap.Uint32("gen", r.gen))
	}
}

// line goes past the sampling of the logger, which would keep the first hundred
// lines of a second only.
func (l *xlateLog) line(at time.Time, began bool, yes, no string, fields ...zap.Field) {
	e := zapcore.Entry{Level: zapcore.InfoLevel, Time: at, Message: no}
	if began {
		e.Message = yes
	}
	if l.log.Write(e, fields) != nil {
		l.lost.Add(1)
	}
}
