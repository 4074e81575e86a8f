package node

import (
	"testing"

	"cohort/cluster/ownership"
	"cohort/packet"
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
