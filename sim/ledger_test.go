package sim

import (
	"testing"

	"cohort/ccl/wire"
	"cohort/cluster/ownership"
	"cohort/packet"
)

// TestNT4_WhoThawsMustKnowWhatIsInUse has a node thaw units that another node's
// connections are in, and takes from it what it knows of them: it may miss a connection
// whose Bind is on its way from the owner of the mapping that it is made through, and
// nothing else.
func TestNT4_WhoThawsMustKnowWhatIsInUse(t *testing.T) {
	for _, host := range []packet.Addr{
		{10, 0, 1, 1}, // a port
		{10, 0, 2, 1}, // an address, by a mapping
		{10, 0, 3, 1}, // a port, by a mapping
	} {
		w := open(Config{Seed: 1, Nodes: 3, Town: true})
		w.boot()
		w.advance(2 * second)
		c := &conn{w: w, id: 1, in: inside, kind: ownership.KindUDP, steps: 2, key: key(packet.ProtoUDP, host, 5000, server, 80)}
		w.conns = append(w.conns, c)
		w.enter(c.packet(0, false, c.key))
		w.advance(second)
		var owner, n *node
		var k1 packet.FlowKey
		for _, m := range w.nodes {
			if ref := m.table.Lookup(c.key); ref != 0 && !ref.IsForward() {
				owner, k1 = m, m.table.Flow(ref.Slot()).Key[1]
			}
		}
		for _, m := range w.nodes {
			if m != owner && m.keeps(k1) {
				n = m
			}
		}
		if n == nil {
			t.Fatalf("%v: nobody but its owner knows %v", host, k1)
		}
		unit, _ := n.rules().Geometry().UnitOf(k1)
		try := func(what string, violations int) {
			t.Helper()
			w.check.said, w.result.Violations = nil, nil
			if w.thawed(n, unit); len(w.result.Violations) != violations {
				t.Errorf("%v, %s: %d violations, want %d: %v", host, what, len(w.result.Violations), violations, w.result.Violations)
			}
		}
		forget := func(k1 packet.FlowKey) {
			n.stubs.Delete(k1)
			if e, joined := n.copies.ByOther(k1); joined {
				n.copies.Part(e.Key().Unpack())
			}
			if ref := n.table.Lookup(k1); ref != 0 {
				n.table.RemoveForward(ref.Slot())
			}
			if n.keeps(k1) {
				t.Fatalf("%v: node %d still knows %v", host, n.index+1, k1)
			}
		}
		try("all is known", 0)
		forget(k1)
		m, _ := n.core.Translator().Mapped(k1)
		if !n.keeps(m) {
			try("the connection is not", 1)
			continue
		}
		if host[2] == 1 {
			t.Fatalf("%v has a mapping", host)
		}
		try("its mapping is", 0)
		if e, known := n.stubs.Get(m); known {
			e.SetLife(wire.ConnTomb, 0)
			try("there is a tomb of its mapping", 1)
		}
		forget(m)
		try("neither it nor its mapping is", 2)
	}
}
