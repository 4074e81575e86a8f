package dataplane

import (
	"errors"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"
	"unsafe"

	"cohort/dataplane/internal/linger"
	"cohort/flowtable"

	"github.com/cilium/ebpf/rlimit"
	"golang.org/x/sys/unix"
)

var _ flowtable.Grace = (*Grace)(nil)

// waitEnded waits for the end of a period.
func waitEnded(t *testing.T, g *Grace, period uint64) {
	t.Helper()
	for deadline := time.Now().Add(20 * time.Second); !g.Ended(period); time.Sleep(100 * time.Microsecond) {
		if time.Now().After(deadline) {
			t.Fatalf("period %d does not end", period)
		}
	}
}

// A period ends after each program that ran when it began, however long that one takes:
// here 50 ms in the middle of a packet.
func TestDESIGN3_AGracePeriodEndsAfterTheProgramsThatRan(t *testing.T) {
	if unix.Geteuid() != 0 {
		t.Skip("loading BPF programs needs root")
	}
	if err := rlimit.RemoveMemlock(); err != nil {
		t.Fatal(err)
	}
	spec, err := linger.LoadLinger()
	if err != nil {
		t.Fatal(err)
	}
	if err := spec.Variables["linger_ns"].Set(uint64(50 * time.Millisecond)); err != nil {
		t.Fatal(err)
	}
	var o linger.LingerObjects
	if err := spec.LoadAndAssign(&o, nil); err != nil {
		t.Fatal(err)
	}
	defer o.Close()
	b, err := unix.Mmap(o.Times.FD(), 0, unix.Getpagesize(), unix.PROT_READ, unix.MAP_SHARED)
	if err != nil {
		t.Fatal(err)
	}
	defer unix.Munmap(b)
	times := (*[2]uint64)(unsafe.Pointer(&b[0]))

	g := newGrace(waitForPrograms)
	defer g.close()
	if !g.Exact() {
		t.Skip("this kernel does not tell")
	}
	var program sync.WaitGroup
	program.Go(func() {
		if _, _, err := o.Linger.Test(make([]byte, 64)); err != nil {
			t.Error(err)
		}
	})
	defer program.Wait()
	for deadline := time.Now().Add(10 * time.Second); atomic.LoadUint64(&times[0]) == 0; {
		if time.Now().After(deadline) {
			t.Fatal("the program does not begin")
		}
	}
	if period := g.Begin(false); g.Ended(period) {
		t.Error("a period that has just been asked for has ended")
	} else {
		waitEnded(t, g, period)
	}
	if atomic.LoadUint64(&times[1]) == 0 {
		t.Error("the period ended before the program that ran when it began")
	}
}

// What begins while a period runs waits for the next one: the program that it waits for
// may have begun after that period did.
func TestDESIGN3_AGracePeriodThatHasBegunIsTooEarly(t *testing.T) {
	enter, leave := make(chan struct{}), make(chan struct{})
	first := true
	g := newGrace(func() error {
		if first { // that of the start
			first = false
			return nil
		}
		enter <- struct{}{}
		<-leave
		return nil
	})
	defer g.close()
	one := g.Begin(false)
	<-enter
	two, three := g.Begin(false), g.Begin(false)
	if one == two || two != three || g.Ended(one) {
		t.Errorf("periods %d, %d and %d", one, two, three)
	}
	leave <- struct{}{}
	waitEnded(t, g, one)
	if g.Ended(two) {
		t.Error("what was asked for later has ended with it")
	}
	<-enter
	if g.Ended(two) {
		t.Error("a period that runs has ended")
	}
	leave <- struct{}{}
	waitEnded(t, g, two)
	if !g.Exact() {
		t.Error("the clock was used")
	}
}

// One period serves all that die while nobody asks: however fast connections end, the
// kernel is asked ten times a second at most, and a close does not wait for the rest.
func TestDESIGN3_GracePeriodsDoNotFollowEachOtherAtOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var asked atomic.Int32
		g := newGrace(func() error { asked.Add(1); return nil })
		start := time.Now()
		for range 1000 {
			g.Begin(false)
			time.Sleep(time.Millisecond)
		}
		if periods := asked.Load(); periods < 10 || periods > 12 { // with that of the start
			t.Errorf("%d periods in %v", periods, time.Since(start))
		}
		time.Sleep(time.Second)
		g.Begin(false)
		synctest.Wait() // and rests now
		later := g.Begin(false)
		if time.Sleep(restPeriod / 2); g.Ended(later) {
			t.Error("nobody waited for it, and it did not wait")
		}
		period := g.Begin(true)
		if synctest.Wait(); !g.Ended(period) {
			t.Error("what somebody waits for has waited for the rest")
		}
		g.close()
	})
}

// Where the kernel does not tell, the clock does; and a close does not wait for it.
func TestDESIGN3_WithoutTheKernelsWordTheClockDecides(t *testing.T) {
	refused := errors.New("refused")
	asked := make(chan struct{}, 2)
	g := newGrace(func() error { asked <- struct{}{}; return refused })
	if <-asked; g.Exact() {
		t.Error("a kernel that refuses is exact")
	}
	start := time.Now()
	period := g.Begin(false)
	<-asked
	waitEnded(t, g, period)
	if took := time.Since(start); took < byTheClock {
		t.Errorf("a period of %v", took)
	}
	g.Begin(false)
	<-asked
	g.close()
	g.close()
	if g.Ended(period + 1) {
		t.Error("a period ended by closing")
	}
}
