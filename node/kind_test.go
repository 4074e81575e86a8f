package node

import (
	"testing"

	"cohort/cluster/ownership"
	"cohort/packet"
)

func TestFR9_RedirectsAreNotForwardedWithTheConnectionTheyQuote(t *testing.T) {
	for icmp, want := range map[uint8]ownership.Kind{
		packet.ICMPEchoRequest: ownership.KindEchoRequest, packet.ICMPEchoReply: ownership.KindEchoReply,
		packet.ICMPUnreachable: ownership.KindICMPError, packet.ICMPTimeExceeded: ownership.KindICMPError,
		packet.ICMPRedirect: ownership.KindICMPOther,
	} {
		if got := kindOf(&packet.Packet{Version: 4, Proto: packet.ProtoICMP, ICMPType: icmp}); got != want {
			t.Errorf("ICMP type %d is of kind %d, want %d", icmp, got, want)
		}
	}
}
