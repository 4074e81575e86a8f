package bpf_test

import (
	"slices"
	"testing"

	"cohort/bpf"
	"cohort/flowtable"
	"cohort/packet"

	"golang.org/x/sys/unix"
)

func nowTicks(t testing.TB) uint32 {
	t.Helper()
	var now unix.Timespec
	must(t, unix.ClockGettime(unix.CLOCK_MONOTONIC, &now))
	return flowtable.TickOf(now.Nano())
}

// addDelegation makes this node the delegate of owner for a direction that enters
// by iface, leaves as to, and may do so for a minute.
func (n *node) addDelegation(k, to packet.FlowKey, owner, iface uint8, nh uint16) (forward uint32, d *flowtable.DelegationSlot) {
	n.t.Helper()
	n.addForward(k, owner)
	forward = n.table.Lookup(k).Slot()
	must(n.t, n.table.Delegate(forward, flowtable.DelegationSlot{
		To: flowtable.EndpointsOf(to), NextHop: nh, Iface: iface, Lease: nowTicks(n.t) + flowtable.Ticks(60), View: testView, ID: 9,
	}))
	d, _ = n.table.Delegation(forward)
	return forward, d
}

// delegated is what node 2, a delegate of node 1, does with a translated TCP
// connection; the reply's tuple comes second.
func delegated(t *testing.T, k packet.FlowKey) (n *node, out, back packet.FlowKey) {
	n = newNode(t, 2)
	out = k
	out.Src, out.SrcPort = packet.AddrFrom(mappedAddr), 1024
	return n, out, out.Reverse()
}

// TestDESIGN5_DelegateSendsOnAsTheOwnerWould: both directions, byte by byte, of a
// connection that is translated and of one that is not; what it counts is what the
// owner would.
func TestDESIGN5_DelegateSendsOnAsTheOwnerWould(t *testing.T) {
	for name, k := range map[string]packet.FlowKey{"tcp": tcpKey, "udp": udpKey} {
		for _, nat := range []bool{false, true} {
			n, out, reply := delegated(t, k)
			if !nat {
				out, reply = k, k.Reverse()
			}
			_, request := n.addDelegation(k, out, 1, inside, toOutside)
			_, answer := n.addDelegation(reply, k.Reverse(), 1, outside, toInside)

			n.enterBy(inside)
			p := from(k)
			want := p.sentTo(serverMAC)
			want.key = out
			wantBytes(t, n.runData(p.bytes(t)).want(t, bpf.ForwardDelegated).packet, want.bytes(t))

			n.enterBy(outside)
			p = from(reply)
			p.seq, p.ack, p.window, p.flags = 0xfffffff8, 77, 4711, "PA"
			want = p.sentTo(clientMAC)
			want.key = k.Reverse()
			wantBytes(t, n.runData(p.bytes(t)).want(t, bpf.ForwardDelegated).packet, want.bytes(t))
			n.runData(p.bytes(t)).want(t, bpf.ForwardDelegated)

			length := uint64(len(unpadded(t, p)) - 14)
			if packets, octets := answer.Counters(); packets != 2 || octets != 2*length || flowtable.Since(nowTicks(t), answer.SeenAt()) > 100 {
				t.Errorf("%s: %d packets of %d bytes, last at %d", name, packets, octets, answer.SeenAt())
			}
			if packets, _ := request.Counters(); packets != 1 {
				t.Errorf("%s: %d requests", name, packets)
			}
			sent := flowtable.TCPSent{WScale: flowtable.WScaleUnknown}
			if k.Proto == packet.ProtoTCP {
				sent.SeqEnd, sent.Ack, sent.Window = 4, 77, 4711 // 12 bytes from -8 on
			}
			if got := answer.Sent(); got != sent {
				t.Errorf("%s: the answers say %+v, want %+v", name, got, sent)
			}
			if answer.ID != 9 {
				t.Errorf("%s: the id is %d", name, answer.ID)
			}
		}
	}
}

