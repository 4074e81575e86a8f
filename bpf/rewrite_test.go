package bpf_test

import (
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

// TestTranslationKeepsChecksumsRight over random tuples and payloads: the sums
// are updated by differences, whose carries and zeros are where errors hide.
func TestTranslationKeepsChecksumsRight(t *testing.T) {
	n := newNode(t, 1)
	rng := rand.New(rand.NewPCG(1, 2))
	addr := func() netip.Addr {
		return netip.AddrFrom4([4]byte{byte(1 + rng.IntN(126)), byte(rng.Uint32()), byte(rng.Uint32()), byte(rng.Uint32())})
	}
	for range 100 {
		proto := [...]uint8{packet.ProtoTCP, packet.ProtoUDP, packet.ProtoICMP}[rng.IntN(3)]
		k := key(proto, addr(), uint16(rng.Uint32()), addr(), uint16(rng.Uint32()))
		if proto == packet.ProtoICMP {
			k.DstPort, k.SrcPort = 0, k.SrcPort|1
		}
		slot, f := n.addFlow(k, translated(k, addr(), uint16(rng.Uint32())|1))
		p := from(k)
		p.ttl = uint8(2 + rng.IntN(254))
		p.payload = make([]byte, rng.IntN(200))
		for i := range p.payload {
			p.payload[i] = byte(rng.Uint32())
		}
		want := p.sentTo(serverMAC)
		want.key = f.Key[1].Reverse()
		wantBytes(t, n.runData(p.bytes(t)).want(t, bpf.ForwardOwner).packet, want.bytes(t))
		n.table.RemoveFlow(slot)
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
