package bpf_test

import (
	"sync"
	"sync/atomic"
	"testing"
	"time"
	"unsafe"

	"cohort/bpf"
	"cohort/flowtable"
	"cohort/packet"
)

// TestDESIGN5_NeverByAnothersDelegation gives the slot of a delegation to another
// direction and back all the time, without any rest, while packets of the first one go
// through the program, which the index leads there: as if it stood still in between. It
// must follow its own order alone. What the test makes of the other one is a drop that
// nothing else here gives: a shift of sequence numbers, for a datagram that is too short
// to have any.
func TestDESIGN5_NeverByAnothersDelegation(t *testing.T) {
	k := keyOf(0)
	k.Proto = packet.ProtoUDP
	p := from(k)
	p.payload = nil
	c := newCourseOf(t, role{"lent", bpf.ForwardDelegated, false, overIPv4, func(n *node, _ uint32) {
		n.addDelegation(k, k, 2, inside, toOutside)
	}}, 1, p)
	n := c.node
	forward := n.table.Lookup(k).Slot()
	d, _ := n.table.Delegation(forward)

	var stop atomic.Bool
	var writer sync.WaitGroup
	writer.Go(func() {
		own := d.Key.SrcPort
		for !stop.Load() {
			lendTo(d, own^1, 1)
			lendTo(d, own, 0)
		}
	})
	defer writer.Wait()
	defer stop.Store(true)
	var sent, raced, wrong uint64
	const enough = 3 * time.Second // a follower shows every few hundred milliseconds
	for start, n := time.Now(), 0; n < 200 && (time.Since(start) < enough || sent == 0 || raced == 0); n++ {
		_, got := c.run(c.prog, 1<<15)
		sent, raced, wrong = sent+got[bpf.ForwardDelegated], raced+got[bpf.ForwardCCL], wrong+got[bpf.DropBadL4]
		for o, v := range got {
			if o != bpf.ForwardDelegated && o != bpf.ForwardCCL && o != bpf.DropBadL4 && o != bpf.PuntBusy && v != 0 {
				t.Fatalf("%d packets left as %v", v, o)
			}
		}
	}
	if wrong != 0 {
		t.Errorf("%d of %d packets followed another direction's order", wrong, sent+raced+wrong)
	}
	if sent == 0 || raced == 0 {
		t.Errorf("%d packets were delegated and %d were not: the writer did not run beside the program", sent, raced)
	}
}

// lendTo makes a delegation another direction's under its sequence word, as flowtable
// does.
func lendTo(d *flowtable.DelegationSlot, srcPort uint16, shift uint32) {
	ports := (*uint32)(unsafe.Pointer(&d.Key.SrcPort))
	atomic.AddUint32(&d.Seq, 1)
	atomic.StoreUint32(ports, *ports&^0xffff|uint32(srcPort))
	atomic.StoreUint32(&d.SeqDelta, shift)
	atomic.AddUint32(&d.Seq, 1)
}