// TestDESIGN5_WhatADelegateLeavesToTheOwner goes over the CCL, unchanged, and is
// counted by the forward entry alone.
func TestDESIGN5_WhatADelegateLeavesToTheOwner(t *testing.T) {
	for _, c := range []struct {
		name  string
		setup func(n *node, forward uint32, p *pkt)
		want  bpf.Outcome
	}{
		{"syn", func(_ *node, _ uint32, p *pkt) { p.flags = "S" }, bpf.ForwardCCL},
		{"syn_with_ack", func(_ *node, _ uint32, p *pkt) { p.flags = "SA" }, bpf.ForwardCCL},
		{"fin", func(_ *node, _ uint32, p *pkt) { p.flags = "FA" }, bpf.ForwardCCL},
		{"fin_without_ack", func(_ *node, _ uint32, p *pkt) { p.flags = "F" }, bpf.ForwardCCL},
		{"reset", func(_ *node, _ uint32, p *pkt) { p.flags = "R" }, bpf.ForwardCCL},
		{"reset_with_ack", func(_ *node, _ uint32, p *pkt) { p.flags = "RA" }, bpf.ForwardCCL},
		{"no_flags", func(_ *node, _ uint32, p *pkt) { p.flags = "" }, bpf.ForwardCCL},
		{"no_ack", func(_ *node, _ uint32, p *pkt) { p.flags = "P" }, bpf.ForwardCCL},
		{"another_interface", func(n *node, _ uint32, _ *pkt) { n.enterBy(outside) }, bpf.ForwardCCL},
		{"no_next_hop", func(n *node, _ uint32, _ *pkt) { n.nexthops[toOutside].Flags = 0 }, bpf.ForwardCCL},
		{"next_hop_being_written", func(n *node, _ uint32, _ *pkt) { n.nexthops[toOutside].Seq = 1 }, bpf.ForwardCCL},
		{"too_big", func(n *node, _ uint32, _ *pkt) { n.nexthops[toOutside].Mtu = 51 }, bpf.ForwardCCL},
		{"lease_over", func(n *node, f uint32, _ *pkt) {
			n.table.UpdateDelegation(f, func(d *flowtable.DelegationSlot) { d.Lease = nowTicks(n.t) - 20 }) // XDP's clock is that of the last timer tick
		}, bpf.ForwardCCL},
		{"lease_over_long_ago", func(n *node, f uint32, _ *pkt) {
			n.table.UpdateDelegation(f, func(d *flowtable.DelegationSlot) { d.Lease = nowTicks(n.t) - 1<<30 })
		}, bpf.ForwardCCL},
		{"another_view", func(n *node, _ uint32, _ *pkt) { n.control.View, n.control.PrevView = testView+1, testView }, bpf.ForwardCCL},
		{"of_a_view_to_come", func(n *node, f uint32, _ *pkt) {
			n.table.UpdateDelegation(f, func(d *flowtable.DelegationSlot) { d.View = testView + 1 })
		}, bpf.ForwardCCL},
		{"ended", func(n *node, f uint32, _ *pkt) { n.table.EndDelegation(f) }, bpf.ForwardCCL},
		{"being_written", func(n *node, f uint32, _ *pkt) { d, _ := n.table.Delegation(f); d.Seq++ }, bpf.ForwardCCL},
		{"dead_before_its_forward_entry", func(n *node, f uint32, _ *pkt) { d, _ := n.table.Delegation(f); d.Flags = 0 }, bpf.ForwardCCL},
		{"anothers_by_now", func(n *node, f uint32, _ *pkt) { d, _ := n.table.Delegation(f); d.Key.SrcPort ^= 1 }, bpf.ForwardCCL},
		{"anothers_with_its_forward_entry", func(n *node, f uint32, _ *pkt) {
			other := tcpKey
			other.SrcPort ^= 1
			n.addForward(other, 1)
			d, _ := n.table.Delegation(f)
			d.Key, d.Forward = other, n.table.Lookup(other).Slot()
		}, bpf.PuntMiss},
		{"fast_path_off", func(n *node, _ uint32, _ *pkt) { n.control.Flags = bpf.ControlSlowOnly }, bpf.PuntSlowOnly},
		{"node_lease_over", func(n *node, _ uint32, _ *pkt) { n.control.Lease = 1 }, bpf.DropLeaseExpired},
		{"fenced", func(n *node, _ uint32, _ *pkt) { n.control.View = 0 }, bpf.DropFenced},
		{"ttl_ends", func(_ *node, _ uint32, p *pkt) { p.ttl = 1 }, bpf.PuntTTLExceeded},
		{"fragment", func(_ *node, _ uint32, p *pkt) { p.moreFrags = true }, bpf.PuntFragment},
		{"options", func(_ *node, _ uint32, p *pkt) { p.options = true }, bpf.PuntIPOptions},
	} {
		t.Run(c.name, func(t *testing.T) {
			n, out, _ := delegated(t, tcpKey)
			forward, d := n.addDelegation(tcpKey, out, 1, inside, toOutside)
			p := from(tcpKey)
			in := unpadded(t, p)
			c.setup(n, forward, &p)
			in = unpadded(t, p)
			r := n.runData(in).want(t, c.want)
			if c.want == bpf.ForwardCCL {
				wantBytes(t, r.packet[bpf.CCLPayload:], in[14:])
			}
			if packets, octets := d.Counters(); packets != 0 || octets != 0 || d.SeenAt() != 0 {
				t.Errorf("the delegation counts %d packets of %d bytes", packets, octets)
			}
			packets, _ := n.table.Forward(forward).Counters()
			if want := map[bool]uint64{true: 1}[c.want == bpf.ForwardCCL]; packets != want {
				t.Errorf("the forward entry counts %d packets, want %d", packets, want)
			}
		})
	}
}

