package bpf_test

import (
	"bytes"
	"testing"

	"cohort/bpf"
	"cohort/flowtable"
	"cohort/packet"
)

// TestOwnerSendsOn: both directions of every protocol leave with new MACs, one
// hop older, and otherwise as they came.
func TestOwnerSendsOn(t *testing.T) {
	for _, c := range []struct {
		name string
		key  packet.FlowKey
	}{
		{"tcp", tcpKey},
		{"udp", udpKey},
		{"FR9_echo", echoKey},
		{"gre", greKey},
	} {
		t.Run(c.name, func(t *testing.T) {
			n := newNode(t, 1)
			_, f := n.addFlow(c.key)

			request := from(c.key)
			r := n.runData(request.bytes(t)).want(t, bpf.ForwardOwner)
			wantBytes(t, r.packet, request.sentTo(serverMAC).bytes(t))

			n.enterBy(outside)
			reply := from(c.key.Reverse())
			r = n.runData(reply.bytes(t)).want(t, bpf.ForwardOwner)
			wantBytes(t, r.packet, reply.sentTo(clientMAC).bytes(t))

			for dir, sent := range []pkt{request, reply} {
				packets, octets := f.Counters(dir)
				if want := uint64(word(sent.bytes(t), 16)); packets != 1 || octets != want {
					t.Errorf("direction %d: %d packets, %d bytes counted; want 1, %d", dir, packets, octets, want)
				}
				if f.SeenAt(dir) == 0 {
					t.Errorf("direction %d: no time of the last packet", dir)
				}
			}
		})
	}
}

func wantBytes(t testing.TB, got, want []byte) {
	t.Helper()
	if !bytes.Equal(got, want) {
		t.Fatalf("packet out:\n%x\nwant:\n%x", got, want)
	}
}

// TestOwnerRemembersWhatTCPSaid: ageing and RST checks live on these words.
func TestOwnerRemembersWhatTCPSaid(t *testing.T) {
	n := newNode(t, 1)
	_, f := n.addFlow(tcpKey, func(f *flowtable.FlowSlot) {
		f.Seen[0] = flowtable.TCPSyn
		f.SeqEnd[0] = 1000
		f.WScale = [2]uint8{7, flowtable.WScaleUnknown}
	})
	p := from(tcpKey)
	p.flags, p.payload = "PA", make([]byte, 100)
	n.runData(p.bytes(t)).want(t, bpf.ForwardOwner)
	wantSent(t, f, flowtable.TCPSent{SeqEnd: 1100, Ack: 5000, Window: 502, WScale: 7})

	p.seq, p.ack, p.window = 1050, 5100, 400 // retransmitted: the end stays
	n.runData(p.bytes(t)).want(t, bpf.ForwardOwner)
	p.payload = nil
	n.runData(p.bytes(t)).want(t, bpf.ForwardOwner)
	wantSent(t, f, flowtable.TCPSent{SeqEnd: 1150, Ack: 5100, Window: 400, WScale: 7})
	if got, want := f.SeenFlags(0), uint8(flowtable.TCPSyn|flowtable.TCPAck|flowtable.TCPPsh); got != want {
		t.Errorf("flags seen %#x, want %#x", got, want)
	}
	if got := f.TCPSent(1); got != (flowtable.TCPSent{WScale: flowtable.WScaleUnknown}) || f.SeenFlags(1) != 0 {
		t.Errorf("the other side said nothing, but has %+v", got)
	}
}

func wantSent(t *testing.T, f *flowtable.FlowSlot, want flowtable.TCPSent) {
	t.Helper()
	if got := f.TCPSent(0); got != want {
		t.Errorf("remembered %+v, want %+v", got, want)
	}
}

// TestSequenceNumbersWrap: 2^32 - 50 plus 100 bytes is later than 2^32 - 50.
func TestSequenceNumbersWrap(t *testing.T) {
	n := newNode(t, 1)
	_, f := n.addFlow(tcpKey)
	p := from(tcpKey)
	p.payload = make([]byte, 100)
	p.seq = 0xffffffff - 149
	n.runData(p.bytes(t)).want(t, bpf.ForwardOwner)
	p.seq = 0xffffffff - 49
	n.runData(p.bytes(t)).want(t, bpf.ForwardOwner)
	if got := f.TCPSent(0).SeqEnd; got != 50 {
		t.Errorf("sequence end %d, want 50", got)
	}
}

// TestFINIsForwardedAndFlagged: closing is decided in Go, from the flag.
func TestFINIsForwardedAndFlagged(t *testing.T) {
	n := newNode(t, 1)
	_, f := n.addFlow(tcpKey)
	p := from(tcpKey)
	p.flags = "FA"
	r := n.runData(p.bytes(t)).want(t, bpf.ForwardOwner)
	wantBytes(t, r.packet, p.sentTo(serverMAC).bytes(t))
	if f.SeenFlags(0)&flowtable.TCPFin == 0 {
		t.Error("FIN is not flagged")
	}
	if got, want := f.TCPSent(0).SeqEnd, p.seq+uint32(len(p.payload))+1; got != want {
		t.Errorf("sequence end %d, want %d: a FIN takes one number", got, want)
	}
}

