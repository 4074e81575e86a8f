package bpf_test

import (
	"bytes"
	"encoding/binary"
	"math/rand/v2"
	"testing"

	"cohort/bpf"
	"cohort/flowtable"
	"cohort/packet"

	"github.com/google/gopacket/layers"
)

const seqDelta = 0x9abcdef0

func sequenced(f *flowtable.FlowSlot) { f.SeqDelta = seqDelta }

// sack is the option of RFC 2018.
func sack(edges ...uint32) layers.TCPOption {
	o := layers.TCPOption{OptionType: layers.TCPOptionKindSACK, OptionLength: uint8(2 + 4*len(edges))}
	for _, e := range edges {
		o.OptionData = binary.BigEndian.AppendUint32(o.OptionData, e)
	}
	return o
}

var nop = layers.TCPOption{OptionType: layers.TCPOptionKindNop, OptionLength: 1}

func timestamps() layers.TCPOption {
	return layers.TCPOption{OptionType: layers.TCPOptionKindTimestamps, OptionLength: 10, OptionData: []byte{1, 2, 3, 4, 5, 6, 7, 8}}
}

// TestFR5_SequenceNumbersChangeOnTheWay: both directions, at the owner and at a
// delegate, with and without translation, byte by byte against packets written from
// scratch; what is recorded is what the initiator knows.
func TestFR5_SequenceNumbersChangeOnTheWay(t *testing.T) {
	for _, c := range []struct {
		name      string
		nat, lent bool
	}{{"owner", false, false}, {"owner_translated", true, false}, {"delegate", false, true}, {"delegate_translated", true, true}} {
		t.Run(c.name, func(t *testing.T) {
			out := tcpKey
			if c.nat {
				out.Src, out.SrcPort = packet.AddrFrom(mappedAddr), 1024
			}
			id, outcome := uint8(1), bpf.ForwardOwner
			if c.lent {
				id, outcome = 2, bpf.ForwardDelegated
			}
			n := newNode(t, id)
			var sent [2]func() flowtable.TCPSent
			if c.lent {
				for dir, add := range []func() *flowtable.DelegationSlot{
					func() *flowtable.DelegationSlot { _, d := n.addDelegation(tcpKey, out, 1, inside, toOutside); return d },
					func() *flowtable.DelegationSlot {
						_, d := n.addDelegation(out.Reverse(), tcpKey.Reverse(), 1, outside, toInside)
						d.Flags |= flowtable.FlowReply
						return d
					},
				} {
					d := add()
					d.SeqDelta = seqDelta
					sent[dir] = d.Sent
				}
			} else {
				_, f := n.addFlow(tcpKey, sequenced, func(f *flowtable.FlowSlot) { f.Key[1] = out.Reverse() })
				sent[0], sent[1] = func() flowtable.TCPSent { return f.TCPSent(0) }, func() flowtable.TCPSent { return f.TCPSent(1) }
			}

			p := from(tcpKey)
			p.seq, p.ack, p.flags = 0xfffffff8, 77, "PA"
			p.tcpOptions = []layers.TCPOption{nop, nop, sack(77, 99)} // of the responder's numbers, which stay
			want := p.sentTo(serverMAC)
			want.key, want.seq = out, p.seq+seqDelta
			wantBytes(t, n.runData(p.bytes(t)).want(t, outcome).packet, want.bytes(t))
			if got := sent[0](); got.SeqEnd != 4 || got.Ack != 77 {
				t.Errorf("the initiator's numbers are recorded as %+v", got)
			}

			n.enterBy(outside)
			p = from(out.Reverse())
			p.seq, p.ack = 5000, seqDelta+4
			p.tcpOptions = []layers.TCPOption{nop, nop, sack(seqDelta+10, seqDelta+20, 7, 9)}
			want = p.sentTo(clientMAC)
			want.key, want.ack = tcpKey.Reverse(), 4
			want.tcpOptions = []layers.TCPOption{nop, nop, sack(10, 20, (1<<32+7-seqDelta)&0xffffffff, (1<<32+9-seqDelta)&0xffffffff)}
			wantBytes(t, n.runData(p.bytes(t)).want(t, outcome).packet, want.bytes(t))
			if got := sent[1](); got.SeqEnd != 5012 || got.Ack != 4 {
				t.Errorf("the responder's numbers are recorded as %+v", got)
			}
		})
	}
}