// TestDESIGN5_ALeaseBeyondTheWrapOfTheClock: ticks are 32 bits and run over every
// few weeks. A lease that ends behind that is in force; one that ended before is not.
func TestDESIGN5_ALeaseBeyondTheWrapOfTheClock(t *testing.T) {
	n, out, _ := delegated(t, tcpKey)
	forward, _ := n.addDelegation(tcpKey, out, 1, inside, toOutside)
	for _, c := range []struct {
		ahead uint32
		want  bpf.Outcome
	}{{flowtable.Ticks(1), bpf.ForwardDelegated}, {1<<31 - flowtable.Ticks(60), bpf.ForwardDelegated}, {1<<31 + flowtable.Ticks(60), bpf.ForwardCCL}} {
		n.table.UpdateDelegation(forward, func(d *flowtable.DelegationSlot) { d.Lease = nowTicks(t) + c.ahead })
		n.runData(from(tcpKey).bytes(t)).want(t, c.want)
	}
}

// TestDESIGN5_ADelegationGoesWithItsForwardEntry: once it is gone, its direction is
// nobody's, although the slots still say what they said; and so when the index still
// leads there.
func TestDESIGN5_ADelegationGoesWithItsForwardEntry(t *testing.T) {
	for _, c := range []struct {
		name string
		end  func(n *node, forward uint32)
		want bpf.Outcome
	}{
		{"ended", func(n *node, forward uint32) { n.table.EndDelegation(forward) }, bpf.ForwardCCL},
		{"removed", func(n *node, forward uint32) { n.table.RemoveForward(forward) }, bpf.PuntMiss},
	} {
		for _, found := range []bool{false, true} {
			n, out, _ := delegated(t, tcpKey)
			forward, d := n.addDelegation(tcpKey, out, 1, inside, toOutside)
			n.runData(from(tcpKey).bytes(t)).want(t, bpf.ForwardDelegated)
			index := mmapped[flowtable.Bucket](t, n.maps.Index)
			before := slices.Clone(index)
			c.end(n, forward)
			if found { // by a program that looked before
				copy(index, before)
			}
			n.runData(from(tcpKey).bytes(t)).want(t, c.want)
			if packets, _ := d.Counters(); packets != 1 {
				t.Errorf("%s: %d packets went by the delegation, 1 before its end", c.name, packets)
			}
		}
	}
}

// TestDESIGN5_ReportsTellTheNewestByte: the end of what was sent is that of the
// newest segment, whatever is sent again, and begins with the first one, wherever in
// the numbers that is. The acknowledgement and the window are those of the last one.
func TestDESIGN5_ReportsTellTheNewestByte(t *testing.T) {
	for _, start := range []uint32{1000, 0x80000000, 1<<32 - 150} { // the second is older than 0, the third wraps
		n, out, _ := delegated(t, tcpKey)
		_, d := n.addDelegation(tcpKey, out, 1, inside, toOutside)
		send := func(seq, ack uint32, window uint16) {
			p := from(tcpKey)
			p.seq, p.ack, p.window, p.payload = start+seq, ack, window, make([]byte, 100)
			n.runData(p.bytes(t)).want(t, bpf.ForwardDelegated)
		}
		for _, c := range []struct {
			seq, ack, end uint32
			window        uint16
		}{{0, 10, 100, 5}, {100, 20, 200, 6}, {50, 15, 200, 7}} {
			send(c.seq, c.ack, c.window)
			if got, want := d.Sent(), (flowtable.TCPSent{SeqEnd: start + c.end, Ack: c.ack, Window: c.window, WScale: flowtable.WScaleUnknown}); got != want {
				t.Errorf("from %#x on: after %d the report says %+v, want %+v", start, c.seq, got, want)
			}
		}
	}
}

