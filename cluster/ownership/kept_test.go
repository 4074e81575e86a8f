package ownership

import (
	"fmt"
	"testing"

	"cohort/ccl/wire"
	"cohort/flowtable"
	"cohort/packet"
	"cohort/policy"
)

// durable is a policy whose every rule has one durability.
type durable struct {
	testNode
	d policy.Durability
}

func (d durable) Judge(in, out uint8, k packet.FlowKey) policy.Verdict {
	v := d.testNode.Judge(in, out, k)
	v.Durability = d.d
	return v
}

// sharp sends a packet into node id and follows it until it is forwarded, in steps
// so small that nothing else happens after that.
func (c *cluster) sharp(id wire.NodeID, p Packet) (owner wire.NodeID) {
	c.t.Helper()
	for hops := 0; ; hops++ {
		n := c.nodes[id]
		n.handle++
		p.Handle = n.handle
		v := n.core.Packet(c.now, &p)
		for end := c.now + 2000*ms; v.Op == OpHold && c.now < end; c.run(5_000) {
			if r, ok := n.released[p.Handle]; ok {
				v = r
				break
			}
		}
		if v.Op != OpSend || hops > 3 {
			wantForward(c.t, v)
			return id
		}
		p.From, id = id, v.Node
	}
}

// What a handshake sends, by protocol: 0 is the initiator's direction.
func talk(k, reply packet.FlowKey) []Packet {
	if k.Proto == packet.ProtoTCP {
		return []Packet{tcp(k, SYN), tcp(reply, SYN|ACK), tcp(k, ACK), tcp(reply, ACK)}
	}
	return []Packet{udp(k), udp(reply), udp(k), udp(reply)}
}

// die plays a connection of a durability until its owner dies at the instant in
// which a packet leaves, with all that it has not sent yet. It reports whether the
// connection goes on from the next packet.
func die(t *testing.T, d policy.Durability, translated bool, proto uint8, port byte, after int) (survives bool) {
	ids := []wire.NodeID{1, 2, 3, 4}
	c := newBareCluster(t)
	c.nat = translated
	for _, id := range ids {
		n := c.boot(id)
		n.core.cfg.Policy = durable{*n, d}
	}
	c.apply(1, 1, ids...)
	c.run(50 * ms)
	k := inside(port, proto)
	reply, owner := k.Reverse(), wire.NodeID(0)
	for i := 0; ; i++ {
		p := talk(k, reply)[i%4]
		entry := wire.NodeID(1 + (int(port)+i)%4)
		owner = c.sharp(entry, p)
		if i == 0 && translated {
			reply = c.reply(k)
		}
		if i == after {
			break
		}
		c.run(ms)
	}
	c.kill(owner)
	var left []wire.NodeID
	for _, id := range ids {
		if id != owner {
			left = append(left, id)
		}
	}
	c.apply(1, 2, left...)
	c.run(50 * ms)
	p := talk(k, reply)[(after+1)%4]
	if p.Kind == KindTCP && after == 3 {
		p.Flags = ACK
	}
	at, v := c.at(left[int(port)%3], p)
	if v.Op != OpForward {
		return false
	}
	for id := range c.nodes {
		if n := c.nodes[id]; n.core.stats.Exposed != 0 {
			t.Fatalf("node %d: %d packets exposed", id, n.core.stats.Exposed)
		}
	}
	return !translated || c.flow(at, k).Key[1] == reply
}

// With durability sync no packet that begins or confirms a connection leaves before
// another node could go on with it; with async one does, now and then.
func TestFR13_SyncLosesNothingWhenTheOwnerDies(t *testing.T) {
	for _, d := range []policy.Durability{policy.Sync, policy.Async} {
		lost, played := 0, 0
		for _, translated := range []bool{false, true} {
			for _, proto := range []uint8{packet.ProtoTCP, packet.ProtoUDP} {
				for port := byte(1); port <= 16; port++ {
					for after := range 4 {
						played++
						if !die(t, d, translated, proto, port, after) {
							if lost++; d == policy.Sync {
								t.Errorf("translated %v, %s, port %d: lost when its owner died with packet %d", translated, packet.ProtoName(proto), port, after)
							}
						}
					}
				}
			}
		}
		t.Logf("%v: %d of %d lost", d, lost, played)
		if d == policy.Async && lost == 0 {
			t.Error("nothing is lost with async either: this test sees nothing")
		}
	}
}

