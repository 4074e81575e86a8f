package flowtable

import (
	"testing"

	"pgregory.net/rapid"
)

type segment struct {
	dir   int
	flags uint8
}

var (
	syn      = segment{0, TCPSyn}
	synAck   = segment{1, TCPSyn | TCPAck}
	ack      = segment{0, TCPAck}
	data     = segment{0, TCPAck | TCPPsh}
	reply    = segment{1, TCPAck | TCPPsh}
	fin      = segment{0, TCPFin | TCPAck}
	replyFin = segment{1, TCPFin | TCPAck}
	rst      = segment{0, TCPRst}
	replyRst = segment{1, TCPRst | TCPAck}
)

func TestTR2_TCPStateFollowsTheConnection(t *testing.T) {
	for _, c := range []struct {
		name     string
		segments []segment
		want     TCPState
	}{
		{"SYN", []segment{syn}, TCPSynSent},
		{"SYN twice", []segment{syn, syn}, TCPSynSent},
		{"SYN, SYN-ACK", []segment{syn, synAck}, TCPSynReceived},
		{"handshake", []segment{syn, synAck, ack}, TCPEstablished},
		{"handshake whose SYN-ACK went another way", []segment{syn, ack}, TCPEstablished},
		{"the responder alone establishes nothing", []segment{syn, reply}, TCPSynSent},
		{"SYN-ACK repeated after its ACK", []segment{syn, synAck, ack, synAck}, TCPEstablished},
		{"SYN within the connection", []segment{syn, synAck, ack, data, syn}, TCPEstablished},
		{"initiator closes", []segment{syn, synAck, ack, data, fin}, TCPFinWait},
		{"initiator's FIN repeated", []segment{syn, synAck, ack, fin, fin}, TCPFinWait},
		{"data after one FIN", []segment{syn, synAck, ack, fin, reply}, TCPFinWait},
		{"responder closes", []segment{syn, synAck, ack, replyFin, replyFin, ack}, TCPCloseWait},
		{"both close", []segment{syn, synAck, ack, fin, replyFin}, TCPClosing},
		{"both close, responder first", []segment{syn, synAck, ack, replyFin, fin}, TCPClosing},
		{"last ACK", []segment{syn, synAck, ack, fin, replyFin, ack}, TCPTimeWait},
		{"FIN repeated after the last ACK", []segment{syn, synAck, ack, fin, replyFin, ack, replyFin}, TCPTimeWait},
		{"FIN before the ACK of the SYN-ACK", []segment{syn, synAck, fin}, TCPFinWait},
		{"refused", []segment{syn, replyRst}, TCPClosed},
		{"reset", []segment{syn, synAck, ack, rst}, TCPClosed},
		{"challenge ACK after a reset", []segment{syn, synAck, ack, rst, reply}, TCPClosed},
		{"ports used again", []segment{syn, synAck, ack, fin, replyFin, ack, syn}, TCPSynSent},
		{"ports used again after a reset", []segment{syn, replyRst, syn}, TCPSynSent},
		{"simultaneous open", []segment{syn, {1, TCPSyn}, {0, TCPSyn | TCPAck}, synAck, ack}, TCPEstablished},
	} {
		t.Run(c.name, func(t *testing.T) {
			s := TCPNone
			for i, seg := range c.segments {
				next, ok := Next(s, seg.dir, seg.flags)
				if !ok {
					t.Fatalf("segment %d refused in %v", i, s)
				}
				s = next
			}
			if s != c.want {
				t.Fatalf("state %v, want %v", s, c.want)
			}
		})
	}
}

