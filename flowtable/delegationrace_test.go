package flowtable

import (
	"runtime"
	"sync"
	"sync/atomic"
	"testing"
	"unsafe"

	"cohort/packet"
)

// xdpDelegate forwards by the delegations of some forward slots, as XDP does beside
// Go: from the shared memory alone, with word loads.
type xdpDelegate struct {
	mem     Memory
	passes  atomic.Uint64 // whole runs of the program: none holds a slot for longer
	packets uint64
}

// run is one packet of a forward slot's direction. It reports a line that Go did not
// write.
func (x *xdpDelegate) run(k packet.FlowKey) (torn *DelegationSlot) {
	defer x.passes.Add(1)
	mask := uint32(len(x.mem.Index) - 1)
	h1, tag := hashKey(&testSeed, &k)
	found := Ref(0)
	for _, b := range [2]uint32{h1 & mask, otherBucket(h1&mask, tag, mask)} {
		for i := range x.mem.Index[b] {
			if e := atomic.LoadUint64(&x.mem.Index[b][i]); entryTag(e) == tag && found == 0 {
				found = entryRef(e)
			}
		}
	}
	if !found.IsForward() || found.Dir() == 0 {
		return nil
	}
	d := &x.mem.Delegations[found.Slot()]
	var line [16]uint64
	got := (*DelegationSlot)(unsafe.Pointer(&line))
	before := atomic.LoadUint32(&d.Seq)
	words := (*[16]uint64)(unsafe.Pointer(d))
	for i := range delegationWords {
		if i == delegationSeqWord {
			*got.hopWord() = atomic.LoadUint32(d.hopWord())
		} else {
			line[i] = atomic.LoadUint64(&words[i])
		}
	}
	if before&1 != 0 || atomic.LoadUint32(&d.Seq) != before || got.Flags&FlowLive == 0 || got.Key != k {
		return nil
	}
	var want DelegationSlot
	stampDelegation(&want, got.Lease)
	if want.To != got.To || want.NextHop != got.NextHop || want.Iface != got.Iface || want.View != got.View {
		return got
	}
	x.packets++
	d.Account(got.Lease, 100, TCPSent{SeqEnd: got.Lease, Ack: got.Lease, Window: 5})
	return nil
}

// Go grants, renews, reports on, revokes and gives to others what XDP forwards by all
// the while: XDP never uses half of an order, and Go learns of every packet, once.
func TestDESIGN5_DelegationsUnderConcurrentForwarding(t *testing.T) {
	const forwards, rounds = 8, 1500
	table, slots := forwarding(t, forwards)
	var keys [forwards]packet.FlowKey
	for i, slot := range slots {
		keys[i] = table.Forward(slot).Key
	}
	var done atomic.Bool
	var running sync.WaitGroup
	var readers [2]xdpDelegate
	for i := range readers {
		x := &readers[i]
		x.mem = table.mem
		running.Go(func() {
			for n := 0; !done.Load(); n++ {
				if torn := x.run(keys[n%forwards]); torn != nil {
					t.Errorf("half of an order: %+v", *torn)
					return
				}
			}
		})
	}
	// grace is what a rest of slots is there for: every program that ran has ended.
	grace := func() {
		var was [2]uint64
		for i := range readers {
			was[i] = readers[i].passes.Load()
		}
		for i := range readers {
			for readers[i].passes.Load() < was[i]+2 && !t.Failed() {
				runtime.Gosched()
			}
		}
	}
	var counted, bytes, seen uint64
	now := uint32(0)
	last := map[uint32]uint64{} // by forward slot: reported
	for i := range uint32(rounds) {
		if t.Failed() {
			break
		}
		forward := slots[i*2654435761%forwards]
		d, _ := table.Delegation(forward)
		switch {
		case d == nil:
			if err := table.Delegate(forward, delegationN(i)); err != nil {
				t.Fatal(err)
			}
			last[forward] = 0
		case i%5 == 0:
			slot := table.EndDelegation(forward)
			grace()
			packets, b := table.DelegationAt(slot).Counters()
			if packets < last[forward] || b != 100*packets {
				t.Fatalf("%d packets of %d bytes in the last report, %d in one before", packets, b, last[forward])
			}
			counted, bytes = counted+packets, bytes+b
			table.FreeDelegation(slot)
			for range 3 {
				now += graceTicks
				table.Reclaim(now)
			}
		case i%5 < 3:
			table.UpdateDelegation(forward, func(d *DelegationSlot) { stampDelegation(d, i) })
		default: // a report
			packets, _ := d.Counters()
			if packets < last[forward] {
				t.Fatalf("%d packets reported after %d", packets, last[forward])
			}
			last[forward] = packets
			d.Sent()
			seen += uint64(d.SeenAt())
		}
	}
	done.Store(true)
	running.Wait()
	for _, forward := range slots {
		if d, _ := table.Delegation(forward); d != nil {
			packets, b := d.Counters()
			counted, bytes = counted+packets, bytes+b
		}
	}
	forwarded := readers[0].packets + readers[1].packets
	if forwarded == 0 || seen == 0 {
		t.Fatal("nothing was forwarded: the test proves nothing")
	}
	if counted != forwarded || bytes != 100*forwarded {
		t.Errorf("%d packets of %d bytes were reported, %d forwarded", counted, bytes, forwarded)
	}
}