// TestTCPFlags: what Go must see, and what it need not.
func TestTCPFlags(t *testing.T) {
	for _, c := range []struct {
		flags string
		want  bpf.Outcome
	}{
		{"A", bpf.ForwardOwner},
		{"PA", bpf.ForwardOwner},
		{"UPA", bpf.ForwardOwner},
		{"FA", bpf.ForwardOwner},
		{"FPA", bpf.ForwardOwner},
		{"S", bpf.PuntTCPFlags},
		{"SA", bpf.PuntTCPFlags},
		{"SF", bpf.PuntTCPFlags},
		{"SR", bpf.PuntTCPFlags},
		{"", bpf.PuntTCPFlags},
		{"P", bpf.PuntTCPFlags},
		{"F", bpf.PuntTCPFlags},
		{"FPU", bpf.PuntTCPFlags},
		{"RFA", bpf.PuntTCPFlags},
		{"R", bpf.PuntTCPRST}, // nothing was acknowledged yet
		{"RA", bpf.PuntTCPRST},
	} {
		t.Run("flags_"+c.flags, func(t *testing.T) {
			n := newNode(t, 1)
			_, f := n.addFlow(tcpKey)
			p := from(tcpKey)
			p.flags = c.flags
			r := n.runData(p.bytes(t)).want(t, c.want)
			packets, _ := f.Counters(0)
			if forwarded := c.want == bpf.ForwardOwner; forwarded != (packets == 1) || forwarded != (f.SeenFlags(0) != 0) {
				t.Errorf("%v, but %d packets and flags %#x are accounted", c.want, packets, f.SeenFlags(0))
			}
			if c.want != bpf.ForwardOwner {
				wantBytes(t, r.packet, p.bytes(t))
			}
		})
	}
}

// TestTR2_ResetMustMatchTheAcknowledgement is RFC 5961, 3.2: a reset is
// believed where the receiver expects the next byte, elsewhere Go decides.
func TestTR2_ResetMustMatchTheAcknowledgement(t *testing.T) {
	n := newNode(t, 1)
	_, f := n.addFlow(tcpKey)
	n.enterBy(outside)
	reply := from(tcpKey.Reverse())
	reply.ack = 1000
	n.runData(reply.bytes(t)).want(t, bpf.ForwardOwner)
	n.enterBy(inside)

	p := from(tcpKey)
	p.payload = nil
	for _, c := range []struct {
		flags string
		seq   uint32
		want  bpf.Outcome
	}{
		{"R", 999, bpf.PuntTCPRST},
		{"R", 1001, bpf.PuntTCPRST},
		{"RA", 1001, bpf.PuntTCPRST},
		{"R", 1000, bpf.ForwardOwner},
		{"RA", 1000, bpf.ForwardOwner},
	} {
		p.flags, p.seq = c.flags, c.seq
		n.runData(p.bytes(t)).want(t, c.want)
		if flagged := f.SeenFlags(0)&flowtable.TCPRst != 0; flagged != (c.want == bpf.ForwardOwner) {
			t.Errorf("reset %q at %d: flagged %v", c.flags, c.seq, flagged)
		}
	}
}

// TestTornFlowGoesToGo: a slot whose sequence word is odd is being written.
func TestTornFlowGoesToGo(t *testing.T) {
	n := newNode(t, 1)
	slot, f := n.addFlow(udpKey)
	f.Seq++
	r := n.runData(from(udpKey).bytes(t)).want(t, bpf.PuntBusy)
	if r.punt.Ref != slot<<1 {
		t.Errorf("ref %#x, want %#x", r.punt.Ref, slot<<1)
	}
	f.Seq++
	n.runData(from(udpKey).bytes(t)).want(t, bpf.ForwardOwner)
}

// TestDeadFlowIsAMiss: the slot loses FlowLive before its index entries go.
func TestDeadFlowIsAMiss(t *testing.T) {
	n := newNode(t, 1)
	_, f := n.addFlow(udpKey)
	f.Flags &^= flowtable.FlowLive
	if r := n.runData(from(udpKey).bytes(t)).want(t, bpf.PuntMiss); r.punt.Ref != 0 {
		t.Errorf("ref %#x of a dead flow", r.punt.Ref)
	}
}

// TestPacketOfExactlyTheMTUPasses, and one byte more does not.
func TestPacketOfExactlyTheMTUPasses(t *testing.T) {
	n := newNode(t, 1)
	n.addFlow(udpKey)
	p := from(udpKey)
	p.payload = make([]byte, 1500-28)
	n.runData(p.bytes(t)).want(t, bpf.ForwardOwner)
	p.payload = make([]byte, 1500-27)
	n.runData(p.bytes(t)).want(t, bpf.PuntTooBig)
}

// TestTR1_JumboFramesPass: most of the packet lies in fragments that the
// program never sees.
func TestTR1_JumboFramesPass(t *testing.T) {
	n := newNode(t, 1)
	n.nexthops[toOutside].Mtu = 9044
	n.addFlow(tcpKey)
	p := from(tcpKey)
	p.payload = bytes.Repeat([]byte("jumbo"), 1780)
	r := n.runData(p.bytes(t)).want(t, bpf.ForwardOwner)
	wantBytes(t, r.packet, p.sentTo(serverMAC).bytes(t))
}

// TestEthernetPaddingIsNotCounted: short frames are padded to 60 bytes, and all
// lengths are those of the IP header.
func TestEthernetPaddingIsNotCounted(t *testing.T) {
	n := newNode(t, 1)
	_, f := n.addFlow(tcpKey)
	p := from(tcpKey)
	p.payload = nil
	if got := len(p.bytes(t)); got != 60 {
		t.Fatalf("test frame has %d bytes, want 54 and padding", got)
	}
	n.runData(p.bytes(t)).want(t, bpf.ForwardOwner)
	if _, octets := f.Counters(0); octets != 40 {
		t.Errorf("%d bytes counted, want 40", octets)
	}
	if end := f.TCPSent(0).SeqEnd; end != p.seq {
		t.Errorf("sequence end %d: padding is not payload", end)
	}
}
