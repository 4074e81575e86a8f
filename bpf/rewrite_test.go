package bpf_test

import (
	"encoding/binary"
	"fmt"
	"math/rand/v2"
	"net/netip"
	"testing"

	"cohort/bpf"
	"cohort/flowtable"
	"cohort/packet"
)

var mappedAddr = netip.MustParseAddr("203.0.113.10")

// translated is the flow of k whose initiator looks like mapped:port from
// outside.
func translated(k packet.FlowKey, mapped netip.Addr, port uint16) func(*flowtable.FlowSlot) {
	return func(f *flowtable.FlowSlot) {
		out := k
		out.Src = packet.AddrFrom(mapped)
		out.SrcPort = port
		f.Key[1] = out.Reverse()
	}
}

// TestTranslation sends both directions of a translated connection through its
// owner and compares with packets written from scratch: addresses, ports, and
// every checksum.
func TestTranslation(t *testing.T) {
	for _, c := range []struct {
		name string
		key  packet.FlowKey
		port uint16
		mod  func(*pkt)
	}{
		{"tcp", tcpKey, 1024, nil},
		{"udp", udpKey, 1024, nil},
		{"udp_without_checksum", udpKey, 1024, func(p *pkt) { p.noUDPSum = true }},
		{"echo", echoKey, 77, nil},
		{"timestamp", echoKey, 77, asks("timestamp")},
		{"information", echoKey, 77, asks("information")},
		{"mask", echoKey, 77, asks("mask")},
		{"gre", greKey, 0, nil},
		{"address_only", tcpKey, tcpKey.SrcPort, nil},
	} {
		t.Run(c.name, func(t *testing.T) {
			n := newNode(t, 1)
			_, f := n.addFlow(c.key, translated(c.key, mappedAddr, c.port))

			request := from(c.key)
			if c.mod != nil {
				c.mod(&request)
			}
			want := request.sentTo(serverMAC)
			want.key = f.Key[1].Reverse()
			r := n.runData(request.bytes(t)).want(t, bpf.ForwardOwner)
			wantBytes(t, r.packet, want.bytes(t))

			n.enterBy(outside)
			reply := from(f.Key[1])
			if c.mod != nil {
				c.mod(&reply)
			}
			want = reply.sentTo(clientMAC)
			want.key = c.key.Reverse()
			r = n.runData(reply.bytes(t)).want(t, bpf.ForwardOwner)
			wantBytes(t, r.packet, want.bytes(t))
		})
	}
}

// asks makes a packet of an ICMP connection one of this kind of query.
func asks(kind string) func(*pkt) {
	return func(p *pkt) {
		types := queries[kind]
		if p.icmpType = types[0]; p.key.SrcPort == 0 {
			p.icmpType = types[1]
		}
	}
}

// wantTranslated sends p, which enters by iface as direction dir of f, through
// its owner. It must leave as the packet that another implementation writes from
// scratch, and as the one that the slow path makes of it.
func (n *node) wantTranslated(f *flowtable.FlowSlot, dir int, p pkt) {
	n.t.Helper()
	n.enterBy(uint32(f.Iface[dir]))
	want := p.sentTo([2][6]uint8{serverMAC, clientMAC}[dir])
	want.key = f.Key[1-dir].Reverse()
	in := p.bytes(n.t)
	got := n.runData(in).want(n.t, bpf.ForwardOwner).packet
	wantBytes(n.t, got, want.bytes(n.t))

	var slow packet.Packet
	if r := slow.Parse(in); r != packet.OK {
		n.t.Fatal(r)
	}
	slow.Rewrite(want.key)
	slow.DecrementTTL()
	wantBytes(n.t, got[14:], in[14:])
}

// both makes a flow whose two ends are translated: twice NAT.
func both(k, k1 packet.FlowKey) func(*flowtable.FlowSlot) {
	return func(f *flowtable.FlowSlot) { f.Key = [2]packet.FlowKey{k, k1} }
}

