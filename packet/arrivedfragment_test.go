package packet_test

import (
	"bytes"
	"encoding/binary"
	"math/rand/v2"
	"testing"

	"cohort/packet"
	"cohort/packet/packettest"

	"pgregory.net/rapid"
)

// parseFragment is what the slow path does with a frame that Parse calls a fragment.
func parseFragment(p *packet.Packet, frame []byte) packet.Reject {
	if r := p.Parse(frame); r != packet.RejectFragment {
		return r
	}
	return p.ParseFragment()
}

// cut returns the fragments of a frame's packet as frames.
func cut(t interface{ Fatal(...any) }, frame []byte, mtu int) (list [][]byte) {
	var p packet.Packet
	if r := p.Parse(frame); r != packet.OK {
		t.Fatal(r)
	}
	for offset, more := 0, true; more; {
		f, next := p.AppendFragment(bytes.Clone(frame[:packet.EthernetLen]), mtu, offset)
		list = append(list, f)
		offset, more = next, next != 0
	}
	return list
}

// What is translated in fragments is, put together, what is translated whole: each
// with its checksums, whatever the sizes.
func TestFR10_FragmentsAreTranslatedAsTheWhole(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		s := packettest.Specs().Draw(t, "packet")
		s.DontFragment, s.IPOptions = false, 0
		s.Payload = rapid.SliceOfN(rapid.Byte(), 100, 400).Draw(t, "payload")
		mtu := rapid.IntRange(88, 200).Draw(t, "mtu") // a TCP header of 60 bytes fits
		frame := packettest.Build(s)
		fixZero(frame, s)
		to := packet.FlowKey{Src: packet.Addr{203, 0, 113, 9}, Dst: packet.Addr{10, 9, 8, 7}, SrcPort: rapid.Uint16().Draw(t, "sport"), DstPort: rapid.Uint16().Draw(t, "dport")}
		seq, ack := rapid.Uint32().Draw(t, "seq"), rapid.Uint32().Draw(t, "ack")

		var whole []byte
		for _, f := range cut(t, frame, mtu) {
			var p packet.Packet
			if r := parseFragment(&p, f); r != packet.OK {
				t.Fatal(r)
			}
			p.ShiftSequence(seq, ack)
			p.Rewrite(to)
			p.DecrementTTL()
			if !p.HeaderSumOK() || packet.Addr(f[26:30]) != to.Src || packet.Addr(f[30:34]) != to.Dst {
				t.Fatalf("header %x", f[14:34])
			}
			whole = append(whole, f[p.L4:p.End]...)
		}
		var p packet.Packet
		p.Parse(frame)
		p.ShiftSequence(seq, ack)
		p.Rewrite(to)
		if !bytes.Equal(whole, p.Data[p.L4:p.End]) {
			t.Fatalf("in fragments\n%x, whole\n%x", whole, p.Data[p.L4:p.End])
		}
	})
}

func TestFR10_WhatOneFragmentTells(t *testing.T) {
	key := func(proto uint8) packet.FlowKey {
		k := web
		k.Proto = proto
		return k
	}
	echo := packet.FlowKey{Src: client, Dst: server, SrcPort: 77, Proto: packet.ProtoICMP}
	short := func(s packettest.Spec, payload int) []byte { // the IP payload cut off behind so many bytes
		s.MoreFragments = true
		frame := packettest.Build(s)[:packet.EthernetLen+packet.IPv4Len+payload]
		binary.BigEndian.PutUint16(frame[16:], uint16(packet.IPv4Len+payload))
		return frame
	}
	body := make([]byte, 64)
	first := func(s packettest.Spec) []byte {
		s.MoreFragments, s.Payload = true, body
		return packettest.Build(s)
	}
	for _, c := range []struct {
		name  string
		frame []byte
		want  packet.Reject
		key   packet.FlowKey
	}{
		{"first of TCP", short(packettest.Spec{Key: key(6), Payload: body}, 80), packet.OK, key(6)},
		{"first of UDP, whose length is the datagram's", short(packettest.Spec{Key: key(17), Payload: body}, 64), packet.OK, key(17)},
		{"first of an echo", first(packettest.Spec{Key: echo, ICMPType: packet.ICMPEchoRequest}), packet.OK, echo},
		{"first of another protocol", first(packettest.Spec{Key: packet.FlowKey{Src: client, Dst: server, Proto: 47}}), packet.OK, packet.FlowKey{Src: client, Dst: server, Proto: 47}},
		{"later of UDP", packettest.Build(packettest.Spec{Key: key(17), FragOffset: 8, Payload: body}), packet.OK, packet.FlowKey{Src: client, Dst: server, Proto: 17}},
		{"last, of any length", packettest.Build(packettest.Spec{Key: key(17), FragOffset: 1480, Payload: body[:5]}), packet.OK, packet.FlowKey{Src: client, Dst: server, Proto: 17}},
		{"TCP behind its fixed header", packettest.Build(packettest.Spec{Key: key(6), FragOffset: 24, Payload: body}), packet.OK, packet.FlowKey{Src: client, Dst: server, Proto: 6}},
		{"the last bytes there are", packettest.Build(packettest.Spec{Key: key(17), FragOffset: 65512, Payload: body[:3]}), packet.OK, packet.FlowKey{Src: client, Dst: server, Proto: 17}},

		{"TCP flags in the second fragment", packettest.Build(packettest.Spec{Key: key(6), FragOffset: 8, MoreFragments: true, Payload: body}), packet.RejectTinyFragment, packet.FlowKey{}},
		{"TCP checksum in the second fragment", packettest.Build(packettest.Spec{Key: key(6), FragOffset: 16, Payload: body}), packet.RejectTinyFragment, packet.FlowKey{}},
		{"eight bytes of TCP", short(packettest.Spec{Key: key(6), Payload: body}, 8), packet.RejectTinyFragment, packet.FlowKey{}},
		{"TCP without all its options", short(packettest.Spec{Key: key(6), MSS: 1460, SACK: true, Payload: body}, 24), packet.RejectTinyFragment, packet.FlowKey{}},
		{"no payload", packettest.Build(packettest.Spec{Key: key(17), FragOffset: 8}), packet.RejectBadFragment, packet.FlowKey{}},
		{"first without payload", short(packettest.Spec{Key: key(17)}, 0), packet.RejectBadFragment, packet.FlowKey{}},
		{"more to come behind an odd length", packettest.Build(packettest.Spec{Key: key(17), FragOffset: 8, MoreFragments: true, Payload: body[:12]}), packet.RejectBadFragment, packet.FlowKey{}},
		{"ping of death", packettest.Build(packettest.Spec{Key: echo, FragOffset: 65528, Payload: body}), packet.RejectBadFragment, packet.FlowKey{}},
		{"one byte too far", packettest.Build(packettest.Spec{Key: echo, FragOffset: 65512, Payload: body[:4]}), packet.RejectBadFragment, packet.FlowKey{}},
		{"an ICMP error", first(packettest.Spec{Key: packet.FlowKey{Src: router, Dst: client, Proto: packet.ProtoICMP}, ICMPType: packet.ICMPTimeExceeded}), packet.RejectFragmentedError, packet.FlowKey{}},
		{"no fragment", packettest.UDP(web, body), packet.OK, key(17)},
	} {
		var p packet.Packet
		if r := parseFragment(&p, c.frame); r != c.want || r == packet.OK && p.Key != c.key {
			t.Errorf("%s: %v %v, want %v %v", c.name, r, p.Key, c.want, c.key)
		}
	}
}

