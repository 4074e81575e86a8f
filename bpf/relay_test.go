package bpf_test

import (
	"testing"

	"cohort/bpf"
	"cohort/packet"
)

// relayed is the connection of these tests, whose return packets node 2 directs
// and node 3 has taken over; port 40000 of mappedAddr is its own.
var relayed = back(packet.ProtoTCP, 40000)

// relay is node 2, which directs the unit of relayed and knows its new owner.
func relay(t *testing.T) *node {
	n := newNode(t, 2).pool()
	n.members[4] = bpf.Member{Vtep: mapped(n.over.vtep(4)), Mac: macOf(4), Flags: bpf.MemberAlive, Incarnation: 0xa4}
	n.direct(40000, 2)
	n.addForward(relayed, 3)
	return n
}

// steered is the frame of a packet from the wire that another node steered.
func steered(t testing.TB, by, to uint8, k packet.FlowKey) frame {
	f := carries(by, to, unpadded(t, from(k)))
	f.iface, f.gen = outside, 0
	return f
}

// TestFR6_DirectorRelaysToTheNewOwner: one hop more, entry and interface as
// they were, the generation that the director knows, and the entry is in use.
func TestFR6_DirectorRelaysToTheNewOwner(t *testing.T) {
	n := relay(t)
	for hops := uint8(1); hops < bpf.CCLMaxHops; hops++ {
		in := steered(t, 1, 2, relayed)
		in.hops, in.entry = hops, 4
		r := n.runCCL(in.bytes(t)).want(t, bpf.ForwardRelayed)
		want := in
		h1, _ := n.table.Hash(relayed)
		want.from, want.to, want.src, want.hops, want.gen, want.sport = 2, 3, 2, hops+1, 77, 0xc000|uint16(h1&0x3fff)
		wantBytes(t, r.packet, want.bytes(t))
	}
	fwd := n.table.Forward(n.table.Lookup(relayed).Slot())
	if packets, octets := fwd.Counters(); packets != 2 || octets != 2*52 || fwd.SeenAt() == 0 {
		t.Errorf("forward entry: %d packets, %d bytes, last at %d", packets, octets, fwd.SeenAt())
	}
}

// TestFR6_WhatIsNotRelayed goes to Go, as every frame did that met a forward
// entry.
func TestFR6_WhatIsNotRelayed(t *testing.T) {
	for _, c := range []struct {
		name  string
		setup func(*node, *frame)
		want  bpf.Outcome
	}{
		{"last_hop", func(_ *node, f *frame) { f.hops = bpf.CCLMaxHops }, bpf.PuntNotOwner},
		{"sender_is_the_owner", func(_ *node, f *frame) { f.from, f.src = 3, 3 }, bpf.PuntNotOwner},
		{"owner_is_dead", func(n *node, _ *frame) { n.members[3].Flags = 0 }, bpf.PuntNotOwner},
		{"owner_lives_again", func(n *node, _ *frame) { n.members[3].Incarnation++ }, bpf.PuntNotOwner},
		{"unit_of_another", func(n *node, _ *frame) { n.direct(40000, 4) }, bpf.PuntNotOwner},
		{"unit_of_the_owner", func(n *node, _ *frame) { n.direct(40000, 3) }, bpf.PuntNotOwner},
		{"unit_of_nobody", func(n *node, _ *frame) { n.direct(40000, 0) }, bpf.PuntNotOwner},
		{"unit_of_nobody_and_no_id", func(n *node, _ *frame) { n.direct(40000, 0); n.control.Self = 0 }, bpf.PuntNotOwner},
		{"no_pool_address", func(n *node, _ *frame) { must(n.t, n.maps.NatAddrs.Delete(be32(mappedAddr))) }, bpf.PuntNotOwner},
		{"slow_only", func(n *node, _ *frame) { n.control.Flags = bpf.ControlSlowOnly }, bpf.PuntSlowOnly},
		{"other_connection", func(n *node, f *frame) { f.ip[22]++ }, bpf.PuntMiss}, // destination port + 256
	} {
		t.Run(c.name, func(t *testing.T) {
			n := relay(t)
			in := steered(t, 1, 2, relayed)
			c.setup(n, &in)
			r := n.runCCL(in.bytes(t)).want(t, c.want)
			wantBytes(t, r.packet[14:], in.ip)
			if r.punt.From != in.src || r.punt.Hops != in.hops || r.punt.Entry != in.entry {
				t.Errorf("punt %+v", *r.punt)
			}
			fwd := n.table.Forward(n.table.Lookup(relayed).Slot())
			if packets, _ := fwd.Counters(); packets != 0 {
				t.Error("the forward entry counts a packet that did not use it")
			}
		})
	}
}

