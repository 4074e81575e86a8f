package ownership

import (
	"fmt"
	"math/rand/v2"
	"testing"

	"pgregory.net/rapid"

	"cohort/ccl/wire"
	"cohort/flowtable"
	"cohort/packet"
	"cohort/policy"
)

// pass is longer than two passes of ageing: what has been counted is of now.
const pass = 2500 * ms

// stuckFor is longer than any of these tests lets messages wait.
const stuckFor = int64(60e9)

// clientKey is a TCP connection of a client's n-th port.
func clientKey(n int) packet.FlowKey {
	return packet.FlowKey{Src: packet.Addr{10, 0, byte(n >> 12), 1}, Dst: packet.Addr{192, 0, 2, 1}, SrcPort: uint16(1024 + n&0xfff), DstPort: 80, Proto: packet.ProtoTCP}
}

// connect sends a whole handshake through a node.
func (c *cluster) connect(id wire.NodeID, k packet.FlowKey) {
	c.t.Helper()
	for _, p := range []Packet{tcp(k, SYN), tcp(k.Reverse(), SYN|ACK), tcp(k, ACK)} {
		_, v := c.at(id, p)
		wantForward(c.t, v)
	}
}

// exposure returns what a node has counted.
func (c *cluster) exposure(id wire.NodeID) Exposure {
	e, _ := c.nodes[id].core.Exposure()
	return *e
}

func (e *Exposure) moves() (n int) {
	for _, held := range e.Held {
		n += held
	}
	return n
}

// heldCopies counts the copies at a node of what another owns.
func (c *cluster) heldCopies(at, owner wire.NodeID) (n int) {
	s := c.nodes[at].copies
	for from := uint32(0); ; {
		from = s.Scan(from, 1<<20, func(e flowtable.Entry) bool {
			if wire.NodeID(e.Owner()) == owner {
				n++
			}
			return true
		})
		if from == 0 {
			return n
		}
	}
}

// What is acknowledged counts for who has it, what is on its way as not confirmed,
// until it arrives.
func TestMG9_AConnectionIsConfirmedByItsAcknowledgement(t *testing.T) {
	c := newCluster(t, 1, 2, 3)
	for n := range 60 {
		c.connect(1, clientKey(n))
	}
	c.run(pass)
	e := c.exposure(1)
	if e.Owned != 60 || e.Lost() != 0 || e.moves() != 60 {
		t.Fatalf("at rest: %+v", e)
	}
	for id := wire.NodeID(2); id <= 3; id++ {
		if got := c.heldCopies(id, 1); got != e.Held[id] || got == 0 {
			t.Errorf("node %d has %d copies, counted are %d", id, got, e.Held[id])
		}
	}
	was := c.delay
	c.delay = func() int64 { return stuckFor }
	for n := range 20 {
		c.connect(1, clientKey(100+n))
	}
	c.run(pass)
	if e = c.exposure(1); e.Owned != 80 || e.Async != 20 || e.Behind != 0 || e.Lost() != 20 || e.moves() != 60 {
		t.Errorf("20 on their way: %+v", e)
	}
	c.delay = was
	c.run(stuckFor + pass) // claims are repeated: the last one left a pass later
	c.run(pass)
	if e = c.exposure(1); e.Owned != 80 || e.Lost() != 0 || e.Async != 0 || e.moves() != 80 {
		t.Errorf("arrived: %+v", e)
	}
}

// A connection whose newest state is on its way lives on from the one before.
func TestMG9_AnOlderStateIsBehindAndNotLost(t *testing.T) {
	c := newCluster(t, 1, 2)
	for n := range 30 {
		_, v := c.at(1, tcp(clientKey(n), SYN))
		wantForward(t, v)
	}
	c.run(50 * ms) // not long enough for ageing to have passed them all
	c.delay = func() int64 { return stuckFor }
	for n := range 30 {
		_, v := c.at(1, tcp(clientKey(n).Reverse(), SYN|ACK))
		wantForward(t, v)
		_, v = c.at(1, tcp(clientKey(n), ACK))
		wantForward(t, v)
	}
	c.run(pass)
	if e := c.exposure(1); e.Async != 30 || e.Behind != 30 || e.Lost() != 0 || e.Held[2] != 30 {
		t.Errorf("%+v", e)
	}
}

