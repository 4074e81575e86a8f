package ownership

import (
	"fmt"
	"testing"

	"cohort/ccl/wire"
	"cohort/flowtable"
	"cohort/packet"
)

// segmentOf is what the initiator, or the responder, of k sends: by its own numbers,
// with what it has got.
func segmentOf(k packet.FlowKey, flags uint8, seq, ack, n uint32) Packet {
	p := tcp(k, flags)
	p.Seq, p.Ack, p.SeqLen = seq, ack, n
	return p
}

// TestFR5_FR11_ProvenNumbersGoOnAfterAPartition: a SYN is repeated into both sides of
// a cut. Its responder has taken the number of one, and the initiator shakes hands by
// way of that; the other sees its ACK, too. Afterwards there is one owner, that shifts
// by what the responder knows, whoever directs and whoever registers first, and
// whichever side has seen more owners.
func TestFR5_FR11_ProvenNumbersGoOnAfterAPartition(t *testing.T) {
	for director := wire.NodeID(1); director <= 3; director++ {
		for _, sides := range [][2][]wire.NodeID{{{1}, {2, 3}}, {{1, 3}, {2}}} {
			for _, right := range []wire.NodeID{1, 2} {
				for _, late := range []wire.NodeID{0, 1, 2, 3} {
					for _, ahead := range []wire.NodeID{0, 1, 2} {
						for _, told := range []bool{false, true} {
							name := fmt.Sprintf("director %d, sides %v, number of %d, %d is late, %d ahead, told %v", director, sides, right, late, ahead, told)
							t.Run(name, func(t *testing.T) { provenAfter(t, director, sides, right, late, ahead, told) })
						}
					}
				}
			}
		}
	}
}

func provenAfter(t *testing.T, director wire.NodeID, sides [2][]wire.NodeID, right, late, ahead wire.NodeID, told bool) {
	c := newSequenced(t, 1, 2, 3)
	k := c.keyDirectedBy(packet.ProtoTCP, director)
	for i, side := range sides {
		c.apply(uint32(2+i), 2, side...)
	}
	c.run(4 * second)
	deltas := map[wire.NodeID]uint32{}
	for _, id := range []wire.NodeID{1, 2} {
		_, v := c.at(id, syn(k, 5000))
		wantForward(t, v)
		deltas[id] = c.flow(id, k).SeqDelta
	}
	c.run(10 * ms)
	if deltas[1] == deltas[2] {
		t.Fatal("two owners with one number")
	}
	want := deltas[right]
	_, v := c.at(right, synAck(k.Reverse(), 5000+want))
	wantForward(t, v)
	for _, id := range []wire.NodeID{1, 2} {
		_, v := c.at(id, segmentOf(k, ACK, 5001, 7001, 0))
		wantForward(t, v)
	}
	if told {
		c.run(1100 * ms) // ageing tells the copy
	}
	if ahead != 0 {
		c.nodes[ahead].table.UpdateFlow(c.nodes[ahead].table.Lookup(k).Slot(), func(f *flowtable.FlowSlot) { f.Gen = 3 })
	}
	c.delay = func() int64 { return 100_000 }
	v4 := c.viewOf(4, 3, 1, 2, 3)
	for id := wire.NodeID(1); id <= 3; id++ {
		if id != late {
			c.applyAt(v4, id)
		}
	}
	if late != 0 {
		c.run(30 * ms)
		c.applyAt(v4, late)
	}
	c.run(5 * second)
	owner := c.oneOwner(k)
	if f := c.flow(owner, k); f.SeqDelta != want || f.State < uint8(flowtable.TCPSynReceived) || f.Flags&flowtable.FlowPunt != 0 {
		t.Fatalf("owner %d shifts by %d in %v, flags %x; the numbers were %v, that of %d is known", owner, f.SeqDelta, flowtable.TCPState(f.State), f.Flags, deltas, right)
	}
	holder := c.order().Backup(k, owner)
	c.wantCopy(k, holder, owner, c.flow(owner, k).Gen)
	if got := deltaOf(c.nodes[holder].copies, k); got != want {
		t.Errorf("the copy at %d has %d, want %d", holder, got, want)
	}
}

