package flowtable

import (
	"errors"
	"testing"
)

// stampDelegation makes all that Go writes follow from gen, so that a reader can tell
// a torn line.
func stampDelegation(d *DelegationSlot, gen uint32) {
	d.To = EndpointsOf(keyN(gen % 1000))
	d.NextHop, d.Iface = uint16(gen), uint8(gen)
	d.Lease, d.View = gen, ^gen
}

func delegationN(gen uint32) (d DelegationSlot) {
	stampDelegation(&d, gen)
	d.ID, d.LastSeen = uint16(gen), gen
	return d
}

// forwarding is a table with so many forward entries, all live.
func forwarding(t *testing.T, n int) (table *Table, slots []uint32) {
	t.Helper()
	table = newTable(t, 1, n)
	for i := range uint32(n) {
		slot, err := table.InsertForward(forwardN(i))
		if err != nil {
			t.Fatal(err)
		}
		slots = append(slots, slot)
	}
	return table, slots
}

// wantIndexed checks where XDP goes with the key of a forward slot, and that Go goes to
// that slot all the same.
func wantIndexed(t *testing.T, table *Table, forward uint32, want Ref) {
	t.Helper()
	k := table.Forward(forward).Key
	h := table.home(&k)
	var got []Ref
	for _, b := range []uint32{h.b1, h.b2} {
		for _, e := range table.mem.Index[b] {
			if e != 0 && entryTag(e) == h.tag {
				got = append(got, entryRef(e))
			}
		}
	}
	if len(got) != 1 || got[0] != want {
		t.Errorf("the index leads to %#x, want %#x", got, want)
	}
	if r := table.Lookup(k); r != forwardRef(forward) {
		t.Errorf("lookup says %#x, want %#x", r, forwardRef(forward))
	}
}

// A delegation is found by its forward slot from one moment to another; what it has
// counted stays until it is freed, and its slot rests before it is another's.
func TestDESIGN5_LifeOfADelegation(t *testing.T) {
	table, slots := forwarding(t, 2)
	if table.Delegate(slots[0]+100, delegationN(1)) != ErrExists {
		t.Error("delegated what is not forwarded")
	}
	if err := table.Delegate(slots[0], delegationN(1)); err != nil {
		t.Fatal(err)
	}
	if err := table.Delegate(slots[0], delegationN(2)); err != ErrExists {
		t.Errorf("delegated twice: %v", err)
	}
	d, slot := table.Delegation(slots[0])
	want := delegationN(1)
	want.Flags, want.Seq, want.Key, want.Forward = FlowLive, d.Seq, table.Forward(slots[0]).Key, slots[0]
	if *d != want || slot == 0 || table.DelegationAt(slot) != d {
		t.Fatalf("%+v in slot %d, want %+v", *d, slot, want)
	}
	if other, _ := table.Delegation(slots[1]); other != nil {
		t.Error("the other forward slot has it, too")
	}
	d.Account(7, 100, TCPSent{SeqEnd: 5, Ack: 6, Window: 7})
	table.UpdateDelegation(slots[0], func(d *DelegationSlot) { stampDelegation(d, 3); d.Forward = 99 })
	wantIndexed(t, table, slots[0], delegatedRef(slot))
	if packets, bytes := d.Counters(); packets != 1 || bytes != 100 || d.View != ^uint32(3) || d.SeenAt() != 7 || d.ID != 1 {
		t.Errorf("an update left %+v", *d)
	}
	if d.Key != want.Key || d.Forward != slots[0] {
		t.Errorf("an update made it %v of forward slot %d", d.Key, d.Forward)
	}
	before := *d
	before.Lease = 0x12345678
	if table.Prolong(slots[0], 0x12345678); *d != before {
		t.Errorf("prolonged %+v, want %+v", *d, before)
	}
	table.Prolong(slots[1], 1) // has none
	if got := table.EndDelegation(slots[0]); got != slot {
		t.Errorf("slot %d ended, want %d", got, slot)
	}
	wantIndexed(t, table, slots[0], forwardRef(slots[0]))
	if again, _ := table.Delegation(slots[0]); again != nil || d.Flags&FlowLive != 0 || table.EndDelegation(slots[0]) != 0 {
		t.Errorf("still in force: %+v", *d)
	}
	if packets, _ := d.Counters(); packets != 1 {
		t.Error("its counters ended with it")
	}
	were := table.Stats()
	table.FreeDelegation(slot)
	if s := table.Stats(); were.Delegations != 1 || s.Delegations != 0 || s.FreeDelegations != were.FreeDelegations {
		t.Errorf("%d delegations, %d after it was freed; %d slots are free, were %d", were.Delegations, s.Delegations, s.FreeDelegations, were.FreeDelegations)
	}
	for _, rested := range []uint32{0, graceTicks - 1, graceTicks} {
		if table.Stats().FreeDelegations != were.FreeDelegations {
			t.Errorf("its slot does not rest: free before tick %d", rested)
		}
		table.Reclaim(10 + rested)
	}
	if s := table.Stats(); s.FreeDelegations != were.FreeDelegations+1 {
		t.Errorf("%d slots are free after the rest, want %d", s.FreeDelegations, were.FreeDelegations+1)
	}
}