// synced is a policy of durability sync.
type synced struct{}

func (synced) Judge(_, _ uint8, _ packet.FlowKey) policy.Verdict {
	return policy.Verdict{Allow: true, Durability: policy.Sync}
}

func TestMG9_DurabilityIsToldApart(t *testing.T) {
	c := newCluster(t, 1, 2, 3)
	core := c.nodes[1].core
	core.cfg.Policy = none{}
	for n := range 10 {
		c.connect(1, clientKey(n))
	}
	c.run(50 * ms)
	core.cfg.Policy = synced{}
	waiting, keys := 0, []packet.FlowKey{}
	for n := 10; n < 40; n++ { // those that this node directs: it installs them at once
		if k := clientKey(n); c.order().Director(first(k)) == 1 {
			keys = append(keys, k)
		}
	}
	c.delay = func() int64 { return stuckFor }
	for _, k := range keys {
		p := tcp(k, SYN)
		if v := core.Packet(c.now, &p); v.Op != OpHold {
			t.Fatalf("%+v, want it held", v)
		}
		waiting++
	}
	c.run(pass)
	if e := c.exposure(1); waiting == 0 || e.Owned != 10+waiting || e.NoCopy != 10 || e.Sync != waiting || e.Async != 0 || e.Lost() != 10+waiting || e.moves() != 0 {
		t.Errorf("%d wait: %+v", waiting, e)
	}
}

func first(k packet.FlowKey) packet.FlowKey { k, _ = k.Canonical(); return k }

// Nobody confirms anything to a node that is alone, and the one that comes does.
func TestMG9_AloneNothingIsConfirmed(t *testing.T) {
	c := newCluster(t, 1)
	for n := range 25 {
		c.connect(1, clientKey(n))
	}
	c.run(pass)
	if e := c.exposure(1); e.Async != 25 || e.Lost() != 25 {
		t.Errorf("alone: %+v", e)
	}
	c.boot(2)
	c.apply(1, 2, 1, 2)
	c.run(2 * pass)
	if e := c.exposure(1); e.Lost() != 0 || e.Held[2] != 25 {
		t.Errorf("with another: %+v", e)
	}
}

// What a member that left, or started over, has had counts no more, until the
// connections are registered again.
func TestMG9_WhoLeavesConfirmsNothing(t *testing.T) {
	for _, how := range []string{"leaves", "starts over"} {
		c := newCluster(t, 1, 2, 3)
		for n := range 40 {
			c.connect(1, clientKey(n))
		}
		c.run(pass)
		before := c.exposure(1)
		if before.Held[3] == 0 || before.Lost() != 0 {
			t.Fatalf("%+v", before)
		}
		c.delay = func() int64 { return stuckFor }
		if how == "leaves" {
			c.kill(3)
			c.applyAt(c.viewOf(1, 2, 1, 2), 1)
		} else {
			p := c.went[[2]wire.NodeID{1, 3}]
			c.went[[2]wire.NodeID{1, 3}] = Progress{Instance: p.Instance + 1}
		}
		c.run(pass)
		if e := c.exposure(1); e.Lost() != before.Held[3] || e.Held[2] != before.Held[2] || e.Held[3] != 0 {
			t.Errorf("%s: %+v, before %+v", how, e, before)
		}
	}
}

