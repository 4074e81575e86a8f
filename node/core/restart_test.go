package core

import (
	"net/netip"
	"testing"

	"cohort/cluster/blocks"
	"cohort/cluster/ownership"
	"cohort/nat"
	"cohort/packet"
)

// A daemon that is restarted within its life finds out again which blocks are
// whose: the limit of a host counts them, nobody else gets them, and their end is
// in the log, whose lines begin with the former process (NT6, HL5; RFC 6888,
// REQ-12).
func TestNT6_HostsKeepTheirBlocksAcrossARestart(t *testing.T) {
	rules := egressOf(t, nat.Pool{Name: "egress", BlockSize: 512, MaxBlocksPerHost: 1})
	g := newGroup(t, 1, rules, 1024)
	n := g.nodes[0]
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
	n.resumes = true
	n.start(t, 0, []netip.Addr{n.vtep}, rules, 1024)
	n.core.RestoreUnits(g.now, view.Member(self).Incarnation, blocks.Number(view), held, nil, nil, nil)
	if err := n.core.Resume(g.now, view, self, "", 0); err != nil {
		t.Fatal(err)
	}
	for range 1000 {
		g.tick()
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
	if len(n.lines) != 2 || n.core.hosts.Here(0, host) != 0 {
		t.Fatalf("%d blocks of the host are left, log %v", n.core.hosts.Here(0, host), n.lines)
	}
}
