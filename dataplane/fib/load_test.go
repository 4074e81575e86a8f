package fib

import (
	"testing"
	"time"

	"cohort/dataplane/internal/nstest"
)

// restart starts the table anew with room for some prefixes and a clock.
func (w *world) restart(prefixes int, now func() time.Time) {
	w.t.Helper()
	must(w.t, w.table.Close())
	var err error
	w.table, err = New(Config{
		Interfaces: []Interface{{ID: insideID, Ifindex: w.in.Attrs().Index}},
		NextHops:   w.array, Prefixes: prefixes, Now: now,
	})
	must(w.t, err)
}

func (w *world) loaded() {
	w.t.Helper()
	nstest.Until(w.t, "reading has ended", func() bool {
		w.table.mu.Lock()
		defer w.table.mu.Unlock()
		return !w.table.load.busy
	})
}

func TestTooManyPrefixesAreAskedForByAddress(t *testing.T) {
	w := newWorld(t)
	room := w.table.Stats().Prefixes
	ip(t, "route add 192.0.2.0/24 via 10.1.0.9")
	now := time.Now()
	w.restart(room, func() time.Time { return now })
	w.loaded()
	if n := w.asked(func() {
		w.wantVia("192.0.2.1", "10.1.0.9")
		w.wantVia("192.0.2.2", "10.1.0.9")
		w.wantVia("192.0.2.1", "10.1.0.9")
	}); n != 2 || w.table.Stats().Prefixes != 0 {
		t.Errorf("%d questions for two addresses, %+v", n, w.table.Stats())
	}
	now = now.Add(tooManyWait - time.Second)
	w.table.Tick()
	if n := w.table.Stats().PrefixReads; n != 1 {
		t.Errorf("read %d times", n)
	}
	ip(t, "route del 192.0.2.0/24")
	now = now.Add(2 * time.Second)
	w.known()
}

func TestEventsBeyondTheBoundAreAskedForByAddress(t *testing.T) {
	w := newWorld(t)
	w.restart(w.table.Stats().Prefixes, nil)
	w.known()
	w.wantVia("192.0.2.1", "")
	ip(t, "route add 192.0.2.0/24 via 10.1.0.9")
	nstest.Until(t, "the route counts", func() bool { return w.via("192.0.2.1") == "10.1.0.9" })
	w.loaded()
	if s := w.table.Stats(); s.Prefixes != 0 {
		t.Errorf("more prefixes than there is room for: %+v", s)
	}
	w.wantVia("192.0.2.2", "10.1.0.9")
	w.wantVia("192.0.3.2", "")
}

// A deletion can hide another route from a dump.
func TestDeletionWhilePrefixesAreReadMakesThemReadAgain(t *testing.T) {
	w := newWorld(t)
	ip(t, "route add 192.0.2.0/24 via 10.1.0.9")
	w.settle()
	w.table.mu.Lock()
	w.table.readPrefixes() // it cannot end while the lock is held
	ip(t, "route del 192.0.2.0/24")
	w.table.mu.Unlock()
	w.loaded()
	if s := w.table.Stats(); s.Prefixes != 0 {
		t.Errorf("%d prefixes are taken for all", s.Prefixes)
	}
	reads := w.table.Stats().PrefixReads
	w.known()
	if w.table.Stats().PrefixReads == reads {
		t.Error("not read again")
	}
}

func TestLostEventsMakePrefixesReadAgain(t *testing.T) {
	w := newWorld(t)
	ip(t, "route add default via 10.1.0.9")
	w.settle()
	w.wantVia("192.0.2.1", "10.1.0.9")
	w.table.mu.Lock()
	ip(t, "route add 192.0.2.0/25 via 10.1.0.8")
	for w.table.watcher.pending() {
		_, err := receive(w.table.watcher.fd, w.table.watcher.buf, 0)
		must(t, err)
	}
	w.table.reread()
	w.table.mu.Unlock()
	w.wantVia("192.0.2.200", "10.1.0.9") // at once, by address
	w.wantVia("192.0.2.1", "10.1.0.8")
	w.known()
	w.wantVia("192.0.2.201", "10.1.0.9")
	w.wantVia("192.0.2.2", "10.1.0.8")
}

// A loader that is overtaken by a loss of events must not call its set complete.
func TestLossWhilePrefixesAreRead(t *testing.T) {
	w := newWorld(t)
	w.table.mu.Lock()
	w.table.readPrefixes()
	w.table.readPrefixes()
	w.table.mu.Unlock()
	w.loaded()
	if s := w.table.Stats(); s.Prefixes != 0 {
		t.Errorf("%d prefixes of before the loss are taken for all", s.Prefixes)
	}
	w.known()
}
