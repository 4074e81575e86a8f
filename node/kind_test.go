package node

import (
	"bytes"
	"testing"

	"cohort/cluster/fragments"
	"cohort/cluster/ownership"
	"cohort/dataplane"
	"cohort/packet"
	"cohort/packet/packettest"
)

func TestFR9_RedirectsAreNotForwardedWithTheConnectionTheyQuote(t *testing.T) {
	for icmp, want := range map[uint8]ownership.Kind{
		packet.ICMPEchoRequest: ownership.KindICMPQuery, packet.ICMPEchoReply: ownership.KindICMPResponse,
		packet.ICMPTimestamp: ownership.KindICMPQuery, packet.ICMPTimestampReply: ownership.KindICMPResponse,
		packet.ICMPInformation: ownership.KindICMPQuery, packet.ICMPInformationReply: ownership.KindICMPResponse,
		packet.ICMPMask: ownership.KindICMPQuery, packet.ICMPMaskReply: ownership.KindICMPResponse,
		packet.ICMPUnreachable: ownership.KindICMPError, packet.ICMPTimeExceeded: ownership.KindICMPError,
		packet.ICMPSourceQuench: ownership.KindICMPError, packet.ICMPParameter: ownership.KindICMPError,
		packet.ICMPRedirect: ownership.KindICMPOther,
		9:                   ownership.KindICMPOther, 10: ownership.KindICMPOther, 42: ownership.KindICMPOther,
	} {
		if got := kindOf(&packet.Packet{Version: 4, Proto: packet.ProtoICMP, ICMPType: icmp}); got != want {
			t.Errorf("ICMP type %d is of kind %d, want %d", icmp, got, want)
		}
	}
}

// What a later fragment says is not a transport header, whatever its bytes are.
func TestFR10_LaterFragmentsHaveNoHeader(t *testing.T) {
	key := packet.FlowKey{Src: packet.Addr{10, 1, 8, 7}, Dst: packet.Addr{192, 0, 2, 80}, SrcPort: 40000, DstPort: 443}
	for _, proto := range []uint8{packet.ProtoTCP, packet.ProtoUDP, packet.ProtoICMP, 47} {
		key.Proto = proto
		payload := bytes.Repeat([]byte{packet.SYN}, 80)
		for _, offset := range []uint16{0, 800} {
			n := new(Node)
			f := &dataplane.Frame{Punt: dataplane.Punt{Iface: 3}, Data: packettest.Build(packettest.Spec{Key: key, ICMPType: packet.ICMPEchoRequest, ID: 9, FragOffset: offset, MoreFragments: true, Payload: payload[:80]})}
			if proto == packet.ProtoTCP && offset == 0 {
				f.Data = packettest.Build(packettest.Spec{Key: key, Flags: packet.ACK, ID: 9, MoreFragments: true, Payload: payload[:76]})
			}
			if r := n.pkt.Parse(f.Data); r != packet.RejectFragment {
				t.Fatal(r)
			}
			if r := n.pkt.ParseFragment(); r != packet.OK {
				t.Fatalf("protocol %d at %d: %v", proto, offset, r)
			}
			n.describe(f, 0)
			p := n.part()
			if p.Key != (fragments.Key{Src: key.Src, Dst: key.Dst, ID: 9, Proto: proto, In: 3}) || p.Offset != int(offset) || p.Len != len(f.Data)-34 || !p.More {
				t.Errorf("protocol %d at %d: %+v", proto, offset, p)
			}
			later := n.owned.Kind == ownership.KindFragment && n.owned.Flags == 0 && n.owned.SeqLen == 0 && n.owned.Key.SrcPort == 0 && n.owned.Key.DstPort == 0
			if later != (offset != 0) {
				t.Errorf("protocol %d at %d: %+v", proto, offset, n.owned)
			}
		}
	}
}

// A packet that waits is read again before it leaves, although what came since could not be
// read: else that one's bytes would be translated in its place.
func TestNT1_WhatWaitsIsReadAgain(t *testing.T) {
	key := packet.FlowKey{Src: packet.Addr{10, 1, 8, 7}, Dst: packet.Addr{192, 0, 2, 80}, SrcPort: 40000, DstPort: 53, Proto: packet.ProtoUDP}
	waits := &dataplane.Frame{Data: packettest.Build(packettest.Spec{Key: key})}
	tiny := &dataplane.Frame{Data: packettest.Build(packettest.Spec{Key: key, MoreFragments: true, FragOffset: 8, Payload: make([]byte, 13)})}
	quote := packettest.Spec{Key: key, Payload: []byte("no packet")}
	quote.Key.Proto, quote.ICMPType = packet.ProtoICMP, packet.ICMPUnreachable
	for _, bad := range []*dataplane.Frame{tiny, {Data: packettest.Build(quote)}} {
		n := new(Node)
		if _, r := n.parse(waits); r != packet.OK || n.parsed != waits {
			t.Fatal(r)
		}
		if _, r := n.parse(bad); r == packet.OK {
			t.Fatal("the second packet is as good as the first")
		}
		if n.parsed != nil {
			t.Error("what was read last is taken for the packet that waits")
		}
	}
}