// Any bytes that are a fragment: no panic, offsets in order, and what was accepted
// reads as it is asked to after a translation, as bad or as good as it was before.
func FuzzParseFragment(f *testing.F) {
	r := rand.New(rand.NewPCG(4, 4))
	for range 20 {
		s := packettest.Random(r)
		s.MoreFragments, s.Payload = true, make([]byte, 64)
		f.Add(packettest.Build(s), r.Uint64(), r.Uint32())
		s.FragOffset = 8 * uint16(r.IntN(8190))
		f.Add(packettest.Build(s), r.Uint64(), r.Uint32())
	}
	for _, s := range sumLikeUDP {
		s.MoreFragments, s.Payload = true, make([]byte, 64)
		f.Add(packettest.Build(s), r.Uint64(), r.Uint32())
	}
	f.Fuzz(func(t *testing.T, before []byte, addrs uint64, ports uint32) {
		frame := bytes.Clone(before) // an input that changes is reported as what it became
		var p, again packet.Packet
		if p.Parse(frame) != packet.RejectFragment {
			return
		}
		reject := p.ParseFragment()
		if reject.String() == "invalid" || !bytes.Equal(before, frame) {
			t.Fatalf("reject %d, or the buffer changed", reject)
		}
		if reject != packet.OK {
			return
		}
		checkOffsets(t, &p)
		size := p.End - p.L4
		if size == 0 || p.L4-p.L3+int(p.FragOffset)+size > 65535 || p.MoreFragments && size%8 != 0 || p.IsICMPError() {
			t.Fatalf("offset %d, %d bytes, more %v", p.FragOffset, size, p.MoreFragments)
		}
		sum, to := residue(0, frame[p.L3:p.L4]), keyFrom(p.Proto, addrs, ports)
		p.ShiftSequence(ports, uint32(addrs))
		p.Rewrite(to)
		if after := residue(0, frame[p.L3:p.L4]); after != sum {
			t.Fatalf("the header's checksum is off by %x, before by %x", after, sum)
		}
		if p.FragOffset != 0 && !bytes.Equal(before[p.L4:], frame[p.L4:]) {
			t.Fatal("a later fragment's payload changed")
		}
		behind := p.Payload
		if at := sumAt[p.Proto]; behind == p.L4 && at != 0 { // UDP-Lite and DCCP: no header is read, a checksum is corrected
			if head := min(p.L4+at, len(frame)); !bytes.Equal(before[p.L4:head], frame[p.L4:head]) {
				t.Fatal("more than the checksum changed")
			}
			behind += at + 2
		}
		if behind < len(frame) && !bytes.Equal(before[behind:], frame[behind:]) {
			t.Fatal("what is behind the transport header changed")
		}
		if r := parseFragment(&again, frame); r != packet.OK || again.Key != p.Key || p.Key.Src != to.Src || p.Key.Dst != to.Dst {
			t.Fatalf("%v: reads as %v, fields say %v, asked for %v", r, again.Key, p.Key, to)
		}
	})
}
