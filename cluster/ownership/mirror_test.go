package ownership

import (
	"testing"

	"cohort/ccl/wire"
	"cohort/packet"
)

// The second key of a static translation is in no unit, and a cluster may have no
// images until an answer is taken for a first packet. The director of that key, which
// has its stub and nothing else of the connection, leads the answer to the owner.
func TestFR6_AStubOfAStaticTranslationLeadsAnAnswerToItsConnection(t *testing.T) {
	played := 0
	for port := uint16(2000); port < 2040; port++ {
		c := natCluster(t, 1, 2, 3, 4)
		for _, n := range c.nodes {
			n.fake.fixed = packet.Addr{198, 51, 100, 80}
		}
		k := packet.FlowKey{Src: packet.Addr{10, 0, 0, 1}, Dst: packet.Addr{192, 0, 2, 1}, SrcPort: port, DstPort: 53, Proto: packet.ProtoUDP}
		owner, v := c.at(1, udp(k))
		wantForward(t, v)
		c.run(20 * ms)
		reply := c.reply(k)
		director := c.order().Director(reply)
		_, copied := c.nodes[director].core.copyOf(canonical(k))
		if director == owner || copied {
			continue
		}
		c.wantStub(reply, director, owner)
		played++
		n := c.nodes[(director%4)+1]
		if n.id == owner {
			n = c.nodes[(n.id%4)+1]
		}
		n.handle++
		p := udp(reply)
		p.In, p.Handle = 2, n.handle
		claim := wire.Conn{Key: reply, Reply: k, Gen: 1, In: 2, Out: 1, Timeout: 30}
		if v := n.core.ask(&p, canonical(reply), waitClaim, &claim); v.Op != OpHold {
			t.Fatalf("%+v, want it to wait", v)
		}
		c.run(20 * ms)
		if v, over := n.released[p.Handle]; !over || v.Op != OpSend || v.Node != owner {
			t.Fatalf("node %d asks node %d: %+v (answered: %v), want it sent to the owner, node %d", n.id, director, v, over, owner)
		}
	}
	if played == 0 {
		t.Fatal("nobody has a stub alone")
	}
}

// Each side of a cut made a mapping of its own. When the inside's connection is bound,
// the director of its second key owns the image, and no stub tells of one: it has the
// image's flow alone. The image ends.
func TestFR14_ABindEndsAnImageThatIsKnownByItsFlowAlone(t *testing.T) {
	c := natCluster(t, 1, 2, 3, 4)
	k := inside(1, packet.ProtoUDP)
	in := k.Reverse()
	in.Dst, in.DstPort = public, 1100
	for c.order().Director(in) == c.order().Director(k) {
		in.DstPort++
	}
	holder := c.order().Director(in)
	image := wire.Conn{Key: in, Reply: k, Gen: 1, In: 2, Out: 1, Timeout: 120}
	n := c.nodes[holder]
	if _, r := n.core.install(&image, 0); r != ReasonNone {
		t.Fatal(r)
	}
	owner := holder%4 + 1
	conn := wire.Conn{Key: k, Reply: in, Gen: 1, In: 1, Out: 2, Timeout: 120}
	if _, r := c.nodes[owner].core.install(&conn, 0); r != ReasonNone {
		t.Fatal(r)
	}
	n.core.Message(c.now, owner, &wire.Bind{Key: in, Conn: k, Gen: 1, Timeout: 120})
	if ref, f := n.core.owning(in); ref != 0 {
		t.Fatalf("node %d still owns the image %v of what node %d has bound", holder, f.Key, owner)
	}
	if n.core.Stats().Duplicates != 1 {
		t.Errorf("%d duplicates were resolved, want the image", n.core.Stats().Duplicates)
	}
}

func canonical(k packet.FlowKey) packet.FlowKey {
	k, _ = k.Canonical()
	return k
}
