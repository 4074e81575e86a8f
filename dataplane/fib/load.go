package fib

import (
	"errors"
	"fmt"
	"sync"
	"time"

	"golang.org/x/sys/unix"
)

const (
	// reloadMin and reloadMax are the waits after the prefixes could not be read.
	reloadMin = time.Second
	reloadMax = 16 * time.Second
	// tooManyWait is the wait after they were more than the bound.
	tooManyWait = 10 * time.Minute
	// applyMax bounds the events that are caught up with at the end of a load.
	applyMax = 4096
)

var (
	errTooMany     = errors.New("fib: more prefixes than there is room for")
	errInterrupted = errors.New("fib: tables changed while they were read")
)

// load gets and keeps the prefixes that answers are kept by. They are read in a
// goroutine: a full table takes a second, and while it is read every address is
// asked for. Events add to the set from the beginning, so only what was there
// before has to be read.
type load struct {
	fd      int // its own: a dump and questions do not mix
	seq     uint32
	limit   int
	running sync.WaitGroup

	// The table's lock guards what follows.
	set   *prefixSet
	known bool // set has every prefix of the kernel
	busy  bool
	moved bool // what a dump cannot cope with happened since set was begun
	twins bool // two default routes, alike in all but the next hop
	// defaults are the default routes that were seen, without their next hops.
	defaults map[defaultRoute]struct{}
	next     time.Time // when to read again, if not known
	wait     time.Duration
}

type defaultRoute struct {
	table, priority uint32
	tos             uint8
}

func (l *load) close() {
	l.running.Wait()
	_ = unix.Close(l.fd)
}

// readPrefixes gives the set up and begins to read it again. Called with mu held.
func (t *Table) readPrefixes() {
	l := &t.load
	l.known, l.set, l.next = false, nil, time.Time{}
	l.start(t)
}

// retryPrefixes reads what could not be read before.
func (t *Table) retryPrefixes() {
	if l := &t.load; !l.known && !t.now().Before(l.next) {
		l.start(t)
	}
}

func (l *load) start(t *Table) {
	if l.busy {
		return // it will see that its set is not the set any more
	}
	l.busy, l.moved, l.twins = true, false, false
	l.set, l.defaults = newPrefixSet(l.limit), make(map[defaultRoute]struct{})
	set := l.set
	t.stats.PrefixReads++
	l.running.Go(func() {
		err := l.read(t, set)
		t.mu.Lock()
		defer t.mu.Unlock()
		l.end(t, set, err)
	})
}

// end judges what was read. A dump of many datagrams goes on at a position
// within a leaf of the kernel's trie: a deletion there can hide another route
// from it. So nothing may have been deleted, as far as the events until now tell.
func (l *load) end(t *Table, set *prefixSet, err error) {
	l.busy = false
	for range applyMax {
		if t.closed || !t.watcher.pending() {
			break
		}
		t.receive()
	}
	if t.closed {
		return
	}
	if err == nil && (l.set != set || l.moved || t.watcher.pending()) {
		err = errInterrupted
	}
	switch {
	case err == nil:
		l.known, l.wait = true, 0
		return
	case errors.Is(err, errTooMany):
		l.wait = tooManyWait
	default:
		l.wait = min(max(2*l.wait, reloadMin), reloadMax)
	}
	l.set, l.next = nil, t.now().Add(l.wait)
}

// read fills set from the rules and the routes of all tables.
func (l *load) read(t *Table, set *prefixSet) error {
	err := l.dump(t, set, unix.RTM_GETRULE, unix.RTM_NEWRULE, func(body []byte) bool {
		p, ok := parseRule(body)
		return ok && set.add(p)
	})
	if err != nil {
		return err
	}
	return l.dump(t, set, unix.RTM_GETROUTE, unix.RTM_NEWROUTE, func(body []byte) bool {
		r, ok := parseRoute(body)
		if ok && r.dst.bits == 0 && !r.cloned {
			l.twins = l.seen(r) || l.twins
		}
		return ok && (r.cloned || set.add(r.dst))
	})
}

// seen notes a default route and tells whether there was one like it.
func (l *load) seen(r routeMsg) bool {
	d := defaultRoute{r.table, r.priority, r.tos}
	_, twice := l.defaults[d]
	l.defaults[d] = struct{}{}
	return twice
}

// dump reads all messages of a kind. The lock is held for one datagram at a time.
func (l *load) dump(t *Table, set *prefixSet, ask, kind uint16, add func(body []byte) bool) error {
	l.seq++
	if err := unix.Sendto(l.fd, dumpRequest(ask, l.seq), 0, &unix.SockaddrNetlink{Family: unix.AF_NETLINK}); err != nil {
		return fmt.Errorf("fib: read prefixes: %w", err)
	}
	buf := make([]byte, datagramSize)
	var err error
	for done := false; !done; {
		n, rerr := receive(l.fd, buf, 0)
		if rerr != nil {
			return fmt.Errorf("fib: read prefixes: %w", rerr)
		}
		t.mu.Lock()
		if t.closed {
			t.mu.Unlock()
			return errInterrupted
		}
		current := l.set == set // if not, the rest is only read away
		messages(buf[:n], func(h unix.NlMsghdr, body []byte) bool {
			switch {
			case h.Seq != l.seq:
			case h.Type == unix.NLMSG_DONE, h.Type == unix.NLMSG_ERROR:
				done = true
				if e := errno(body); e != 0 {
					err = fmt.Errorf("fib: read prefixes: %w", e)
				}
			case h.Flags&unix.NLM_F_DUMP_INTR != 0:
				err = errInterrupted
			case h.Type == kind && current && err == nil && !add(body):
				err = errTooMany
			}
			return !done
		})
		t.mu.Unlock()
	}
	return err
}

// noteRoute keeps the set complete after an event about a route.
func (t *Table) noteRoute(body []byte, flags uint16, gone bool) {
	l := &t.load
	if l.set == nil {
		return
	}
	r, ok := parseRoute(body)
	switch {
	case gone:
		l.moved = true
	case !ok, !l.set.add(r.dst):
		t.readPrefixes() // without what is gone it may have room
	case r.dst.bits != 0 || flags&unix.NLM_F_REPLACE != 0:
	case !l.known:
		l.moved = true // whether the dump has it too cannot be told
	case l.seen(r) && !l.twins:
		t.readPrefixes() // a twin, or one that came back
	}
}

// noteRule does so after an event about a rule.
func (t *Table) noteRule(body []byte) {
	l := &t.load
	if l.set == nil {
		return
	}
	if p, ok := parseRule(body); !ok || !l.set.add(p) {
		t.readPrefixes()
	}
}

// chosen tells whether the kernel chooses a path for each address or moment
// rather than by the route alone: one with several next hops; one whose next hop
// is an object that it does not show (nexthop_compat_mode 0); and, of default
// routes alike, the one whose gateway answers (fib_select_default).
func (l *load) chosen(r routeMsg) bool {
	return r.ifindex == 0 || r.dst.bits == 0 && l.twins
}
