package ownership

import (
	"encoding/binary"
	"testing"

	"cohort/ccl/wire"
	"cohort/flowtable"
	"cohort/packet"
)

// counting is an output that counts.
type counting struct{ sent int }

func (o *counting) Send(wire.NodeID, wire.Message) error { o.sent++; return nil }
func (o *counting) Release(Handle, Verdict)              {}

// holding returns the core of node 1 of two, which owns so many connections.
func holding(t *testing.T, flows int) (*testNode, *counting) {
	c := newCluster(t, 1, 2)
	n, out := c.nodes[1], &counting{}
	n.core.out = out
	now := flowtable.TickOf(c.now)
	for i := range flows {
		k := packet.FlowKey{Dst: packet.Addr{192, 0, 2, 1}, SrcPort: 1024, DstPort: 53, Proto: packet.ProtoUDP}
		binary.BigEndian.PutUint32(k.Src[:], 10<<24+uint32(i))
		f := flowtable.FlowSlot{
			Key: [2]packet.FlowKey{k, k.Reverse()}, Iface: [2]uint8{1, 2}, NextHop: [2]uint16{1, 2},
			Timeout: 3600, Created: now, Gen: 1,
		}
		slot, err := n.table.InsertFlow(f)
		if err != nil {
			t.Fatal(err)
		}
		n.table.Flow(slot).SetSeenAt(0, now)
		n.table.Flow(slot).SetSeenAt(1, now)
	}
	return n, out
}

// Packets wait for the end of a call, so each looks at a slice of the tables, however
// large they are; Tick with the calls of Work behind it does a tick's part.
func TestCapacity_NoCallLooksAtMoreThanASlice(t *testing.T) {
	const flows = 4000
	n, out := holding(t, flows)
	c, now := n.core, n.c.now
	workSlice := c.cfg.Slice
	c.cfg.AgeEvery = c.cfg.TickEvery // a tick's part is the whole table
	seen, age := 0, c.ageFlowFn
	c.ageFlowFn = func(slot uint32, f *flowtable.FlowSlot) bool { seen++; return age(slot, f) }
	c.PeerReset() // everything is registered again
	now += int64(c.cfg.SettleTime)
	looked, sent := 0, 0
	within := func(what string) {
		t.Helper()
		if seen > workSlice || out.sent > workSlice+8 { // beside the round's own messages
			t.Fatalf("%s looked at %d connections and sent %d messages, want at most %d", what, seen, out.sent, workSlice)
		}
		looked, sent = looked+seen, sent+out.sent
		seen, out.sent = 0, 0
	}
	c.Tick(now)
	within("Tick")
	for more := true; more; {
		more = c.Work(now)
		within("Work")
	}
	if looked != flows || sent < flows {
		t.Errorf("looked at %d connections and sent %d messages, want %d and as many", looked, sent, flows)
	}
	if c.Work(now) || seen != 0 || out.sent != 0 {
		t.Error("Work goes on after it had said that nothing is left")
	}
}

// A loop that has no time for Work is late with ageing, and does not owe more than
// one round.
func TestCapacity_AgeingThatIsLateOwesOneRound(t *testing.T) {
	const flows = 4000
	n, _ := holding(t, flows)
	c, now := n.core, n.c.now
	c.cfg.AgeEvery = c.cfg.TickEvery
	for range 50 {
		now += 10 * ms
		c.Tick(now)
	}
	seen, age := 0, c.ageFlowFn
	c.ageFlowFn = func(slot uint32, f *flowtable.FlowSlot) bool { seen++; return age(slot, f) }
	for c.Work(now) {
	}
	if seen == 0 || seen > flows {
		t.Errorf("looked at %d connections, want up to one round of %d", seen, flows)
	}
}