// TestDESIGN5_TheLastThatFit: a packet of exactly the MTU, with the smallest time to
// live that survives a hop.
func TestDESIGN5_TheLastThatFit(t *testing.T) {
	n, out, _ := delegated(t, tcpKey)
	n.addDelegation(tcpKey, out, 1, inside, toOutside)
	n.nexthops[toOutside].Mtu = 52
	p := from(tcpKey)
	p.ttl = 2
	want := p.sentTo(serverMAC)
	want.key = out
	wantBytes(t, n.runData(p.bytes(t)).want(t, bpf.ForwardDelegated).packet, want.bytes(t))
}

// TestDESIGN5_FramesOfOthersAreNotDelegated: a delegation is for packets from the
// wire; what another node sent here has had its hop.
func TestDESIGN5_FramesOfOthersAreNotDelegated(t *testing.T) {
	n := relay(t)
	n.table.RemoveForward(n.table.Lookup(relayed).Slot())
	_, d := n.addDelegation(relayed, relayed, 3, outside, toInside)
	n.runCCL(steered(t, 1, 2, relayed).bytes(t)).want(t, bpf.ForwardRelayed)
	if packets, _ := d.Counters(); packets != 0 {
		t.Error("a frame of another node went by the delegation")
	}
}

// TestDESIGN5_OwnerNotesWhereForwardedPacketsEnter: one in sixteen, without a
// change of the counters, and packets from the wire not at all.
func TestDESIGN5_OwnerNotesWhereForwardedPacketsEnter(t *testing.T) {
	n := newNode(t, 1)
	_, f := n.addFlow(tcpKey)
	frame := carries(2, 1, unpadded(t, from(tcpKey)))
	frame.entry = 3
	for i := range 40 {
		if i == 20 && (f.Via(0) != 3 || f.Via(0) != 0) {
			t.Fatal("twenty packets left no mark, or it was not cleared")
		}
		n.runCCL(frame.bytes(t)).want(t, bpf.ForwardOwnerCCL)
		n.runData(from(tcpKey).bytes(t)).want(t, bpf.ForwardOwner)
	}
	if packets, octets := f.Counters(0); packets != 80 || octets != 80*52 {
		t.Errorf("%d packets of %d bytes", packets, octets)
	}
	if f.Via(0) != 3 || f.Via(1) != 0 {
		t.Error("wrong marks")
	}
	for range 40 {
		n.runData(from(tcpKey).bytes(t)).want(t, bpf.ForwardOwner)
	}
	if f.Via(0) != 0 {
		t.Error("a packet from the wire left a mark")
	}
}

// TestDESIGN5_TheFifthPacketBringsTheOffer: a handshake does not, and nobody waits for
// sixteen packets.
func TestDESIGN5_TheFifthPacketBringsTheOffer(t *testing.T) {
	n := newNode(t, 1)
	_, f := n.addFlow(tcpKey)
	frame := carries(2, 1, unpadded(t, from(tcpKey)))
	frame.entry = 3
	for i := 1; i <= 40; i++ {
		n.runCCL(frame.bytes(t)).want(t, bpf.ForwardOwnerCCL)
		if got, want := f.Via(0), map[bool]uint8{true: 3}[i%16 == 5]; got != want {
			t.Errorf("packet %d left the mark %d, want %d", i, got, want)
		}
	}
}

// TestDESIGN5_ResetOfADelegatedConnectionGoesToGo, although its number is what the
// owner has seen acknowledged last: others may have seen more.
func TestDESIGN5_ResetOfADelegatedConnectionGoesToGo(t *testing.T) {
	n := newNode(t, 1)
	slot, _ := n.addFlow(tcpKey)
	n.enterBy(outside)
	n.runData(from(tcpKey.Reverse()).bytes(t)).want(t, bpf.ForwardOwner) // acknowledges 5000
	n.enterBy(inside)
	rst := from(tcpKey)
	rst.flags, rst.seq, rst.payload = "R", 5000, nil
	for _, delegated := range []bool{false, true} {
		n.table.UpdateFlow(slot, func(f *flowtable.FlowSlot) {
			if f.Flags &^= flowtable.FlowDelegated; delegated {
				f.Flags |= flowtable.FlowDelegated
			}
		})
		n.runData(rst.bytes(t)).want(t, map[bool]bpf.Outcome{false: bpf.ForwardOwner, true: bpf.PuntTCPRST}[delegated])
	}
}