// What is in force is never given away; and what is full says so, and counts it.
func TestDESIGN5_DelegationsInForceAreNotFreed(t *testing.T) {
	mem := NewMemory(1, 3)
	mem.Delegations = mem.Delegations[:2] // room for one
	table, err := New(mem, testSeed)
	if err != nil {
		t.Fatal(err)
	}
	var slots [2]uint32
	for i := range slots {
		if slots[i], err = table.InsertForward(forwardN(uint32(i))); err != nil {
			t.Fatal(err)
		}
	}
	if err := table.Delegate(slots[0], delegationN(1)); err != nil {
		t.Fatal(err)
	}
	full := table.Stats().Full
	if err := table.Delegate(slots[1], delegationN(2)); !errors.Is(err, ErrFull) || table.Stats().Full != full+1 {
		t.Errorf("%v, %d refusals counted", err, table.Stats().Full-full)
	}
	if d, _ := table.Delegation(slots[1]); d != nil {
		t.Error("the refused one is there")
	}
	_, slot := table.Delegation(slots[0])
	defer func() {
		if recover() == nil {
			t.Error("a delegation in force was freed")
		}
	}()
	table.FreeDelegation(slot)
}

// A lease ends at its tick, and the counter of ticks may wrap in between.
func TestDESIGN5_ALeaseEndsAtItsTick(t *testing.T) {
	for _, c := range []struct {
		lease, now, view uint32
		flags            uint8
		want             bool
	}{
		{100, 99, 7, FlowLive, true}, {100, 100, 7, FlowLive, false}, {100, 101, 7, FlowLive, false},
		{5, ^uint32(0), 7, FlowLive, true}, {^uint32(0), 5, 7, FlowLive, false},
		{100, 99, 8, FlowLive, false}, {100, 99, 7, 0, false},
	} {
		d := DelegationSlot{Lease: c.lease, View: 7, Flags: c.flags}
		if got := d.InForce(c.now, c.view); got != c.want {
			t.Errorf("in force %v: %+v", got, c)
		}
	}
}

// Whatever store the writer dies after, the next one finds the delegation whole or not
// at all, and the slot of one that is not there is free.
func TestDESIGN5_AdoptDelegationsAfterCrashAtEveryStore(t *testing.T) {
	for name, op := range map[string]func(table *Table, forward uint32){
		"delegate": func(table *Table, forward uint32) { _ = table.Delegate(forward, delegationN(4)) },
		"update": func(table *Table, forward uint32) {
			table.UpdateDelegation(forward, func(d *DelegationSlot) { stampDelegation(d, 5) })
		},
		"end": func(table *Table, forward uint32) { table.EndDelegation(forward) },
	} {
		killed := true
		for n := 1; killed; n++ {
			table, slots := forwarding(t, 2)
			if name != "delegate" {
				if err := table.Delegate(slots[0], delegationN(4)); err != nil {
					t.Fatal(err)
				}
			}
			killed = killAfter(table, n, func() { op(table, slots[0]) })
			next, err := New(table.mem, testSeed)
			if err != nil {
				t.Fatal(err)
			}
			d, _ := next.Delegation(slots[0])
			if d == nil {
				for i := range next.mem.Delegations {
					if next.mem.Delegations[i].Flags&FlowLive != 0 {
						t.Fatalf("%s, store %d: slot %d is live and nobody's", name, n, i)
					}
				}
			} else if gen := d.Lease; d.Seq&1 != 0 || gen != 4 && gen != 5 || d.To != EndpointsOf(keyN(gen)) || d.View != ^gen || d.NextHop != uint16(gen) {
				t.Fatalf("%s, store %d: %+v", name, n, *d)
			}
			if _, found := next.Delegation(slots[0]); next.Forward(slots[0]).Flags&FlowLive == 0 {
				// it was being written when the writer died, and is gone
			} else if d != nil {
				wantIndexed(t, next, slots[0], delegatedRef(found))
			} else {
				wantIndexed(t, next, slots[0], forwardRef(slots[0]))
			}
			s := next.Stats()
			if live := map[bool]int{true: 1}[d != nil]; s.Delegations != live || s.FreeDelegations != 2-live {
				t.Fatalf("%s, store %d: %d delegations, %d slots free", name, n, s.Delegations, s.FreeDelegations)
			}
			if err := next.Delegate(slots[1], delegationN(6)); err != nil {
				t.Fatalf("%s, store %d: %v", name, n, err)
			}
		}
	}
}
