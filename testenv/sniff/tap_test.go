package sniff

import (
	"net/netip"
	"os"
	"testing"

	"go.uber.org/goleak"

	"cohort/packet"
	"cohort/packet/packettest"
	"cohort/testenv/netns"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// What a program in the namespace sends and receives is seen, each as what it
// is, and what a tap sends.
func TestTap_SeesBothWaysAndSends(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("needs root")
	}
	if _, err := netns.Sweep(); err != nil {
		t.Fatal(err)
	}
	tag, err := netns.NewTag()
	if err != nil {
		t.Fatal(err)
	}
	n, err := netns.New(tag.Name("lo"))
	if err != nil {
		t.Fatal(err)
	}
	defer n.Close()
	type seen struct {
		payload string
		sent    bool
	}
	all := make(chan seen, 100)
	var p packet.Packet
	tap, err := Open(n, "lo", func(frame []byte, sent bool) {
		if p.Parse(frame) == packet.OK {
			all <- seen{string(frame[p.Payload:p.End]), sent}
		}
	})
	if err != nil {
		t.Fatal(err)
	}
	at := netip.MustParseAddrPort("127.0.0.1:9")
	server, err := n.ListenPacket("udp4", at.String())
	if err != nil {
		t.Fatal(err)
	}
	defer server.Close()
	c, err := n.DialUDP(at)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	if _, err := c.Write([]byte("hello")); err != nil {
		t.Fatal(err)
	}
	for _, sent := range []bool{true, false} { // the loopback receives what it sends
		if got, want := <-all, (seen{"hello", sent}); got != want {
			t.Errorf("%+v, want %+v", got, want)
		}
	}
	other, err := Open(n, "lo", func([]byte, bool) {})
	if err != nil {
		t.Fatal(err)
	}
	if err := other.Send(packettest.UDP(packet.FlowKey{SrcPort: 7, DstPort: 9}, []byte("made"))); err != nil {
		t.Fatal(err)
	}
	if got, want := <-all, (seen{"made", true}); got != want {
		t.Errorf("%+v, want %+v", got, want)
	}
	if lost, err := other.Close(); lost != 0 || err != nil {
		t.Errorf("lost %d, %v", lost, err)
	}
	for range 2 {
		if lost, err := tap.Close(); lost != 0 || err != nil {
			t.Errorf("lost %d, %v", lost, err)
		}
	}
}