// While a packet waits, none overtakes it in the fast path; afterwards the fast
// path has the flow.
func TestFR13_WhatWaitsIsNotOvertaken(t *testing.T) {
	for _, proto := range []uint8{packet.ProtoTCP, packet.ProtoUDP} {
		c := newCluster(t, 1, 2, 3)
		n := c.nodes[1]
		n.core.cfg.Policy = durable{*n, policy.Sync}
		k := c.keyDirectedBy(proto, 1)
		punts := func() bool { return c.flow(1, k).Flags&flowtable.FlowPunt != 0 }
		for i, p := range talk(k, k.Reverse()) {
			waits := i == 0 || proto == packet.ProtoTCP && i == 2 || proto == packet.ProtoUDP && i == 1
			p.Handle = Handle(i + 1)
			next := p
			next.Handle += 100
			v := n.core.Packet(c.now, &p)
			if (v.Op == OpHold) != waits {
				t.Fatalf("%s, packet %d: %+v, want it to wait: %v", packet.ProtoName(proto), i, v, waits)
			}
			if waits {
				if v := n.core.Packet(c.now, &next); v.Op != OpHold || !punts() {
					t.Fatalf("%s, packet %d: the next one overtakes it: %+v, to Go: %v", packet.ProtoName(proto), i, v, punts())
				}
				c.run(ms)
				wantForward(t, n.released[p.Handle])
				wantForward(t, n.released[next.Handle])
			}
			confirmed := i >= 2 || proto == packet.ProtoUDP && i >= 1
			if punts() == confirmed {
				t.Fatalf("%s, after packet %d: every packet to Go: %v", packet.ProtoName(proto), i, punts())
			}
		}
		if f := c.flow(1, k); f.Flags&flowtable.FlowProvisional != 0 {
			t.Fatal("provisional")
		}
		for d := range 2 {
			if packets, _ := c.flow(1, k).Counters(d); packets == 0 {
				t.Errorf("direction %d is not accounted", d)
			}
		}
	}
}

// With equal timeouts a UDP flow has no moment that confirms it, and other protocols
// have none at all: the first packet waits, and the fast path has the rest.
func TestFR13_WhatIsNeverConfirmedWaitsOnce(t *testing.T) {
	for _, proto := range []uint8{packet.ProtoUDP, packet.ProtoICMP, 47} {
		for director := wire.NodeID(1); director <= 2; director++ {
			waitOnce(t, proto, director)
		}
	}
}

func waitOnce(t *testing.T, proto uint8, director wire.NodeID) {
	c := newCluster(t, 1, 2, 3)
	n := c.nodes[1]
	n.core.cfg.Policy = durable{*n, policy.Sync}
	n.core.cfg.Timeouts.UDP = n.core.cfg.Timeouts.UDPStream
	k := c.keyDirectedBy(proto, director)
	p := udp(k)
	switch proto {
	case packet.ProtoICMP:
		p.Kind = KindICMPQuery
	case 47:
		p.Kind = KindOther
	}
	p.Handle = 1
	if v := n.core.Packet(c.now, &p); v.Op != OpHold {
		t.Fatalf("%s: %+v, want it to wait", packet.ProtoName(proto), v)
	}
	c.run(ms)
	wantForward(t, n.released[1])
	if c.flow(1, k).Flags&flowtable.FlowPunt != 0 || n.core.stats.Exposed != 0 {
		t.Errorf("%s: every packet goes to Go, or %d were exposed", packet.ProtoName(proto), n.core.stats.Exposed)
	}
}

// The wait is bounded: when the holder of the copy says nothing the packet leaves
// and is counted, and so it is where there is no other node.
func TestFR13_TheWaitIsBounded(t *testing.T) {
	for _, deaf := range []bool{true, false} {
		c := newCluster(t, 1, 2, 3)
		n := c.nodes[1]
		n.core.cfg.Policy = durable{*n, policy.Sync}
		var keys []string
		n.core.cfg.Exposed = func(k packet.FlowKey) { keys = append(keys, fmt.Sprint(k)) }
		k := c.keyDirectedBy(packet.ProtoTCP, 1)
		if deaf {
			c.kill(c.order().Backup(k, 1))
		} else {
			c.apply(1, 2, 1)
		}
		began := c.now
		p := tcp(k, SYN)
		_, v := c.at(1, p)
		wantForward(t, v)
		if took := c.now - began; took > 120*ms {
			t.Fatalf("it waited for %d ms", took/ms)
		}
		if n.core.stats.Exposed != 1 || len(keys) != 1 || keys[0] != fmt.Sprint(k) {
			t.Fatalf("%d packets counted as exposed, told of %v, want one of %v", n.core.stats.Exposed, keys, k)
		}
	}
}

// A change of view puts the question to whoever is to have the copy now.
func TestFR13_ANewViewAsksItsOwnHolder(t *testing.T) {
	c := newCluster(t, 1, 2, 3)
	n := c.nodes[1]
	n.core.cfg.Policy = durable{*n, policy.Sync}
	k := c.keyDirectedBy(packet.ProtoTCP, 1)
	holder := c.order().Backup(k, 1)
	c.kill(holder)
	p := tcp(k, SYN)
	p.Handle = 1
	if v := n.core.Packet(c.now, &p); v.Op != OpHold {
		t.Fatalf("%+v, want it to wait", v)
	}
	c.run(20 * ms)
	c.apply(1, 2, 1, 5-holder)
	c.run(ms)
	wantForward(t, n.released[1])
	if n.core.stats.Exposed != 0 {
		t.Fatal("exposed, although the new holder has it")
	}
	c.wantCopy(k, 5-holder, 1, 1)
}