// TestFR6_SteeredMissIsNotSteeredAgain: what the director does not know is for
// Go to find out, also when it thinks that another node directs.
func TestFR6_SteeredMissIsNotSteeredAgain(t *testing.T) {
	n := newNode(t, 2).pool()
	for _, director := range []uint8{0, 1, 2, 3} {
		n.direct(40000, director)
		r := n.runCCL(steered(t, 1, 2, relayed).bytes(t)).want(t, bpf.PuntMiss)
		if r.punt.From != 1 || r.punt.Hops != 1 || r.punt.Gen != 0 {
			t.Errorf("punt %+v", *r.punt)
		}
	}
}

// TestNobodyForwardsToItself, whatever a forward entry says.
func TestNobodyForwardsToItself(t *testing.T) {
	n := newNode(t, 2).pool()
	n.direct(40000, 2)
	n.addForward(relayed, 2)
	n.runCCL(steered(t, 1, 2, relayed).bytes(t)).want(t, bpf.PuntNotOwner)
	n.enterBy(outside)
	n.runData(from(relayed).bytes(t)).want(t, bpf.PuntStaleForward)
}

// TestFR6_NodesThatDisagreeDoNotLoop: each believes that it directs the unit
// and that the next one is the owner. What one sends is what the next gets,
// until it ends in Go.
func TestFR6_NodesThatDisagreeDoNotLoop(t *testing.T) {
	for name, next := range map[string]map[uint8]uint8{
		"two":   {1: 2, 2: 1},
		"three": {1: 2, 2: 3, 3: 1},
	} {
		t.Run(name, func(t *testing.T) {
			nodes := make(map[uint8]*node)
			for id, owner := range next {
				nodes[id] = newNode(t, id).pool()
				nodes[id].direct(40000, id)
				nodes[id].addForward(relayed, owner)
			}
			nodes[1].enterBy(outside)
			r := nodes[1].runData(unpadded(t, from(relayed))).want(t, bpf.ForwardCCL)
			at, hops := next[1], 1
			for r = nodes[at].runCCL(r.packet); r.outcome == bpf.ForwardRelayed; r = nodes[at].runCCL(r.packet) {
				at = next[at]
				if hops++; hops > bpf.CCLMaxHops {
					t.Fatal("it goes on for ever")
				}
			}
			r.want(t, bpf.PuntNotOwner)
			if want := map[string]int{"two": 1, "three": bpf.CCLMaxHops}[name]; hops != want || int(r.punt.Hops) != want {
				t.Errorf("%d hops, the punt says %d, want %d", hops, r.punt.Hops, want)
			}
		})
	}
}

// TestFR6_NT5_ReturnPathBeforeAndAfterATakeover follows a translated connection
// without a network: client - forwarder 1 - owner 2 - server, the answer by
// node 3, which knows nothing of it. Then node 1 takes it over, and its mapped
// port remains in a unit of node 2.
func TestFR6_NT5_ReturnPathBeforeAndAfterATakeover(t *testing.T) {
	for name, k := range map[string]packet.FlowKey{"tcp": tcpKey, "udp": udpKey, "icmp": echoKey} {
		t.Run(name, func(t *testing.T) {
			a, b, c := newNode(t, 1).pool(), newNode(t, 2).pool(), newNode(t, 3).pool()
			for _, n := range []*node{a, b, c} {
				n.direct(40000, 2)
			}
			c.enterBy(outside)
			mapping := translated(k, mappedAddr, 40000)
			slot, f := b.addFlow(k, mapping)
			a.addForward(k, 2)

			request := from(k)
			asMapped := request.sentTo(serverMAC)
			asMapped.key = f.Key[1].Reverse()
			link := a.runData(unpadded(t, request)).want(t, bpf.ForwardCCL)
			sent := b.runCCL(link.packet).want(t, bpf.ForwardOwnerCCL)
			wantBytes(t, sent.packet, unpadded(t, asMapped))

			answer := from(f.Key[1])
			asReal := answer.sentTo(clientMAC)
			asReal.key = k.Reverse()
			link = c.runData(unpadded(t, answer)).want(t, bpf.ForwardSteered)
			sent = b.runCCL(link.packet).want(t, bpf.ForwardOwnerCCL)
			wantBytes(t, sent.packet, unpadded(t, asReal))

			b.table.RemoveFlow(slot)
			b.addForward(answer.key, 1)
			a.table.RemoveForward(a.table.Lookup(k).Slot())
			a.addFlow(k, mapping)
			sent = a.runData(unpadded(t, request)).want(t, bpf.ForwardOwner)
			wantBytes(t, sent.packet, unpadded(t, asMapped))
			link = c.runData(unpadded(t, answer)).want(t, bpf.ForwardSteered)
			link = b.runCCL(link.packet).want(t, bpf.ForwardRelayed)
			sent = a.runCCL(link.packet).want(t, bpf.ForwardOwnerCCL)
			wantBytes(t, sent.packet, unpadded(t, asReal))
		})
	}
}
