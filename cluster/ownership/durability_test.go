package ownership

import (
	"testing"

	"cohort/ccl/wire"
	"cohort/packet"
	"cohort/policy"
)

// none is a policy whose every rule says durability none.
type none struct{}

func (none) Judge(_, _ uint8, _ packet.FlowKey) policy.Verdict {
	return policy.Verdict{Allow: true, Durability: policy.None}
}

// With durability none the director knows the owner, so that forwarders find
// it, and nobody can take the connection over.
func TestFR13_NoneIsFoundButNotInherited(t *testing.T) {
	for _, proto := range []uint8{packet.ProtoTCP, packet.ProtoUDP} {
		c := newCluster(t, 1, 2, 3)
		c.nodes[1].core.cfg.Policy = none{}
		k := c.keyDirectedBy(proto, 3)
		first, later, why := tcp(k, SYN), tcp(k, ACK), ReasonNoConnection
		if proto == packet.ProtoUDP {
			first, later, why = udp(k), udp(k.Reverse()), ReasonPolicyDenied
		}
		_, v := c.at(1, first)
		wantForward(t, v)
		out, v := c.at(2, later)
		wantForward(t, v)
		if out != 1 {
			t.Fatalf("%s: forwarded by %d, want the owner 1", packet.ProtoName(proto), out)
		}
		c.run(20 * ms)
		c.kill(1)
		c.apply(1, 2, 2, 3)
		c.run(50 * ms)
		_, v = c.at(2, later)
		wantDrop(t, v, why)
		if got := c.owners(k); len(got) != 0 {
			t.Fatalf("%s: %v took over a connection of durability none", packet.ProtoName(proto), got)
		}
	}
}

// A director that owns the connection itself sends no copy anywhere.
func TestFR13_NoneSendsNoCopy(t *testing.T) {
	c := newCluster(t, 1, 2, 3)
	c.nodes[1].core.cfg.Policy = none{}
	k := c.keyDirectedBy(packet.ProtoUDP, 1)
	_, v := c.at(1, udp(k))
	wantForward(t, v)
	c.run(20 * ms)
	for id := wire.NodeID(2); id <= 3; id++ {
		if c.nodes[id].copies.Len() != 0 {
			t.Fatalf("node %d has a copy of a connection of durability none", id)
		}
	}
}

// The owner of a statically translated connection of durability none dies. Its
// initiator begins again, and that is no conflict with what is left of it.
func TestFR13_AStaticTranslationOfDurabilityNoneBeginsAgain(t *testing.T) {
	for _, proto := range []uint8{packet.ProtoTCP, packet.ProtoUDP} {
		for id := wire.NodeID(2); id <= 4; id++ {
			c := natCluster(t, 1, 2, 3, 4)
			for _, n := range c.nodes {
				n.core.cfg.Policy = none{}
			}
			_, first := c.beginFixed(proto)
			c.kill(1)
			c.apply(1, 2, 2, 3, 4)
			for _, n := range c.nodes {
				n.fake.apart = true
			}
			c.run(5000 * ms)
			_, v := c.at(id, first)
			if v.Op != OpForward {
				t.Errorf("%s at node %d: %+v (%v)", packet.ProtoName(proto), id, v, v.Reason)
			}
		}
	}
}