// TestFR5_ShiftingIsThatOfTheSlowPath over random segments: any options, malformed
// ones among them, at any offset. packet.ShiftSequence is proved against packets
// that are built anew.
func TestFR5_ShiftingIsThatOfTheSlowPath(t *testing.T) {
	n := newNode(t, 1)
	_, f := n.addFlow(tcpKey, sequenced)
	rng := rand.New(rand.NewPCG(7, 8))
	kinds := []byte{0, 1, 1, 1, 5, 5, 5, 8, 30}
	shifted := 0
	for i := range 3000 {
		dir := rng.IntN(4) / 3 // the responder's are of interest
		dir = 1 - dir
		n.enterBy(uint32(f.Iface[dir]))
		p := from(f.Key[dir])
		p.seq, p.ack, p.payload = rng.Uint32(), rng.Uint32(), make([]byte, 40+rng.IntN(60))
		for j := range p.payload {
			p.payload[j] = byte(rng.Uint32())
		}
		in := p.bytes(t)
		// Options of random kinds and mostly fitting lengths over the payload.
		words := rng.IntN(11)
		in[46] = byte(5+words)<<4 | in[46]&15
		for at, end := 54, 54+4*words; at < end; {
			kind := kinds[rng.IntN(len(kinds))]
			in[at] = kind
			if kind <= 1 && rng.IntN(16) != 0 {
				at++
				continue
			}
			length := 2 + rng.IntN(9)
			if kind == 5 {
				length = 2 + 8*rng.IntN(5)
			}
			if rng.IntN(16) == 0 {
				length = rng.IntN(44)
			}
			if at+1 < end {
				in[at+1] = byte(length)
			}
			at += max(length, 1)
		}
		sumTCP(in)

		want := bytes.Clone(in)
		var slow packet.Packet
		if r := slow.Parse(want); r != packet.OK {
			t.Fatal(r)
		}
		slow.ShiftSequence(f.Shift(dir))
		slow.DecrementTTL()
		got := n.runData(in).want(t, bpf.ForwardOwner).packet
		if !bytes.Equal(got[14:], want[14:]) {
			t.Fatalf("segment %d, options %x\nXDP  %x\nGo   %x", i, in[54:54+4*words], got[14:], want[14:])
		}
		sumTCP(want)
		if !bytes.Equal(got[14:], want[14:]) {
			t.Fatalf("segment %d, options %x: wrong checksum", i, in[54:54+4*words])
		}
		if dir == 1 && !bytes.Equal(got[54:54+4*words], in[54:54+4*words]) {
			shifted++
		}
	}
	if shifted < 300 {
		t.Errorf("only %d of 3000 segments had a selective acknowledgement", shifted)
	}
}

// sumTCP writes the right checksum into a frame without IP options.
func sumTCP(b []byte) {
	end := 14 + int(word(b, 16))
	binary.BigEndian.PutUint16(b[50:], 0)
	sum := packet.PseudoSum(packet.Addr(b[26:30]), packet.Addr(b[30:34]), packet.ProtoTCP, end-34)
	binary.BigEndian.PutUint16(b[50:], packet.Fold(packet.Sum(sum, b[34:end])))
}

// TestFR5_ResetsAreJudgedByTheInitiatorsNumbers: RFC 5961, from both sides. A reset
// without ACK has no acknowledgement to change.
func TestFR5_ResetsAreJudgedByTheInitiatorsNumbers(t *testing.T) {
	n := newNode(t, 1)
	n.addFlow(tcpKey, sequenced)
	data := from(tcpKey)
	data.seq, data.ack = 1000, 5000
	n.runData(data.bytes(t)).want(t, bpf.ForwardOwner)
	n.enterBy(outside)
	answer := from(tcpKey.Reverse())
	answer.seq, answer.ack = 5000, seqDelta+1012
	n.runData(answer.bytes(t)).want(t, bpf.ForwardOwner)

	n.enterBy(inside)
	reset := from(tcpKey)
	reset.flags, reset.payload, reset.ack = "R", nil, 0
	reset.seq = seqDelta + 1012 // right only where the responder is
	n.runData(reset.bytes(t)).want(t, bpf.PuntTCPRST)
	reset.seq = 1012
	want := reset.sentTo(serverMAC)
	want.seq = seqDelta + 1012
	wantBytes(t, n.runData(reset.bytes(t)).want(t, bpf.ForwardOwner).packet, want.bytes(t))

	n.enterBy(outside)
	reset = from(tcpKey.Reverse())
	reset.flags, reset.payload, reset.seq, reset.ack = "R", nil, 5000, 0
	wantBytes(t, n.runData(reset.bytes(t)).want(t, bpf.ForwardOwner).packet, reset.sentTo(clientMAC).bytes(t))
}

