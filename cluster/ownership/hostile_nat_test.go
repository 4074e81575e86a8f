package ownership

import (
	"testing"

	"cohort/ccl/wire"
	"cohort/flowtable"
	"cohort/packet"
)

// The keys of a mapping are no packet's: who sends from 0.0.0.0:0, or to it,
// reaches nobody through one and does not keep it alive, nor with an ICMP error
// that quotes such a packet (RFC 1812, 5.3.7; RFC 4787, REQ-8).
func TestNT9_NobodySpeaksWithTheKeysOfAMapping(t *testing.T) {
	c := natCluster(t, 1, 2, 3, 4)
	c.at(3, udp(eim(1)))
	c.run(20 * ms)
	k1 := c.reply(eim(1))
	outside := packet.FlowKey{Dst: k1.Dst, DstPort: k1.DstPort, Proto: packet.ProtoUDP}
	inside := packet.FlowKey{Src: eim(1).Src, SrcPort: eim(1).SrcPort, Proto: packet.ProtoUDP}
	for id := wire.NodeID(1); id <= 4; id++ {
		p := udp(outside)
		p.In = 2
		if at, v := c.at(id, p); v.Op != OpDrop {
			t.Errorf("from 0.0.0.0:0 at node %d: %+v at node %d", id, v, at)
		}
		p.Kind = KindICMPError
		if at, v := c.at(id, p); v.Op != OpDrop {
			t.Errorf("an ICMP error about a packet to 0.0.0.0:0 at node %d: %+v at node %d", id, v, at)
		}
		if at, v := c.at(id, udp(inside)); v.Op != OpDrop {
			t.Errorf("to 0.0.0.0:0 at node %d: %+v at node %d", id, v, at)
		}
	}
	c.run(1_000_000 * ms)
	c.wantNoUse()
}

// A view that lasts longer than half the range of ticks, 26 days: what ends then
// gives its port back as it did on the first day.
func TestNT5_PortsComeBackAfterWeeksInOneView(t *testing.T) {
	c := natCluster(t, 1, 2, 3)
	c.run(10_000 * ms)
	for range 80 { // every half day, or so, a tick: time never stands still that long
		c.now += 12 * 3600 * 1000 * ms
		c.run(20 * ms)
	}
	c.run(10_000 * ms)
	for id := wire.NodeID(1); id <= 3; id++ {
		_, v := c.at(id, udp(inside(byte(id), packet.ProtoUDP)))
		wantForward(t, v)
	}
	c.run(150_000 * ms)
	c.wantNoUse()
}

// The same for what is older than that: a connection of a month, of which a
// missing node may have a copy, keeps its key when it ends; and a key that was
// kept for a month comes free when everybody is back.
func TestNT4_ATombOutlastsTheRangeOfTicks(t *testing.T) {
	c := natCluster(t, 1, 2, 3)
	n := c.nodes[1]
	old := c.beginUndirected()
	slot := n.table.Lookup(old).Slot()
	weeks := func(alive bool) {
		for range 70 {
			c.now += 10 * 3600 * 1000 * ms
			if alive {
				n.table.Flow(slot).Account(0, flowtable.TickOf(c.now), 100)
				n.table.UpdateFlow(slot, func(f *flowtable.FlowSlot) { f.Timeout = 50_000 })
			}
			c.now -= c.now % (10 * ms)
			for range 110 { // one pass of ageing
				c.now += 10 * ms
				n.core.Tick(c.now)
			}
		}
	}
	c.kill(2)
	c.kill(3)
	k1 := c.flow(1, old).Key[1]
	weeks(true)
	c.apply(2, 2, 1) // the others are cut off
	n.fake.apart = true
	c.run(100 * ms)
	n.table.UpdateFlow(slot, func(f *flowtable.FlowSlot) { f.Timeout = 1 })
	c.run(10_000 * ms)
	if s := n.table.Stats(); s.Flows != 0 || n.fake.uses[k1] != 1 {
		t.Fatalf("%d flows; the key of a connection that others may own is free: uses %v", s.Flows, n.fake.uses)
	}
	weeks(false)
	n.fake.apart = false
	c.run(20_000 * ms)
	if n.fake.uses[k1] != 0 {
		t.Fatal("the key never comes free")
	}
}

// Packets to ports that nobody has take no room from those that wait for an answer:
// who allocates the port knows at once that there is nobody.
func TestTR2_AFloodToAPoolStarvesNobody(t *testing.T) {
	c := natCluster(t, 1, 2, 3, 4)
	c.run(5000 * ms)
	n := c.nodes[2]
	for i := range 20000 {
		k := packet.FlowKey{Src: packet.Addr{193, 0, byte(i >> 8), byte(i)}, Dst: public, SrcPort: 5, DstPort: uint16(2048 + i%1000), Proto: packet.ProtoTCP}
		p := tcp(k, ACK)
		p.In, p.Handle = 2, Handle(1000+i)
		n.core.Packet(c.now, &p)
	}
	if held := n.core.pending.held; held != 0 {
		t.Fatalf("%d packets wait for nobody", held)
	}
	for i, v := range n.released {
		if i >= 1000 && v.Reason != ReasonNoConnection {
			t.Fatalf("%+v", v)
		}
	}
}