// TestTranslationKeepsChecksumsRight over random tuples and payloads, of which
// either end or both are translated: the sums are updated by differences, whose
// carries and zeros are where errors hide.
func TestTranslationKeepsChecksumsRight(t *testing.T) {
	n := newNode(t, 1)
	rng := rand.New(rand.NewPCG(1, 2))
	addr := func() netip.Addr {
		if rng.IntN(8) == 0 { // many ones or zeros
			return netip.AddrFrom4([4]byte{1 + byte(rng.IntN(2))*126, 255 * byte(rng.IntN(2)), 255 * byte(rng.IntN(2)), 255})
		}
		return netip.AddrFrom4([4]byte{byte(1 + rng.IntN(126)), byte(rng.Uint32()), byte(rng.Uint32()), byte(rng.Uint32())})
	}
	port := func() uint16 { return [...]uint16{uint16(rng.Uint32()), 0xffff, 1}[max(0, rng.IntN(8)-5)] | 1 }
	for range 250 {
		proto := [...]uint8{packet.ProtoTCP, packet.ProtoUDP, packet.ProtoICMP, 47}[rng.IntN(4)]
		k := key(proto, addr(), port(), addr(), port())
		k1 := key(proto, addr(), port(), addr(), port())
		switch proto {
		case packet.ProtoICMP:
			k.DstPort, k1.SrcPort = 0, 0
		case 47:
			k.SrcPort, k.DstPort, k1.SrcPort, k1.DstPort = 0, 0, 0, 0
		}
		if rng.IntN(2) == 0 {
			k1.Src, k1.SrcPort = k.Dst, k.DstPort // only the initiator's end
		}
		slot, f := n.addFlow(k, both(k, k1))
		for dir := range 2 {
			p := from(f.Key[dir])
			p.ttl, p.id = uint8(2+rng.IntN(254)), uint16(rng.Uint32())
			if proto == packet.ProtoICMP {
				asks([]string{"echo", "timestamp", "information", "mask"}[rng.IntN(4)])(&p)
			}
			p.noUDPSum = proto == packet.ProtoUDP && rng.IntN(8) == 0
			p.payload = make([]byte, rng.IntN(200))
			for i := range p.payload {
				p.payload[i] = byte(rng.Uint32())
			}
			n.wantTranslated(f, dir, p)
		}
		n.table.RemoveFlow(slot)
	}
}

// checksumAt is where each protocol's checksum stands in a frame.
var checksumAt = map[uint8]int{packet.ProtoTCP: 34 + 16, packet.ProtoUDP: 34 + 6, packet.ProtoICMP: 34 + 2}

// aimed is p with its last two bytes of payload such that its transport checksum
// is sum, and its identification such that the IP header's is.
func aimed(t testing.TB, p pkt, sum uint16) pkt {
	t.Helper()
	missing := func(have uint16) uint16 { // have with 0; a larger word lowers it
		m := uint32(^sum) + uint32(have)
		return uint16(m + m>>16)
	}
	p.payload, p.id = make([]byte, 16), 0
	b := p.bytes(t)
	p.id = missing(word(b, 24))
	binary.BigEndian.PutUint16(p.payload[14:], missing(word(b, checksumAt[p.key.Proto])))
	return p
}

// TestTranslationAtTheEdgesOfChecksums: sums of 0 and of all ones, and next to
// them, before the translation and after it. A UDP sum of 0 is sent as ones.
func TestTranslationAtTheEdgesOfChecksums(t *testing.T) {
	n := newNode(t, 1)
	for name, k := range map[string]packet.FlowKey{"tcp": tcpKey, "udp": udpKey, "echo": echoKey} {
		for _, port := range []uint16{1, 1024, 0xffff, k.SrcPort} {
			slot, f := n.addFlow(k, translated(k, mappedAddr, port))
			t.Run(fmt.Sprintf("%s_%d", name, port), func(t *testing.T) {
				for _, sum := range []uint16{0, 1, 0x7fff, 0x8000, 0xfffe} {
					n.in(t).wantEdge(f, 0, sum)
					n.in(t).wantEdge(f, 1, sum)
				}
			})
			n.table.RemoveFlow(slot)
		}
	}
}

// wantEdge translates a packet that comes with the checksums sum, and one that
// leaves with them.
func (n *node) wantEdge(f *flowtable.FlowSlot, dir int, sum uint16) {
	n.t.Helper()
	p := aimed(n.t, from(f.Key[dir]), sum)
	if b := p.bytes(n.t); sum != 0 && (word(b, 24) != sum || word(b, checksumAt[p.key.Proto]) != sum) {
		n.t.Fatalf("missed %#x: %x", sum, b)
	}
	n.wantTranslated(f, dir, p)

	after := p
	after.key = f.Key[1-dir].Reverse()
	after.ttl--
	after = aimed(n.t, after, sum)
	p.id, p.payload = after.id, after.payload
	n.wantTranslated(f, dir, p)
}

// TestOtherZeroOfAChecksumIsRightToo: a sender may write all ones where most
// write 0 (RFC 1071 counts with minus zero). What leaves adds up.
func TestOtherZeroOfAChecksumIsRightToo(t *testing.T) {
	n := newNode(t, 1)
	for _, k := range []packet.FlowKey{tcpKey, echoKey} {
		n.addFlow(k, translated(k, mappedAddr, 1024))
		in := aimed(t, from(k), 0).bytes(t)
		for _, at := range []int{24, checksumAt[k.Proto]} {
			if word(in, at) != 0 {
				t.Fatalf("checksum %#x, want 0", word(in, at))
			}
			in[at], in[at+1] = 0xff, 0xff
		}
		out := n.runData(in).want(t, bpf.ForwardOwner).packet[14:]
		body := append([]byte(nil), out[20:word(out, 2)]...)
		if k.Proto == packet.ProtoTCP {
			pseudo := append([]byte(nil), out[12:20]...)
			body = append(append(pseudo, 0, k.Proto, 0, byte(len(body))), body...)
		}
		for what, b := range map[string][]byte{"IP header": out[:20], "transport": body} {
			if sum := onesSum(b); sum != 0xffff {
				t.Errorf("%s of protocol %d adds up to %#x", what, k.Proto, sum)
			}
		}
	}
}

