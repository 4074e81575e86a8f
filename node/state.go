package node

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"sync"

	"cohort/ccl/wire"
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

// stateFile writes the membership in the background: the loop never waits for
// a disk. Only the newest version matters.
type stateFile struct {
	path string
	mu   sync.Mutex // guards next and closed
	next *saved
	wake chan struct{}
	done chan struct{}
	fail func(error)
}

func openState(dir string, fail func(error)) *stateFile {
	s := &stateFile{
		path: filepath.Join(dir, "membership.json"),
		wake: make(chan struct{}, 1), done: make(chan struct{}), fail: fail,
	}
	go s.run()
	return s
}

// load reads what the last daemon wrote; nil when there is nothing usable.
func (s *stateFile) load() *saved {
	b, err := os.ReadFile(s.path)
	if err != nil {
		return nil
	}
	v := new(saved)
	if json.Unmarshal(b, v) != nil || v.View == nil || v.ID == 0 || v.Incarnation == 0 {
		return nil
	}
	return v
}

// put schedules v to be written.
func (s *stateFile) put(v saved) {
	s.mu.Lock()
	s.next = &v
	s.mu.Unlock()
	select {
	case s.wake <- struct{}{}:
	default:
	}
}

func (s *stateFile) run() {
	defer close(s.done)
	for range s.wake {
		s.mu.Lock()
		v := s.next
		s.next = nil
		s.mu.Unlock()
		if v == nil {
			continue
		}
		if err := s.write(v); err != nil {
			s.fail(err)
		}
	}
}

// write replaces the file as a whole: a crash leaves the old or the new one.
func (s *stateFile) write(v *saved) error {
	b, err := json.Marshal(v)
	if err != nil {
		return fmt.Errorf("state: %w", err)
	}
	tmp := s.path + ".new"
	if err := os.WriteFile(tmp, b, 0o600); err != nil {
		return fmt.Errorf("state: %w", err)
	}
	return os.Rename(tmp, s.path)
}

// close waits for the last write.
func (s *stateFile) close() {
	close(s.wake)
	<-s.done
}