// TestFR5_FR14_WhatAnotherNodeGaveProvesNothing: each side of a cut gives a SYN a number,
// and the responder has taken one. The other side, which sees nothing of the handshake but
// what the responder acknowledges afterwards, does not take that for its own number, however
// close to each other the two are: it follows. So do both sides of a cluster one of whose
// nodes lets initiators keep theirs.
func TestFR5_FR14_WhatAnotherNodeGaveProvesNothing(t *testing.T) {
	for _, keeps := range []bool{false, true} {
		c := newSequenced(t, 1, 2)
		c.nodes[1].core.cfg.KeepNumbers = keeps
		k, least := c.keyDirectedBy(packet.ProtoTCP, 2), uint32(1<<31)
		for port := uint16(1024); port < 1024+1<<15; port++ { // the tuple whose two numbers are nearest
			l := k
			l.SrcPort = port
			first, second := testSpace.ISN(l.Reverse(), 5000, 1), testSpace.ISN(l.Reverse(), 5000, 2)
			if keeps {
				first = 5000
			}
			if d := min(first-second, second-first); d < least {
				k, least = l, d
			}
		}
		c.apply(2, 2, 1)
		c.apply(3, 2, 2)
		c.run(4 * second)
		for _, id := range []wire.NodeID{1, 2} {
			_, v := c.at(id, syn(k, 5000))
			wantForward(t, v)
		}
		c.run(10 * ms)
		f, taken := c.flow(2, k), c.flow(1, k).SeqDelta
		if f.SeqDelta == taken {
			t.Fatal("two owners with one number")
		}
		_, v := c.at(2, segmentOf(k.Reverse(), ACK, 7001, 5001+taken, 0))
		wantForward(t, v)
		if f.SeqDelta != taken || f.State != uint8(flowtable.TCPEstablished) {
			t.Errorf("node 1 keeps numbers %v, the two are %d apart: shifts by %d, want %d, in %v", keeps, least, f.SeqDelta, taken, flowtable.TCPState(f.State))
		}
	}
}

// TestFR5_AnInitiatorsWordProvesNothing: it may have shaken hands elsewhere. Until the
// responder acknowledges the number every packet comes to Go, and none moves the state.
func TestFR5_AnInitiatorsWordProvesNothing(t *testing.T) {
	c := newSequenced(t, 1, 2)
	k := c.keyDirectedBy(packet.ProtoTCP, 2)
	_, v := c.at(1, syn(k, 5000))
	wantForward(t, v)
	c.run(20 * ms)
	f := c.flow(1, k)
	for _, flags := range []uint8{ACK, FIN | ACK} {
		_, v := c.at(1, segmentOf(k, flags, 5001, 7001, 10))
		wantForward(t, v)
		c.run(1100 * ms)
		if f.State != uint8(flowtable.TCPSynSent) || f.Flags&flowtable.FlowPunt == 0 {
			t.Fatalf("after %x: %v, flags %x", flags, flowtable.TCPState(f.State), f.Flags)
		}
	}
	_, v = c.at(1, synAck(k.Reverse(), 5000+f.SeqDelta))
	wantForward(t, v)
	if f.State != uint8(flowtable.TCPSynReceived) || f.Flags&flowtable.FlowPunt != 0 {
		t.Errorf("after its number was acknowledged: %v, flags %x", flowtable.TCPState(f.State), f.Flags)
	}
}

// TestFR5_WhateverTheResponderAcknowledgesIsFollowed, if another node chose it for this
// SYN: with data too, which the other has forwarded. Anything else changes nothing: it
// may be about an older connection.
func TestFR5_WhateverTheResponderAcknowledgesIsFollowed(t *testing.T) {
	space := testSpace
	for name, c := range map[string]struct {
		ack     func(own, other uint32) uint32
		follows bool
	}{
		"nothing yet":  {func(_, other uint32) uint32 { return other + 1 }, true},
		"3,000 bytes":  {func(_, other uint32) uint32 { return other + 3001 }, true},
		"far more":     {func(_, other uint32) uint32 { return other + 1<<20 }, false},
		"something":    {func(_, other uint32) uint32 { return other ^ 1<<25 }, false}, // half way to another node
		"before it":    {func(_, other uint32) uint32 { return other }, false},
		"its own":      {func(own, _ uint32) uint32 { return own + 1 }, true},
		"its own more": {func(own, _ uint32) uint32 { return own + 3001 }, true},
	} {
		t.Run(name, func(t *testing.T) {
			cl := newSequenced(t, 1, 2)
			k := cl.keyDirectedBy(packet.ProtoTCP, 2)
			_, v := cl.at(1, syn(k, 5000))
			wantForward(t, v)
			cl.run(20 * ms)
			f := cl.flow(1, k)
			own, other := 5000+f.SeqDelta, space.ISN(k.Reverse(), 5000, 9)
			ack := c.ack(own, other)
			want := f.SeqDelta
			if c.follows && ack-other < 1<<16 {
				want = other - 5000
			}
			_, v = cl.at(1, segmentOf(k.Reverse(), ACK, 7001, ack, 0))
			wantForward(t, v)
			if moved := f.State == uint8(flowtable.TCPEstablished); f.SeqDelta != want || moved != c.follows || moved == (f.Flags&flowtable.FlowPunt != 0) {
				t.Errorf("shifts by %d, want %d, in %v, flags %x", f.SeqDelta, want, flowtable.TCPState(f.State), f.Flags)
			}
		})
	}
}