// TestChecksumsOverAddressesAddUp: UDP-Lite and DCCP are translated without their ports,
// and sum the addresses up. The fast path and the slow path write the same.
func TestChecksumsOverAddressesAddUp(t *testing.T) {
	n := newNode(t, 1)
	for _, proto := range []uint8{packet.ProtoUDPLite, packet.ProtoDCCP} {
		k := key(proto, clientAddr, 0, serverAddr, 0)
		_, f := n.addFlow(k, translated(k, mappedAddr, 0))
		for i := range 500 {
			p := from(k)
			p.payload = make([]byte, 16)
			binary.BigEndian.PutUint16(p.payload[8:], uint16(131*i))
			pseudo := append(append(k.Src[:], k.Dst[:]...), 0, proto, 0, byte(len(p.payload)))
			binary.BigEndian.PutUint16(p.payload[6:], ^uint16(onesSum(append(pseudo, p.payload...))))
			in := p.bytes(t)
			out := n.runData(in).want(t, bpf.ForwardOwner).packet
			body := out[34:][:len(p.payload)]
			pseudo = append(append([]byte(nil), out[26:34]...), 0, proto, 0, byte(len(body)))
			if sum := onesSum(append(pseudo, body...)); sum != 0xffff || word(body, 6) == 0 || onesSum(out[14:34]) != 0xffff {
				t.Fatalf("protocol %d: %x adds up to %#x", proto, out, sum)
			}
			var slow packet.Packet
			if r := slow.Parse(in); r != packet.OK {
				t.Fatal(r)
			}
			slow.Rewrite(f.Key[1].Reverse())
			slow.DecrementTTL()
			wantBytes(t, out[14:], in[14:])
		}
		short := from(k) // padding to 60 bytes is no header
		short.payload = []byte{1, 2, 3, 4, 5, 6, 7}
		in := short.bytes(t)
		out := n.runData(in).want(t, bpf.ForwardOwner).packet
		wantBytes(t, out[34:], in[34:])
	}
}

// onesSum adds up 16-bit words as a receiver does (RFC 1071): ffff is right.
func onesSum(b []byte) uint32 {
	var sum uint32
	for i := 0; i < len(b); i += 2 {
		if sum += uint32(word(b, i)); sum > 0xffff {
			sum -= 0xffff
		}
	}
	return sum
}

// TestEchoReplyOfZerosHasAChecksum: translated to identifier 0 it is nothing but
// zeros, and 0 would not add up.
func TestEchoReplyOfZerosHasAChecksum(t *testing.T) {
	n := newNode(t, 1)
	k := echoKey
	k.SrcPort = 0
	k1 := back(packet.ProtoICMP, 4711)
	n.addFlow(k, both(k, k1))
	n.enterBy(outside)
	in := mod(t, k1, func(p *pkt) { p.payload = nil })
	in[34+6], in[34+7] = 0, 0 // sequence number
	binary.BigEndian.PutUint16(in[34+2:], ^uint16(4711))
	out := n.runData(in).want(t, bpf.ForwardOwner).packet
	if sum := onesSum(out[34:42]); sum != 0xffff || word(out, 34+4) != 0 {
		t.Errorf("%x adds up to %#x", out[34:42], sum)
	}
}

// TestUDPChecksumThatBecomesZeroIsSentAsOnes: 0 would mean "none" (RFC 768).
// The mapped port is searched for which the sum is 0.
func TestUDPChecksumThatBecomesZeroIsSentAsOnes(t *testing.T) {
	n := newNode(t, 1)
	p := from(udpKey)
	p.payload = nil
	// Every address and both lengths are fixed, so one port makes the sum ffff:
	// lower the mapped port by what is missing with port 0.
	out := p
	out.key.Src, out.key.SrcPort = packet.AddrFrom(mappedAddr), 0
	port := word(out.bytes(t), 14+20+6)
	n.addFlow(udpKey, translated(udpKey, mappedAddr, port))
	r := n.runData(p.bytes(t)).want(t, bpf.ForwardOwner)
	if got := word(r.packet, 14+20+6); got != 0xffff {
		t.Errorf("checksum %#x, want 0xffff", got)
	}
}
