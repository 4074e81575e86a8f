package core

import (
	"net/netip"
	"testing"
	"time"

	"cohort/cluster/health"
	"cohort/cluster/ownership"
	"cohort/packet"
)

// A daemon that is restarted in the middle of a drain goes on with it, and nobody
// hears of anything in between; unless what began it ends with the process.
func TestEL10_ADrainOutlivesItsDaemon(t *testing.T) {
	for name, leaving := range map[string]string{"goes on": "drained", "is over": ""} {
		t.Run(name, func(t *testing.T) {
			g := newGroup(t, 2, nil, 64)
			a, b := g.nodes[0], g.nodes[1]
			// A connection in the middle of its handshake stays where it is for two seconds.
			b.core.Packet(g.now, &ownership.Packet{
				Kind: ownership.KindTCP, In: 1, Len: 40, Flags: ownership.SYN, WScale: 0xff, SeqLen: 1, Handle: 1,
				Key: packet.FlowKey{Src: packet.Addr{10, 0, 0, 1}, Dst: packet.Addr{192, 0, 2, 1}, SrcPort: 4000, DstPort: 443, Proto: packet.ProtoTCP},
			})
			if err := b.core.Drain(g.now, Patience, "drained"); err != nil {
				t.Fatal(err)
			}
			for range 50 {
				g.tick()
			}
			view, self := b.core.View()
			if !view.Drains(self) || b.core.Leaving() == "" {
				t.Fatalf("the drain is over, or was not heard of: %+v", view)
			}
			epoch := view.Epoch
			b.resumes = true
			b.start(t, 1, []netip.Addr{a.vtep, b.vtep}, nil, 64)
			if err := b.core.Resume(g.now, view, self, leaving, Patience); err != nil {
				t.Fatal(err)
			}
			out := func() bool { return b.core.Ladder().Phase == health.Disabled }
			for range int(time.Second / (10 * time.Millisecond)) {
				g.tick()
			}
			if now, _ := a.core.View(); leaving != "" && (now.Epoch != epoch || out()) {
				t.Fatalf("view %d follows %d, out %v: the restart was noticed", now.Epoch, epoch, out())
			}
			for range 800 {
				g.tick()
			}
			left, _ := b.core.Draining()
			now, _ := a.core.View()
			if out() != (leaving != "") || left != 0 || now.Drains(self) || (now.Member(self) == nil) != (leaving != "") {
				t.Fatalf("out %v with %d connections; the other's view: %+v", out(), left, now)
			}
		})
	}
}

// Nobody hears of a drain that a successor of this process could not go on with; but a
// disk that does not answer keeps no node from going. A connection in the middle of its
// handshake keeps it from being over.
func TestEL10_OthersHearOfADrainWhenItIsKept(t *testing.T) {
	for name, kept := range map[string]bool{"kept": true, "disk is full": false} {
		t.Run(name, func(t *testing.T) {
			g := newGroup(t, 2, nil, 64)
			a, b := g.nodes[0], g.nodes[1]
			onDisk := false
			b.core.kept = func(string) bool { return onDisk }
			b.core.Packet(g.now, &ownership.Packet{
				Kind: ownership.KindTCP, In: 1, Len: 40, Flags: ownership.SYN, WScale: 0xff, SeqLen: 1, Handle: 1,
				Key: packet.FlowKey{Src: packet.Addr{10, 0, 0, 1}, Dst: packet.Addr{192, 0, 2, 1}, SrcPort: 4000, DstPort: 443, Proto: packet.ProtoTCP},
			})
			if err := b.core.Drain(g.now, Patience, "drained"); err != nil {
				t.Fatal(err)
			}
			_, self := b.core.View()
			heard := func() bool { v, _ := a.core.View(); return v.Drains(self) }
			for range 50 {
				g.tick()
			}
			if b.core.Leaving() == "" || heard() {
				t.Fatalf("leaving %q, the other has heard of it: %v", b.core.Leaving(), heard())
			}
			onDisk = kept
			ticks := 2
			if !kept {
				ticks = 60
			}
			for range ticks {
				g.tick()
			}
			if !heard() {
				t.Fatal("the other has not heard of it")
			}
			for range 400 {
				g.tick()
			}
			if b.core.Ladder().Phase != health.Disabled {
				t.Fatal("the drain does not end")
			}
		})
	}
}