// TestFR5_FR11_WhoTakesAHandshakeOverProvesIt with the first packets of both sides, in
// any order.
func TestFR5_FR11_WhoTakesAHandshakeOverProvesIt(t *testing.T) {
	type step struct {
		reply bool
		flags uint8
		state flowtable.TCPState
	}
	ask, answer, agree := step{false, ACK, flowtable.TCPSynSent}, step{true, ACK, flowtable.TCPSynSent}, step{true, SYN | ACK, flowtable.TCPSynReceived}
	proven := func(s step) step { s.state = flowtable.TCPEstablished; return s }
	for name, steps := range map[string][]step{
		"initiator first": {ask, ask, proven(answer)},
		"responder first": {answer, answer, proven(ask)},
		"SYN-ACK":         {agree},
	} {
		t.Run(name, func(t *testing.T) {
			c, k, delta := orphanedHandshake(t)
			for i, s := range steps {
				p := segmentOf(k, s.flags, 5001, 7001, 0)
				if s.reply {
					p = segmentOf(k.Reverse(), s.flags, 7000, 5001+delta, 1)
				}
				_, v := c.at(3, p)
				wantForward(t, v)
				c.run(1100 * ms) // ageing has nothing to add
				if f := c.flow(3, k); f.State != uint8(s.state) || f.SeqDelta != delta || (f.Flags&flowtable.FlowPunt != 0) != (s.state == flowtable.TCPSynSent) {
					t.Fatalf("after step %d: %v, shifts by %d, flags %x", i, flowtable.TCPState(f.State), f.SeqDelta, f.Flags)
				}
			}
		})
	}
}

// TestFR5_FR11_WhoTakesAStaleHandshakeOverFollowsTheResponder: a SYN was repeated through
// a second node, which won and followed the first one's number, for that was what the
// responder had taken; the word of that was lost with it, and the copy has its own. The
// hosts are connected, so there is no SYN any more. Whoever takes over goes on with what
// the responder acknowledges, whichever side speaks first, and whatever has been sent.
func TestFR5_FR11_WhoTakesAStaleHandshakeOverFollowsTheResponder(t *testing.T) {
	for _, isn := range []uint32{5000, 3<<16 - 200, 1<<32 - 200} { // what has been sent has another upper half
		for _, taker := range []wire.NodeID{0, 2, 9} { // 0: it let the initiator keep its number
			for _, got := range []uint32{0, 300, 20_000} {
				for _, replyFirst := range []bool{false, true} {
					name := fmt.Sprintf("number %d of %d, %d bytes, responder first %v", isn, taker, got, replyFirst)
					t.Run(name, func(t *testing.T) {
						c, k, stale := orphanedHandshakeFrom(t, isn)
						made := isn
						if taker != 0 {
							made = testSpace.ISN(k.Reverse(), isn, taker)
						}
						ask := segmentOf(k, ACK, isn+1+got, 7001, 100)
						answer := segmentOf(k.Reverse(), ACK, 7001, made+1+got, 0)
						if replyFirst {
							c.at(3, answer)
						}
						c.at(3, ask)
						if f := c.flow(3, k); f.SeqDelta != stale || f.State != uint8(flowtable.TCPSynSent) {
							t.Fatalf("before the responder has answered: shifts by %d in %v", f.SeqDelta, flowtable.TCPState(f.State))
						}
						c.sends(3, answer, 7001, isn+1+got)
						c.sends(3, ask, made+1+got, 7001)
						c.run(20 * ms)
						if f := c.flow(3, k); f.State != uint8(flowtable.TCPEstablished) || f.Flags&flowtable.FlowPunt != 0 || deltaOf(c.nodes[2].copies, k) != made-isn {
							t.Errorf("%v, flags %x, the copy shifts by %d, want %d", flowtable.TCPState(f.State), f.Flags, deltaOf(c.nodes[2].copies, k), made-isn)
						}
					})
				}
			}
		}
	}
	// What no node has given proves nothing, here either.
	c, k, stale := orphanedHandshakeFrom(t, 5000)
	other := testSpace.ISN(k.Reverse(), 5000, 9)
	for _, ack := range []uint32{other - 1<<17, other + 1 + 1<<20, other ^ 1<<25} {
		c.at(3, segmentOf(k, ACK, 5001, 7001, 100))
		c.at(3, segmentOf(k.Reverse(), ACK, 7001, ack, 0))
		if f := c.flow(3, k); f.SeqDelta != stale || f.State != uint8(flowtable.TCPSynSent) {
			t.Errorf("%d: shifts by %d in %v, want %d", ack, f.SeqDelta, flowtable.TCPState(f.State), stale)
		}
	}
	// A SYN-ACK says it exactly: the initiator's ACK of an earlier one was lost.
	c.at(3, segmentOf(k.Reverse(), SYN|ACK, 7000, other+2, 1))
	if f := c.flow(3, k); f.SeqDelta != stale {
		t.Errorf("a SYN-ACK of more than the SYN is followed: shifts by %d", f.SeqDelta)
	}
	c.sends(3, segmentOf(k.Reverse(), SYN|ACK, 7000, other+1, 1), 7000, 5001)
	if f := c.flow(3, k); !proven(f.State) || f.Flags&flowtable.FlowPunt != 0 {
		t.Errorf("after the SYN-ACK: %v, flags %x", flowtable.TCPState(f.State), f.Flags)
	}
}

