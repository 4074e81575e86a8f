package ownership

import (
	"testing"

	"cohort/packet"
)

// later is a fragment without ports of its own, of a datagram of k.
func later(k packet.FlowKey) Packet {
	p := udp(k)
	p.Kind, p.Fragment = KindFragment, true
	return p
}

// A later fragment begins nothing, wherever it arrives: who sends the rest of a datagram
// whose first fragment was refused, or never sent, gets no entry in any table.
func TestFR10_ALaterFragmentBeginsNothing(t *testing.T) {
	c := newCluster(t, 1, 2, 3)
	k := c.keyDirectedBy(packet.ProtoUDP, 3)
	for id := range c.nodes {
		_, v := c.at(id, later(k))
		wantDrop(t, v, ReasonNoConnection)
	}
	c.wantNoOwner(k)
}

// One of a connection that another node owns goes there with its ports, at once where
// that is known and after the answer where it has to be asked for.
func TestFR10_AFragmentTravelsWithItsPorts(t *testing.T) {
	c := newCluster(t, 1, 2, 3)
	k := c.keyDirectedBy(packet.ProtoUDP, 3)
	_, v := c.at(1, udp(k))
	wantForward(t, v)
	want := Verdict{Op: OpLabel, Node: 1, Gen: Label(k)}
	if src, dst := Unlabel(want.Gen); src != k.SrcPort || dst != k.DstPort {
		t.Fatalf("%v became %d and %d", k, src, dst)
	}
	for _, ask := range []bool{true, false} {
		p := later(k)
		p.Handle = 9
		delete(c.nodes[2].released, 9)
		v := c.nodes[2].core.Packet(c.now, &p)
		if held := v.Op == OpHold; held != ask {
			t.Fatalf("held: %v, want %v", held, ask)
		}
		if ask {
			c.run(20 * ms)
			v = c.nodes[2].released[9]
		}
		if v != want {
			t.Errorf("asked %v: %+v, want %+v", ask, v, want)
		}
	}
}
