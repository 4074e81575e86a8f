package node

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"sync"
	"time"

	"go.uber.org/zap"

	"cohort/ccl/wire"
	"cohort/cluster/membership"
)

// saved is what a restarted daemon needs to go on as the same member (HL5). It
// is only believed together with a flow table that the kernel kept, so a
// reboot makes it worthless.
type saved struct {
	Incarnation wire.Incarnation
	ID          wire.NodeID
	View        *wire.View
	Interfaces  []string // in the order of their ids: the flow table speaks of ids
}

// usable reports whether a loaded state says what it must.
func (v *saved) usable() bool {
	return v != nil && v.View != nil && v.ID != 0 && v.Incarnation != 0
}

// viewNumber is the newest view that this node has applied, in whatever life. It
// outlives them all, and the machine's power: term and epoch begin beyond it, or views
// of a cluster that begins anew would be named, and tagged, as those that a straggler
// of the former one may still be in (FR13, EL5). See cluster/membership, Terms.
type viewNumber struct{ Term, Epoch uint32 }

// newer puts v into the number, as numbers of views grow.
func (n viewNumber) newer(v *wire.View) viewNumber {
	return viewNumber{max(n.Term, v.Term), max(n.Epoch, v.Epoch)}
}

// lastView reads what the lives before have left. A damaged file is not worth staying
// out for: a straggler has to meet the node within its hold time.
func (n *Node) lastView() viewNumber {
	switch v, err := n.views.read(); {
	case err != nil:
		n.log.Warn("the number of the last view is lost; views are numbered from one again, unless others know better", zap.Error(err))
	case v != nil && membership.Sane(v.Term, v.Epoch):
		return *v
	case v != nil:
		n.log.Warn("the number of the last view makes no sense; views are numbered from one again, unless others know better", zap.Uint32("term", v.Term), zap.Uint32("epoch", v.Epoch))
	}
	return viewNumber{}
}

// recall is the number of the newest view that the lives before have applied. That of
// the view that is saved for a successor waits for no disk, so it is the newer one of a
// node that was killed while the other was on its way to the disk; the next fence empties
// that file.
func (n *Node) recall() viewNumber {
	last := n.lastView()
	if was := n.state.load(); was.usable() && membership.Sane(was.View.Term, was.View.Epoch) {
		if newer := last.newer(was.View); newer != last {
			last = newer
			n.views.put(last)
		}
	}
	return last
}

// stateFile keeps the newest T in a file, written in the background: the loop
// never waits for a disk. Only the newest version matters.
type stateFile[T any] struct {
	path    string
	mu      sync.Mutex // guards next
	next    *T
	wake    chan struct{}
	done    chan struct{}
	written func(*T)             // on the writer's goroutine; may be nil
	fail    func(error)          // the first of failures in a row
	sync    func(*os.File) error // of a file or a directory: Sync, but for tests; nil: this need not outlive the machine
}

// openMembership opens what a loss of power makes worthless anyway, so it waits for
// no disk: the next process finds what was written a moment before this one was
// killed, however slow the disk is.
func openMembership(dir string, fail func(error)) *stateFile[saved] {
	s := newState[saved](dir, "membership.json", nil, fail)
	s.sync = nil
	go s.run()
	return s
}

func openState[T any](dir, name string, written func(*T), fail func(error)) *stateFile[T] {
	s := newState(dir, name, written, fail)
	go s.run()
	return s
}

func newState[T any](dir, name string, written func(*T), fail func(error)) *stateFile[T] {
	return &stateFile[T]{
		path: filepath.Join(dir, name), written: written,
		wake: make(chan struct{}, 1), done: make(chan struct{}), fail: fail, sync: (*os.File).Sync,
	}
}

// load reads what the last daemon wrote; nil when there is nothing usable.
func (s *stateFile[T]) load() *T {
	v, _ := s.read()
	return v
}

// read is load for what a node must not go on without: nil without an error means
// that there is no file.
func (s *stateFile[T]) read() (*T, error) {
	b, err := os.ReadFile(s.path)
	if errors.Is(err, os.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	v := new(T)
	if err := json.Unmarshal(b, v); err != nil {
		return nil, fmt.Errorf("%s is damaged: %w", s.path, err)
	}
	return v, nil
}

// put schedules v to be written.
func (s *stateFile[T]) put(v T) {
	s.mu.Lock()
	s.next = &v
	s.mu.Unlock()
	select {
	case s.wake <- struct{}{}:
	default:
	}
}

// stateRetry is how long after a failure, of a full disk say, it is tried again:
// nobody else would.
var stateRetry = time.Second

func (s *stateFile[T]) run() {
	defer close(s.done)
	var v *T // to be written
	failing := false
	retry := time.NewTimer(stateRetry)
	retry.Stop()
	for open := true; open; {
		select {
		case _, open = <-s.wake:
		case <-retry.C:
		}
		s.mu.Lock()
		if s.next != nil {
			v, s.next = s.next, nil
		}
		s.mu.Unlock()
		if v == nil {
			continue
		}
		err := s.write(v)
		switch {
		case err == nil && s.written != nil:
			s.written(v)
		case err != nil && !failing:
			s.fail(err)
		}
		if failing = err != nil; failing {
			retry.Reset(stateRetry)
		} else {
			v = nil
		}
	}
}

// write replaces the file as a whole: a crash leaves the old or the new one, and
// the new one once this has returned nil. Of the machine, unless it is volatile.
func (s *stateFile[T]) write(v *T) error {
	b, err := json.Marshal(v)
	if err != nil {
		return fmt.Errorf("state: %w", err)
	}
	tmp := s.path + ".new"
	f, err := os.OpenFile(tmp, os.O_WRONLY|os.O_CREATE|os.O_TRUNC, 0o600)
	if err != nil {
		return fmt.Errorf("state: %w", err)
	}
	_, err = f.Write(b)
	if err == nil && s.sync != nil {
		err = s.sync(f) // the name must not outlive the content
	}
	if err := errors.Join(err, f.Close()); err != nil {
		return fmt.Errorf("state: %w", err)
	}
	if err := os.Rename(tmp, s.path); err != nil {
		return fmt.Errorf("state: %w", err)
	}
	// The content is on disk under a name that is not yet: without this, the file
	// before is what a loss of power may leave.
	if s.sync != nil {
		d, err := os.Open(filepath.Dir(s.path))
		if err != nil {
			return fmt.Errorf("state: %w", err)
		}
		if err := errors.Join(s.sync(d), d.Close()); err != nil {
			return fmt.Errorf("state: %w", err)
		}
	}
	return nil
}

// close waits for the last write.
func (s *stateFile[T]) close() {
	close(s.wake)
	<-s.done
}