// TestFR5_FR11_NobodyFollowsTheWrongOfTwo: much is under way that the responder has not
// taken, and another initial number would fit what it says as well. The right one is followed:
// the wrong one would move data for good.
func TestFR5_FR11_NobodyFollowsTheWrongOfTwo(t *testing.T) {
	for i := range uint32(200) {
		isn := 5000 + i*0x9e3779b1
		c, k, stale := orphanedHandshakeFrom(t, isn)
		made := testSpace.ISN(k.Reverse(), isn, 2)
		for sent := uint32(0); sent < 14_600; sent += 1460 {
			c.at(3, segmentOf(k, ACK, isn+1+sent, 7001, 1460))
		}
		c.at(3, segmentOf(k.Reverse(), ACK, 7001, made+1, 0))
		if f := c.flow(3, k); f.SeqDelta != made-isn {
			t.Errorf("number %d: shifts by %d, the responder's is %d, the copy's was %d", isn, f.SeqDelta, made-isn, stale)
		}
	}
}

// TestFR5_FR11_AnUnprovenConnectionLasts: one side speaks, now and then, and the other is
// silent or beyond a cut. Whoever took the handshake over keeps it for as long as an
// established connection; and the former owner's word, when it is back, is proof.
func TestFR5_FR11_AnUnprovenConnectionLasts(t *testing.T) {
	for _, reply := range []bool{false, true} {
		c := newSequenced(t, 1, 2, 3)
		k := c.keyDirectedBy(packet.ProtoTCP, 3)
		_, v := c.at(1, syn(k, 5000))
		wantForward(t, v)
		delta := c.flow(1, k).SeqDelta
		_, v = c.at(1, synAck(k.Reverse(), 5000+delta))
		wantForward(t, v)
		c.apply(2, 2, 1)
		c.apply(3, 2, 2, 3)
		c.run(100 * ms)
		c.at(1, segmentOf(k, ACK, 5001, 7001, 0)) // the other side goes on, too
		p := segmentOf(k, ACK, 5001, 7001, 0)
		if reply {
			p = segmentOf(k.Reverse(), ACK, 7001, 5001+delta, 0)
		}
		_, v = c.at(3, p)
		wantForward(t, v)
		c.run(60 * second) // a handshake lasts 30 s
		f := c.flow(3, k)
		if f.State != uint8(flowtable.TCPSynSent) || c.nodes[2].copies.Len() != 1 {
			t.Fatalf("reply %v: %v, %d copies", reply, flowtable.TCPState(f.State), c.nodes[2].copies.Len())
		}
		c.apply(4, 3, 1, 2, 3)
		c.run(5 * second)
		if owner := c.oneOwner(k); c.flow(owner, k).State < uint8(flowtable.TCPSynReceived) || c.flow(owner, k).Flags&flowtable.FlowPunt != 0 {
			t.Errorf("reply %v: node %d has it in %v", reply, owner, flowtable.TCPState(c.flow(owner, k).State))
		}
	}
}

// orphanedHandshake is a connection whose owner has died when nobody knew more of it
// than its SYN; node 3 directs it.
func orphanedHandshake(t testing.TB) (*cluster, packet.FlowKey, uint32) {
	t.Helper()
	return orphanedHandshakeFrom(t, 5000)
}