// A message that the link refused is no copy, whatever else arrives.
func TestMG9_WhatWasNotQueuedIsNotConfirmed(t *testing.T) {
	c := newCluster(t, 1, 2)
	c.refus[2] = true
	for n := range 10 {
		c.connect(1, clientKey(n))
	}
	c.run(200 * ms)
	if _, e := c.nodes[1].core.Exposure(); e == 0 {
		c.run(pass)
	}
	c.run(pass)
	if e := c.exposure(1); e.Lost() != 10 {
		t.Errorf("refused: %+v", e)
	}
	c.refus[2] = false
	c.run(2 * pass)
	if e := c.exposure(1); e.Lost() != 0 || e.Held[2] != 10 {
		t.Errorf("after the round: %+v", e)
	}
}

// When nothing moves, what a node says would happen is what happens when it dies:
// that many connections are gone, that many are handed over by whom it said, and
// that many copies of others' connections are gone with it.
func TestMG9_ThePredictionIsWhatHappens(t *testing.T) {
	for seed := range uint64(12) {
		t.Run(fmt.Sprint("seed ", seed), func(t *testing.T) {
			rnd := rand.New(rand.NewPCG(seed, 9))
			c := newCluster(t, 1, 2, 3, 4)
			slow, quick := func() int64 { return stuckFor }, c.delay
			var keys []packet.FlowKey
			for n := range 200 {
				at := wire.NodeID(1 + rnd.IntN(4))
				if rnd.IntN(4) == 0 {
					c.nodes[at].core.cfg.Policy = none{}
				}
				k := clientKey(n)
				keys = append(keys, k)
				if rnd.IntN(5) == 0 {
					_, v := c.at(at, tcp(k, SYN))
					wantForward(t, v)
				} else {
					c.connect(at, k)
				}
				c.nodes[at].core.cfg.Policy = c.nodes[at]
				c.run(rnd.Int64N(30 * ms))
			}
			c.run(pass)
			c.delay = slow // from here on nothing of node 1 arrives
			for n := range 40 {
				k := clientKey(1000 + n)
				keys = append(keys, k)
				c.connect(1, k)
			}
			for _, k := range keys[:200] { // and some go on
				if owners := c.owners(k); len(owners) == 1 && owners[0] == 1 && rnd.IntN(2) == 0 {
					c.at(1, tcp(k.Reverse(), SYN|ACK)) // refused where it is established already
					c.at(1, tcp(k, ACK))
				}
			}
			c.run(pass)
			said := c.exposure(1)
			owned := map[packet.FlowKey]bool{}
			for _, k := range keys {
				for _, o := range c.owners(k) {
					if o == 1 {
						owned[k] = true
					}
				}
			}
			others := 0
			for id := wire.NodeID(2); id <= 4; id++ {
				e := c.exposure(id)
				others += e.Held[1]
			}
			if got := c.heldAt1(); got != others {
				t.Errorf("node 1 has %d copies of others' connections, they said %d", got, others)
			}
			if said.Owned != len(owned) || said.Async == 0 || said.NoCopy == 0 || said.moves() == 0 {
				t.Fatalf("owns %d, %+v: the test tests nothing", len(owned), said)
			}
			for id := wire.NodeID(2); id <= 4; id++ {
				if got := c.stateAt(id); got != said.Held[id] {
					t.Errorf("node %d has the state of %d, said were %d", id, got, said.Held[id])
				}
			}
			c.kill(1)
			c.delay = quick
			c.apply(1, 2, 2, 3, 4)
			c.run(2 * pass)
			lost, moved := 0, 0
			for k := range owned {
				if _, v := c.at(wire.NodeID(2+rnd.IntN(3)), tcp(k, ACK)); v.Op == OpForward {
					moved++
				} else {
					lost++
				}
			}
			if lost != said.Lost() || moved != said.moves() {
				t.Errorf("lost %d, moved %d; said were %d and %d", lost, moved, said.Lost(), said.moves())
			}
		})
	}
}

// stateAt counts the copies at a node from which somebody can go on with what node
// 1 owns.
func (c *cluster) stateAt(id wire.NodeID) (n int) {
	c.nodes[id].copies.Scan(0, 1<<20, func(e flowtable.Entry) bool {
		if wire.NodeID(e.Owner()) == 1 && e.Flags()&wire.ConnNoCopy == 0 {
			n++
		}
		return true
	})
	return n
}

