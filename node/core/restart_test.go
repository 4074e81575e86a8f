package core

import (
	"net/netip"
	"testing"

	"cohort/ccl/wire"
	"cohort/cluster/blocks"
	"cohort/cluster/ownership"
	"cohort/cluster/translate"
	"cohort/nat"
	"cohort/packet"
)

// A daemon that is restarted within its life goes on with what blocks are whose: the
// limit of a host counts them, nobody else gets them, and their end is in the log, whose
// lines begin with the former process (NT6, HL5; RFC 6888, REQ-12). A block that is
// nobody's, because it was thawed in use, does not become its host's by this: that could
// have more than it may.
func TestNT6_HostsKeepTheirBlocksAcrossARestart(t *testing.T) {
	t.Run("with a connection", func(t *testing.T) { restartsWithABlock(t, true) })
	t.Run("thawed in use", func(t *testing.T) { restartsWithABlock(t, false) })
}

func restartsWithABlock(t *testing.T, owned bool) {
	rules := egressOf(t, nat.Pool{Name: "egress", BlockSize: 512, MaxBlocksPerHost: 1})
	g := newGroup(t, 1, rules, 1024)
	n := g.nodes[0]
	n.journal = &keeper{own: map[int]packet.Addr{}}
	n.start(t, 0, []netip.Addr{n.vtep}, rules, 1024)
	for range 500 {
		g.tick()
	}
	p := ownership.Packet{
		Kind: ownership.KindTCP, In: 1, Len: 40, Flags: ownership.SYN, WScale: 0xff, SeqLen: 1, Handle: 1,
		Key: packet.FlowKey{Src: packet.Addr{10, 0, 0, 1}, Dst: packet.Addr{192, 0, 2, 1}, SrcPort: 4000, DstPort: 443, Proto: packet.ProtoTCP},
	}
	n.core.Packet(g.now, &p) // it may wait for the block
	for range 100 {
		g.tick()
	}
	view, self := n.core.View()
	var held []int
	unit := -1
	for u := range rules.Geometry().Units() {
		if n.core.Units().Held(u) {
			held = append(held, u)
		}
		if _, ok := n.core.Translator().Ports().HostOf(u); ok {
			unit = u
		}
	}
	host, ok := n.core.Translator().Ports().HostOf(unit)
	if !ok || len(n.lines) != 1 {
		t.Fatalf("no block is a host's: %v", n.lines)
	}
	own := n.journal.(*keeper).own
	if len(own) != 1 || own[unit] != host {
		t.Fatalf("the journal has %v, and block %d is %v's", own, unit, host)
	}
	list := []translate.Own{{Unit: unit, Host: host}}
	if !owned {
		list = nil
	}
	n.resumes = true
	n.start(t, 0, []netip.Addr{n.vtep}, rules, 1024)
	n.core.RestoreUnits(g.now, Units{Life: view.Member(self).Incarnation, View: blocks.Number(view), Held: held, Own: list})
	if err := n.core.Resume(g.now, view, self, "", 0); err != nil {
		t.Fatal(err)
	}
	for range 1000 {
		g.tick()
	}
	if !owned {
		if got, yes := n.core.Translator().Ports().HostOf(unit); yes || n.core.hosts.Here(0, host) != 0 {
			t.Fatalf("block %d, which was nobody's, is %v's, who has %d", unit, got, n.core.hosts.Here(0, host))
		}
		return
	}
	if got, _ := n.core.Translator().Ports().HostOf(unit); got != host || n.core.hosts.Here(0, host) != 1 {
		t.Fatalf("block %d is %v's, who has %d, want %v and 1", unit, got, n.core.hosts.Here(0, host), host)
	}
	for range 5000 { // the handshake's time and the hold-down
		g.tick()
	}
	for range 18000 {
		g.tick()
	}
	if j := n.journal.(*keeper); len(j.own) != 0 || len(j.waits) == 0 || j.waits[0].Key.Proto != packet.ProtoTCP {
		t.Errorf("the journal has %v, and %v rest", j.own, j.waits)
	}
	if len(n.lines) != 2 || n.core.hosts.Here(0, host) != 0 {
		t.Fatalf("%d blocks of the host are left, log %v", n.core.hosts.Here(0, host), n.lines)
	}
}

// A member that asks for a block of a pool that there is not is refused, and nothing else
// happens: whatever is wrong with it is wrong with it alone.
func TestNT6_AQuestionAboutNoPoolIsRefused(t *testing.T) {
	rules := egressOf(t, nat.Pool{Name: "egress", BlockSize: 512, MaxBlocksPerHost: 1})
	g := newGroup(t, 1, rules, 64)
	n := g.nodes[0]
	view, self := n.core.View()
	for _, pool := range []uint16{1, 65535} {
		before := n.core.hosts.Stats()
		n.core.hosts.Message(self, wire.HostUnits{View: view.Tag(), Op: wire.HostAsk, Pool: pool, Host: packet.Addr{10, 0, 0, 1}})
		if after := n.core.hosts.Stats(); after.Refused != before.Refused+1 || after.Granted != before.Granted {
			t.Errorf("pool %d: %+v, and before %+v", pool, after, before)
		}
	}
}

// keeper is a journal that the next process reads in memory.
type keeper struct {
	own   map[int]packet.Addr
	waits []nat.Hold
}

func (*keeper) View(uint64)    {}
func (*keeper) Hold(int, bool) {}

func (k *keeper) Owns(uint32, []translate.Own) { clear(k.own) }

func (k *keeper) Own(unit int, host packet.Addr) {
	if k.own[unit] = host; host == (packet.Addr{}) {
		delete(k.own, unit)
	}
}

func (k *keeper) Wait(key packet.FlowKey, end int64) {
	k.waits = append(k.waits, nat.Hold{Key: key, End: end})
}
