package membership

import (
	"encoding/binary"
	"math/rand/v2"
	"net/netip"
	"reflect"
	"testing"
	"time"

	"cohort/ccl/wire"
)

// randomMember looks like one of the nodes more often than not.
func randomMember(n *network) wire.Member {
	r := n.rand
	m := pick(n, n.nodes...).cfg.Self
	m.ID = wire.NodeID(r.IntN(6))
	switch r.IntN(8) {
	case 0:
		m = wire.Member{}
	case 1:
		m.Incarnation = wire.Incarnation(r.Uint64())
	case 2:
		m.VTEP = vtep(r.IntN(7))
	case 3:
		m.ID = wire.NodeID(r.IntN(256))
	case 4:
		m.Name = "stranger"
	case 5:
		m.Priority = uint8(r.IntN(256))
	}
	return m
}

func randomNumber(r *rand.Rand) uint32 {
	switch r.IntN(3) {
	case 0:
		return r.Uint32()
	case 1:
		return uint32(r.IntN(4))
	}
	return uint32(r.IntN(5))<<termHostBits | uint32(r.IntN(5))
}

func randomMessage(n *network) wire.Message {
	r := n.rand
	switch r.IntN(11) {
	case 0:
		return wire.ElectionRequest{From: randomMember(n), Cluster: "edge"}
	case 1:
		return wire.ElectionReply{From: randomMember(n), Control: wire.NodeID(r.IntN(6)), Term: randomNumber(r), Epoch: randomNumber(r)}
	case 2:
		return wire.Join{From: randomMember(n), Cluster: "edge", Version: "1", DataMTU: 1500, Interfaces: []string{"inside", "outside"}}
	case 3:
		return wire.JoinRefused{Reason: "no"}
	case 4:
		v := wire.View{Term: randomNumber(r), Epoch: randomNumber(r), Control: wire.NodeID(r.IntN(6))}
		for range r.IntN(5) {
			v.Members = append(v.Members, randomMember(n))
		}
		if r.IntN(2) == 0 {
			sortMembers(v.Members)
		}
		return wire.ViewMsg{View: v}
	case 5:
		return wire.Leave{From: randomMember(n)}
	case 6:
		return wire.Probe{ID: 1, Size: 100}
	case 7:
		return wire.Claim{}
	case 8:
		return wire.Removed{
			Life: pick(n, n.nodes...).cfg.Self.Incarnation, Term: randomNumber(r), Epoch: randomNumber(r),
			Cause: wire.Cause(r.IntN(8)), Reason: "because",
		}
	case 9:
		return wire.Order{Verb: wire.OrderVerb(r.IntN(5)), Node: wire.NodeID(r.IntN(64)), Term: randomNumber(r), Epoch: randomNumber(r)}
	}
	return wire.Heartbeat{
		From: randomMember(n), State: wire.NodeState(r.IntN(6)), Term: randomNumber(r), Epoch: randomNumber(r),
		Control: wire.NodeID(r.IntN(70)), Alive: r.Uint64(), Down: r.Uint32(), Flags: wire.BeatFlags(r.IntN(256)),
	}
}

// consistent checks what must hold in any machine after any input.
func (t *testNode) consistent() string {
	m := t.m
	switch {
	case (m.view != nil) != (m.state == wire.StateInSync):
		return "state and view do not fit"
	case m.view != nil && (!validView(m.view) || !m.named(m.view) || m.view.Named(m.self.Name).ID != m.self.ID):
		return "the view is not one of a member"
	case m.view == nil && m.self.ID != 0:
		return "an id without a view"
	case m.state == wire.StateJoining && m.joining.target == nil:
		return "joining nobody"
	}
	return ""
}

// TestStepSurvivesAnything sends nonsense that is authenticated: no panic, and
// the state stays consistent.
func TestStepSurvivesAnything(t *testing.T) {
	forSeeds(t, 4, func(n *network) {
		n.build(DefaultHold)
		for _, t := range n.nodes {
			t.boot()
		}
		n.run(DefaultHold)
		for range 50 {
			to := pick(n, n.nodes...)
			from := pick(n, n.nodes...).cfg.Self.VTEP
			to.do(func() { to.m.Step(n.now, from, randomMessage(n)) })
			n.run(n.between(1, pick(n, time.Millisecond, DefaultHold/3, DefaultHold)))
			if why := to.consistent(); why != "" {
				n.violated("%s: %s", to.cfg.Self.Name, why)
			}
		}
		n.broken = nil // forged views break every promise between nodes but not within one
	})
}

// CL4: an address that is not configured changes nothing and gets no answer.
func TestCL4_StrangersChangeNothing(t *testing.T) {
	forSeeds(t, 4, func(n *network) {
		n.build(DefaultHold)
		for _, t := range n.nodes {
			t.boot()
		}
		n.run(n.between(1, 2*DefaultHold))
		node := pick(n, n.nodes...)
		before, sent := node.m.Status(n.now), n.seq
		next := node.m.Next()
		for _, from := range []netip.Addr{vtep(77), {}, node.cfg.Self.VTEP, netip.MustParseAddr("fd00::1")} {
			node.m.Step(n.now, from, randomMessage(n))
			node.m.Heard(n.now, from)
			node.m.Absent(n.now, from)
		}
		after := node.m.Status(n.now)
		if after.Strangers != before.Strangers+8 {
			n.violated("%d strangers counted", after.Strangers-before.Strangers)
		}
		after.Strangers = before.Strangers
		if !reflect.DeepEqual(before, after) || n.seq != sent || node.m.Next() != next {
			n.violated("a stranger changed %+v to %+v, %d packets sent", before, after, n.seq-sent)
		}
	})
}

// FuzzStep decodes messages from the wire format and feeds them, with time
// passing, to a member: no panic, and its state stays consistent.
func FuzzStep(f *testing.F) {
	n := newNetwork(1)
	n.build(DefaultHold)
	for i := range n.nodes {
		n.nodes[i].cfg.Self.Incarnation = wire.Incarnation(i + 1)
	}
	for i := range 40 {
		f.Add(wire.Append([]byte{byte(i), 0, 200}, randomMessage(n)))
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		n := newNetwork(1)
		for _, name := range []string{"n0", "n1", "n2"} {
			n.add(name, 2)
		}
		n.connect()
		for _, node := range n.nodes {
			node.boot()
		}
		n.run(DefaultHold)
		to := n.nodes[0]
		for len(data) > 3 {
			from := vtep(int(data[0]) % 5)
			n.run(time.Duration(binary.BigEndian.Uint16(data[1:3])) * time.Millisecond / 16)
			msg, rest, err := wire.Decode(data[3:])
			if err != nil || msg == nil {
				return
			}
			data = rest
			to.do(func() { to.m.Step(n.now, from, msg) })
			if why := to.consistent(); why != "" {
				t.Fatal(why)
			}
		}
	})
}
