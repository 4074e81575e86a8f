package ownership

import (
	"testing"

	"cohort/ccl/wire"
	"cohort/packet"
	"cohort/policy"
)

// CL8: a Bind may wait for other messages where a port of the owner's leads packets to it
// without one. It may not where nobody else knows of the second key, nor where a packet
// waits for its answer.
func TestCL8_ABindMayWaitWhereThePortLeadsToTheOwner(t *testing.T) {
	for name, c := range map[string]struct {
		change func(n *testNode)
		late   bool
	}{
		"a port of the owner's": {func(*testNode) {}, true},
		"a static translation":  {func(n *testNode) { n.fake.fixed = packet.Addr{198, 51, 100, 80} }, false},
		"durability sync":       {func(n *testNode) { n.core.cfg.Policy = durable{*n, policy.Sync} }, false},
	} {
		t.Run(name, func(t *testing.T) {
			cl := natCluster(t, 1, 2, 3, 4)
			binds := 0
			for _, n := range cl.nodes {
				c.change(n)
				n.core.cfg.Trace = func(_, _ wire.NodeID, m wire.Message) {
					if b, ok := m.(*wire.Bind); ok {
						if binds++; b.Late != c.late {
							t.Errorf("%+v: may wait: %v, want %v", b.Key, b.Late, c.late)
						}
					}
				}
			}
			for port := range uint16(60) {
				k := packet.FlowKey{Src: packet.Addr{10, 0, 0, 1}, Dst: packet.Addr{192, 0, 2, 1}, SrcPort: 2000 + port, DstPort: 53, Proto: packet.ProtoUDP}
				cl.at(wire.NodeID(port%4+1), udp(k))
			}
			if cl.run(20 * ms); binds == 0 {
				t.Fatal("nothing was bound")
			}
		})
	}
}