func TestTR2_TCPRefusesWhatNoConnectionSends(t *testing.T) {
	for _, c := range []struct {
		name  string
		state TCPState
		seg   segment
	}{
		{"ACK without a connection", TCPNone, ack},
		{"SYN-ACK without a connection", TCPNone, synAck},
		{"SYN of the responder without a connection", TCPNone, segment{1, TCPSyn}},
		{"FIN without a connection", TCPNone, fin},
		{"RST without a connection", TCPNone, rst},
		{"SYN-ACK of the initiator to its own SYN", TCPSynSent, segment{0, TCPSyn | TCPAck}},
		{"SYN-ACK after the end", TCPTimeWait, synAck},
		{"no flags", TCPEstablished, segment{0, 0}},
		{"only PSH and URG", TCPEstablished, segment{1, TCPPsh | TCPUrg}},
		{"SYN and FIN", TCPEstablished, segment{0, TCPSyn | TCPFin}},
		{"SYN and RST", TCPEstablished, segment{0, TCPSyn | TCPRst}},
		{"FIN without ACK", TCPEstablished, segment{0, TCPFin}},
		{"FIN and RST", TCPEstablished, segment{0, TCPFin | TCPRst | TCPAck}},
		{"all flags", TCPSynSent, segment{0, 0x3f}},
	} {
		if next, ok := Next(c.state, c.seg.dir, c.seg.flags); ok || next != c.state {
			t.Errorf("%s: went from %v to %v, passed: %v", c.name, c.state, next, ok)
		}
	}
}

// Whatever is observed: the state stays in its range, refused segments change
// nothing, and a connection reaches TCPEstablished only by the initiator.
func TestNextIsSaneForAnySegments(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		s := TCPNone
		for range rapid.IntRange(1, 30).Draw(t, "segments") {
			dir, flags := rapid.IntRange(0, 1).Draw(t, "dir"), rapid.Byte().Draw(t, "flags")
			next, ok := Next(s, dir, flags)
			switch {
			case !ok && next != s:
				t.Fatalf("refused segment moved %v to %v", s, next)
			case next > TCPClosed:
				t.Fatalf("state %d", next)
			case next == TCPEstablished && s != next && (dir != 0 || flags&TCPAck == 0):
				t.Fatalf("established from %v by direction %d, flags %#x", s, dir, flags)
			case s == TCPNone && ok && flags&(TCPSyn|TCPAck) != TCPSyn:
				t.Fatalf("flags %#x began a connection", flags)
			}
			s = next
		}
	})
}

func TestObserveLearnsWhatTheFastPathForwarded(t *testing.T) {
	const ackOnly = TCPAck
	for _, c := range []struct {
		state TCPState
		seen  [2]uint8
		want  TCPState
	}{
		{TCPSynSent, [2]uint8{TCPSyn, TCPSyn | TCPAck}, TCPSynSent},
		{TCPSynReceived, [2]uint8{TCPSyn, TCPSyn | TCPAck}, TCPSynReceived},
		{TCPSynReceived, [2]uint8{TCPSyn | TCPAck, TCPSyn | TCPAck}, TCPEstablished},
		{TCPEstablished, [2]uint8{ackOnly, ackOnly}, TCPEstablished},
		{TCPEstablished, [2]uint8{TCPFin | TCPAck, ackOnly}, TCPFinWait},
		{TCPEstablished, [2]uint8{ackOnly, TCPFin | TCPAck}, TCPCloseWait},
		{TCPFinWait, [2]uint8{TCPFin | TCPAck, ackOnly}, TCPFinWait},
		{TCPFinWait, [2]uint8{TCPFin | TCPAck, TCPFin | TCPAck}, TCPClosing},
		{TCPTimeWait, [2]uint8{TCPFin | TCPAck, TCPFin | TCPAck}, TCPTimeWait},
		{TCPEstablished, [2]uint8{TCPRst, ackOnly}, TCPClosed},
		{TCPNone, [2]uint8{0xff, 0xff}, TCPNone},
		// Taken over with what a copy said: the SYN was another owner's to see.
		{TCPSynSent, [2]uint8{0, ackOnly}, TCPEstablished},
		{TCPSynReceived, [2]uint8{0, ackOnly}, TCPEstablished},
		{TCPSynSent, [2]uint8{0, TCPFin | TCPAck}, TCPCloseWait},
		{TCPSynSent, [2]uint8{0, TCPSyn | TCPAck}, TCPSynSent},
		{TCPSynSent, [2]uint8{0, TCPRst | TCPAck}, TCPClosed},
		{TCPSynSent, [2]uint8{TCPSyn, ackOnly}, TCPSynSent}, // it may mean an older one (RFC 5961, 4)
		{TCPSynSent, [2]uint8{0, 0}, TCPSynSent},
		{TCPClosed, [2]uint8{}, TCPClosed},
		{TCPClosed, [2]uint8{ackOnly, 0}, TCPClosed},
		{TCPClosed, [2]uint8{0, ackOnly}, TCPClosed},
		{TCPClosed, [2]uint8{ackOnly, ackOnly}, TCPEstablished},
		{TCPClosed, [2]uint8{ackOnly, ackOnly | TCPRst}, TCPClosed},
		{TCPClosed, [2]uint8{ackOnly | TCPRst, ackOnly}, TCPClosed},
		{TCPClosed, [2]uint8{ackOnly, ackOnly | TCPFin}, TCPCloseWait},
		{TCPTimeWait, [2]uint8{ackOnly, ackOnly}, TCPTimeWait},
	} {
		if got := Observe(c.state, c.seen); got != c.want {
			t.Errorf("%v with %#x seen: %v, want %v", c.state, c.seen, got, c.want)
		}
	}
}