// heldAt1 counts the same at node 1 of what the others own.
func (c *cluster) heldAt1() (n int) {
	c.nodes[1].copies.Scan(0, 1<<20, func(e flowtable.Entry) bool {
		if wire.NodeID(e.Owner()) != 1 && e.Flags()&wire.ConnNoCopy == 0 {
			n++
		}
		return true
	})
	return n
}

// Eras say the same as numbers that never wrap.
func TestMG9_ErasFollowPositions(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		l := &ledger{}
		l.restart()
		var p Progress
		type mark struct {
			era   uint8
			sent  uint64 // number of its message
			ended int    // eras that had ended
		}
		var marks []mark
		ended := 0
		for range rapid.IntRange(1, 2000).Draw(t, "steps") {
			switch rapid.IntRange(0, 3).Draw(t, "what") {
			case 0, 1:
				p.Sent++
				marks = append(marks, mark{l.era, p.Sent, ended})
			case 2:
				p.Acked += rapid.Uint64Range(0, p.Sent-p.Acked).Draw(t, "acked")
			case 3:
				if l.progress(p, true) {
					ended++
				}
			}
			keep := marks[:0]
			for _, m := range marks {
				if ended-m.ended > 2*erasPerPass {
					continue // ageing has seen it
				}
				keep = append(keep, m)
				if l.arrived(m.era) && m.sent > p.Acked {
					t.Fatalf("message %d of %d acknowledged is said to have arrived: era %d of %d..%d", m.sent, p.Acked, m.era, l.oldest, l.era)
				}
			}
			marks = keep
		}
		p.Acked = p.Sent
		l.progress(p, true)
		l.progress(p, true)
		for _, m := range marks {
			if !l.arrived(m.era) {
				t.Fatalf("everything has arrived, but not era %d: %d..%d", m.era, l.oldest, l.era)
			}
		}
	})
}

// Who grants a connection that was claimed before it began has its copy.
func TestMG9_AGrantIsAConfirmation(t *testing.T) {
	c := newCluster(t, 1, 2, 3)
	for n := range 30 {
		k := clientKey(n)
		k.Proto = packet.ProtoUDP
		_, v := c.at(1, udp(k))
		wantForward(t, v)
	}
	c.run(pass)
	if e := c.exposure(1); e.Owned != 30 || e.Lost() != 0 || e.Held[2] != c.heldCopies(2, 1) || e.Held[3] != c.heldCopies(3, 1) {
		t.Errorf("%+v, copies %d and %d", e, c.heldCopies(2, 1), c.heldCopies(3, 1))
	}
}

// Whatever arrives later, what was not queued has not; and a claim that has arrived
// confirms nothing before it is granted.
func TestMG9_OnlyWhatWasSentAndGrantedIsConfirmed(t *testing.T) {
	for name, c := range map[string]struct {
		queued bool
		flags  uint8
		held   int
	}{
		"queued and granted": {true, 0, 1},
		"not queued":         {false, 0, 0},
		"not granted":        {true, flowtable.FlowProvisional, 0},
	} {
		core := newCluster(t, 1, 2).nodes[1].core
		l := core.exposed.to[2]
		f := flowtable.FlowSlot{Key: [2]packet.FlowKey{clientKey(1), clientKey(1).Reverse()}, Flags: flowtable.FlowLive | c.flags}
		core.told(&f, 2, c.queued)
		for n := range uint64(3) {
			l.progress(Progress{Sent: l.last + 1, Acked: l.last + n}, true)
		}
		l.progress(Progress{Sent: l.last, Acked: l.last}, true)
		core.exposed.pass = Exposure{}
		core.count(&f)
		if e := core.exposed.pass; e.Owned != 1 || e.Held[2] != c.held || e.Lost() != 1-c.held {
			t.Errorf("%s: %+v", name, e)
		}
	}
}
