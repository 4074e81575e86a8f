package node

import (
	"net"
	"net/netip"
	"os"
	"testing"
)

// Probes of the loopback: what answers, and what does not.
func TestHL6_Probes(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("needs root for an ICMP socket")
	}
	l, err := net.Listen("tcp4", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	open := l.Addr().(*net.TCPAddr).AddrPort()
	for seq := range uint16(3) {
		if !probe(t.Context(), "lo", netip.MustParseAddrPort("127.0.0.1:0"), seq*0x7fff) {
			t.Errorf("no echo reply to %#x", seq*0x7fff)
		}
	}
	if !probe(t.Context(), "lo", open, 0) {
		t.Error("no connection to an open port")
	}
	l.Close()
	if probe(t.Context(), "lo", open, 0) {
		t.Error("a connection to a closed port")
	}
	if probe(t.Context(), "nope", netip.MustParseAddrPort("127.0.0.1:0"), 0) {
		t.Error("an answer through a device that does not exist")
	}
}
