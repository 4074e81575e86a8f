package node

import (
	"errors"
	"os"
	"path/filepath"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"cohort/ccl/wire"
)

// What could not be written, because the disk was full, is written when it can
// be: a node whose roster is not on disk takes and gives no unit meanwhile, and
// nothing else would bring it back.
func TestNT4_WhatCouldNotBeWrittenIsTriedAgain(t *testing.T) {
	defer func(d time.Duration) { stateRetry = d }(stateRetry)
	stateRetry = 10 * time.Millisecond
	dir := filepath.Join(t.TempDir(), "later")
	failed, written := make(chan error, 1000), make(chan *saved, 10)
	s := openState(dir, "x.json", func(v *saved) { written <- v }, func(err error) { failed <- err })
	defer s.close()
	s.put(saved{ID: 7})
	<-failed
	if err := os.Mkdir(dir, 0o700); err != nil {
		t.Fatal(err)
	}
	select {
	case v := <-written:
		if got := s.load(); v.ID != 7 || got == nil || got.ID != 7 {
			t.Fatalf("written %+v, the file says %+v", v, got)
		}
	case <-time.After(5 * time.Second):
		t.Fatal("it was never tried again")
	}
	for len(failed) > 0 {
		<-failed
	}
	time.Sleep(50 * time.Millisecond)
	if len(failed)+len(written) != 0 {
		t.Fatal("written again although it is on disk")
	}
}

// A journal that has no room is an error at the start, not a fault at a store.
func TestNT4_AJournalHasItsRoomFromTheStart(t *testing.T) {
	dir := t.TempDir()
	if err := unix.Mount("none", dir, "tmpfs", 0, "size=4k"); err != nil {
		t.Skip("no mount: ", err)
	}
	t.Cleanup(func() { _ = unix.Unmount(dir, unix.MNT_DETACH) })
	if err := os.WriteFile(filepath.Join(dir, "full"), make([]byte, 4096), 0o600); err != nil {
		t.Fatal(err)
	}
	j, err := openJournal(filepath.Join(dir, "units.held"), 1)
	if err == nil {
		j.begin(wire.Incarnation(1))
		t.Fatal("a full disk has room for a journal")
	}
	if !errors.Is(err, unix.ENOSPC) {
		t.Fatal(err)
	}
}