// TestFR5_WhatGoesToGoIsAsItCame, sequence numbers among it.
func TestFR5_WhatGoesToGoIsAsItCame(t *testing.T) {
	n := newNode(t, 1)
	n.addFlow(tcpKey, sequenced, func(f *flowtable.FlowSlot) { f.NextHop[0] = 0 })
	p := from(tcpKey)
	wantBytes(t, n.runData(p.bytes(t)).want(t, bpf.PuntNoNexthop).packet, p.bytes(t))
	p.flags = "S"
	wantBytes(t, n.runData(p.bytes(t)).want(t, bpf.PuntTCPFlags).packet, p.bytes(t))
}

// TestFR5_HeaderBehindTheEndIsDropped: nobody could read its options.
func TestFR5_HeaderBehindTheEndIsDropped(t *testing.T) {
	n := newNode(t, 1)
	n.addFlow(tcpKey, sequenced)
	p := from(tcpKey)
	p.payload = nil
	in := p.bytes(t)
	in[46] = 15 << 4 // 40 bytes of options, which are not there
	n.runData(in).want(t, bpf.DropBadL4)
}

// TestFR5_SegmentsThatCarryNoNewData are shifted like any other: keepalives, which are
// one byte back (RFC 9293, 3.8.4), FINs, urgent data, whose pointer counts from the
// sequence number and stays (RFC 6093), acknowledgements of what was sent long ago, and
// numbers that pass 2^32.
func TestFR5_SegmentsThatCarryNoNewData(t *testing.T) {
	for name, c := range map[string]func(p *pkt){
		"keepalive":             func(p *pkt) { p.seq--; p.payload = nil },
		"keepalive with a byte": func(p *pkt) { p.seq--; p.payload = []byte{0} },
		"FIN":                   func(p *pkt) { p.flags, p.payload = "FA", nil },
		"urgent":                func(p *pkt) { p.flags, p.urgent = "PAU", 7 },
		"pointer without URG":   func(p *pkt) { p.urgent = 7 },
		"of long ago":           func(p *pkt) { p.seq -= 1 << 30; p.ack -= 1 << 30 },
		"at the end of numbers": func(p *pkt) { p.seq, p.ack = 0xffffffff, 0 },
		"timestamps":            func(p *pkt) { p.tcpOptions = []layers.TCPOption{nop, nop, timestamps()} },
		"one block beside timestamps": func(p *pkt) {
			p.tcpOptions = []layers.TCPOption{nop, nop, timestamps(), nop, nop, sack(5, 6)}
		},
		"two blocks, odd": func(p *pkt) { p.tcpOptions = []layers.TCPOption{nop, sack(5, 6, 7, 8), timestamps()} },
	} {
		for dir := range 2 {
			n := newNode(t, 1)
			_, f := n.addFlow(tcpKey, sequenced)
			n.enterBy([]uint32{inside, outside}[dir])
			p := from(f.Key[dir])
			c(&p)
			in := p.bytes(t)
			want := p.sentTo([][6]uint8{serverMAC, clientMAC}[dir])
			if dir == 0 {
				want.seq += seqDelta
			} else {
				want.ack -= seqDelta
				want.tcpOptions = shiftedBack(p.tcpOptions)
			}
			t.Run(name, func(t *testing.T) {
				wantBytes(t, n.runData(in).want(t, bpf.ForwardOwner).packet, want.bytes(t))
			})
		}
	}
}

// shiftedBack are options of the responder as the initiator gets them.
func shiftedBack(options []layers.TCPOption) (list []layers.TCPOption) {
	for _, o := range options {
		if o.OptionType == layers.TCPOptionKindSACK {
			var edges []uint32
			for at := 0; at < len(o.OptionData); at += 4 {
				edges = append(edges, binary.BigEndian.Uint32(o.OptionData[at:])+^uint32(seqDelta)+1)
			}
			o = sack(edges...)
		}
		list = append(list, o)
	}
	return list
}