// orphanedHandshakeFrom is that with a number of the initiator's.
func orphanedHandshakeFrom(t testing.TB, isn uint32) (*cluster, packet.FlowKey, uint32) {
	t.Helper()
	c := newSequenced(t, 1, 2, 3)
	k := c.keyDirectedBy(packet.ProtoTCP, 3)
	_, v := c.at(1, syn(k, isn))
	wantForward(t, v)
	delta := c.flow(1, k).SeqDelta
	c.run(20 * ms)
	c.kill(1)
	c.apply(1, 2, 2, 3)
	c.run(100 * ms)
	return c, k, delta
}

// TestFR5_FR11_AGrantDoesNotOverruleWhatIsProven: it may have crossed the word that the
// owner follows another number. The granter's copy is put right.
func TestFR5_FR11_AGrantDoesNotOverruleWhatIsProven(t *testing.T) {
	c := newSequenced(t, 1, 2)
	k := c.keyDirectedBy(packet.ProtoTCP, 2)
	_, v := c.at(1, syn(k, 5000))
	wantForward(t, v)
	c.run(20 * ms)
	f := c.flow(1, k)
	want := f.SeqDelta
	_, v = c.at(1, synAck(k.Reverse(), 5000+want))
	wantForward(t, v)
	conn := c.nodes[1].core.connOf(f)
	conn.State, conn.SeqDelta, conn.Gen = uint8(flowtable.TCPSynSent), want+1<<20, 4
	c.nodes[2].core.keepGranted(1, &conn)
	c.nodes[2].core.grant(1, conn, true)
	c.run(20 * ms)
	if f := c.flow(1, k); f.SeqDelta != want || f.Gen != 4 || deltaOf(c.nodes[2].copies, k) != want {
		t.Errorf("shifts by %d in generation %d, the copy by %d, want %d", f.SeqDelta, f.Gen, deltaOf(c.nodes[2].copies, k), want)
	}
}

// TestFR5_FR11_AnUpdateDoesNotOverruleWhatIsProven: neither does the copy that another
// owner sends, who is ahead and knows of no proof. The first word of it need not be a claim.
func TestFR5_FR11_AnUpdateDoesNotOverruleWhatIsProven(t *testing.T) {
	c := newSequenced(t, 1, 2, 3)
	k := c.keyDirectedBy(packet.ProtoTCP, 1)
	_, v := c.at(1, syn(k, 5000))
	wantForward(t, v)
	f := c.flow(1, k)
	want := f.SeqDelta
	_, v = c.at(1, synAck(k.Reverse(), 5000+want))
	wantForward(t, v)
	conn := c.nodes[1].core.connOf(f)
	conn.State, conn.SeqDelta, conn.Gen = uint8(flowtable.TCPSynSent), want+1<<20, 4
	rival := c.nodes[2].core
	if _, r := rival.install(&conn, 0); r != ReasonNone {
		t.Fatal(r)
	}
	rival.msg.update = wire.Update{Conn: conn}
	rival.send(1, &rival.msg.update)
	c.run(20 * ms)
	if owner := c.oneOwner(k); owner != 1 || c.flow(1, k).SeqDelta != want || c.flow(1, k).Gen <= 4 {
		t.Errorf("node %d owns it: shifts by %d in generation %d, want %d", owner, c.flow(owner, k).SeqDelta, c.flow(owner, k).Gen, want)
	}
}

// TestFR5_FR13_AGrantOfAClaimThatWasGivenUpHasItsNumbers: the packet that waits when
// the grant comes is another than the one that claimed, and asks.
func TestFR5_FR13_AGrantOfAClaimThatWasGivenUpHasItsNumbers(t *testing.T) {
	c := newSequenced(t, 1, 2)
	c.nodes[1].core.cfg.Policy = syncAll{}
	k := c.keyDirectedBy(packet.ProtoTCP, 2)
	c.delay = func() int64 { return 1200 * ms }
	_, v := c.at(1, syn(k, 5000))
	wantDrop(t, v, ReasonOwnerTimeout)
	c.delay = func() int64 { return 100_000 }
	c.at(1, tcp(k.Reverse(), ACK))
	c.run(2 * second)
	want := testSpace.ISN(k.Reverse(), 5000, 1) - 5000
	if f := c.flow(1, k); f.SeqDelta != want || deltaOf(c.nodes[2].copies, k) != want {
		t.Errorf("shifts by %d, the copy by %d, want %d", f.SeqDelta, deltaOf(c.nodes[2].copies, k), want)
	}
}