func TestTCPStateNames(t *testing.T) {
	if TCPClosed.String() != "closed" || TCPNone.String() != "none" || TCPState(200).String() != "invalid" {
		t.Fatal(TCPClosed, TCPNone, TCPState(200))
	}
}

func TestTimeouts(t *testing.T) {
	d := DefaultTimeouts()
	for _, c := range []struct {
		proto    uint8
		state    TCPState
		first    uint16
		answered uint16
	}{
		{6, TCPSynSent, 30, 30}, {6, TCPSynReceived, 30, 30}, {6, TCPEstablished, 7440, 7440},
		{6, TCPFinWait, 240, 240}, {6, TCPCloseWait, 240, 240}, {6, TCPClosing, 30, 30},
		{6, TCPTimeWait, 10, 10}, {6, TCPClosed, 10, 10},
		{17, TCPNone, 120, 300}, {1, TCPNone, 60, 60}, {47, TCPNone, 600, 600},
	} {
		if got := d.Of(c.proto, c.state); got != c.first {
			t.Errorf("protocol %d, %v: %d s, want %d", c.proto, c.state, got, c.first)
		}
		if got := d.Answered(c.proto, c.state); got != c.answered {
			t.Errorf("protocol %d, %v, answered: %d s, want %d", c.proto, c.state, got, c.answered)
		}
	}
}

// RFC 7857, 2.2: four minutes after a reset, where it ended something and ports are
// at stake.
func TestNT9_TimeoutAfterAReset(t *testing.T) {
	d := DefaultTimeouts()
	for was := TCPNone; was <= TCPClosed; was++ {
		want := d.TCPTimeWait
		if was == TCPEstablished || was == TCPFinWait || was == TCPCloseWait {
			want = 240
		}
		if got := d.After(was, TCPClosed, true); got != want {
			t.Errorf("reset in %v: %d s, want %d", was, got, want)
		}
		if got := d.After(was, TCPClosed, false); got != d.TCPTimeWait {
			t.Errorf("reset in %v, not translated: %d s", was, got)
		}
		for next := TCPNone; next < TCPClosed; next++ {
			if got := d.After(was, next, true); got != d.TCP(next) {
				t.Errorf("%v to %v: %d s, want %d", was, next, got, d.TCP(next))
			}
		}
	}
}

func TestForgetLeavesTheWindowShifts(t *testing.T) {
	f := FlowSlot{}
	f.SetWScale(0, 7)
	f.SetWScale(1, 9)
	f.Sent(0, TCPAck|TCPFin, 1, 2, 3)
	f.Sent(1, TCPRst, 1, 2, 3)
	f.Forget()
	if f.SeenFlags(0)|f.SeenFlags(1) != 0 || f.TCPSent(0).WScale != 7 || f.TCPSent(1).WScale != 9 || f.TCPSent(0).Ack != 2 {
		t.Fatalf("%+v %+v", f.TCPSent(0), f.TCPSent(1))
	}
}

// The idle times that a NAT must not fall below: RFC 5382, REQ-5 (two hours and
// four minutes established), RFC 4787, REQ-5 (two minutes of UDP), RFC 5508, REQ-2
// (one minute of an ICMP query). RFC 7857, 2.1 lets a handshake have less than
// four minutes.
func TestNT9_DefaultTimeoutsAreThoseOfTheRFCs(t *testing.T) {
	d := DefaultTimeouts()
	if d.TCPEstablished < 7440 || d.TCPHalfClosed < 240 || d.UDP < 120 || d.UDPStream < 120 || d.ICMP < 60 || d.TCPReset < 240 {
		t.Fatalf("%+v", d)
	}
}
