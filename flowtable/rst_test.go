package flowtable

import "testing"

func TestTR2_ResetMustHitTheExpectedNumber(t *testing.T) {
	for _, c := range []struct {
		name             string
		seq, ack, window uint32
		want             RSTVerdict
	}{
		{"exact", 1000, 1000, 500, RSTAccept},
		{"exact, window closed", 1000, 1000, 0, RSTAccept},
		{"last byte of the window", 1499, 1000, 500, RSTChallenge},
		{"first byte behind it", 1500, 1000, 500, RSTDrop},
		{"one before", 999, 1000, 500, RSTDrop},
		{"in a window that wraps", 5, 0xffffff00, 0x200, RSTChallenge},
		{"behind a window that wraps", 0x100, 0xffffff00, 0x200, RSTDrop},
	} {
		if got := CheckRST(c.seq, c.ack, c.window); got != c.want {
			t.Errorf("%s: %d, want %d", c.name, got, c.want)
		}
	}
}

func TestTR2_ResetIsJudgedByWhatTheFlowRemembers(t *testing.T) {
	established := func() *FlowSlot {
		f := &FlowSlot{State: uint8(TCPEstablished)}
		f.SetWScale(0, 2)
		f.SetWScale(1, WScaleUnknown)
		f.Sent(0, TCPAck, 5000, 9000, 100) // initiator: sent up to 5000, expects 9000
		f.Sent(1, TCPAck, 9200, 4500, 1)   // responder: sent up to 9200, has acknowledged 4500
		return f
	}
	asked := func() *FlowSlot {
		f := &FlowSlot{State: uint8(TCPSynSent)}
		f.Sent(0, TCPSyn, 101, 0, 100)
		return f
	}
	reset := func(seen0, seen1 uint8) *FlowSlot {
		f := established()
		f.State = uint8(TCPClosed)
		f.Forget()
		f.Seen = [2]uint8{seen0, seen1}
		return f
	}
	for _, c := range []struct {
		name     string
		flow     *FlowSlot
		dir      int
		flags    uint8
		seq, ack uint32
		want     RSTVerdict
	}{
		{"exact", established(), 1, TCPRst, 9000, 0, RSTAccept},
		{"end of what it sent itself, not yet acknowledged", established(), 1, TCPRst, 9200, 0, RSTAccept},
		{"in the shifted window", established(), 1, TCPRst, 9399, 0, RSTChallenge},
		{"behind the shifted window", established(), 1, TCPRst, 9400, 0, RSTDrop},
		{"unknown shift is taken as the widest", established(), 0, TCPRst, 4500 + 1<<14 - 1, 0, RSTChallenge},
		{"behind even that", established(), 0, TCPRst, 4500 + 1<<14, 0, RSTDrop},
		{"answer to the SYN", asked(), 1, TCPRst | TCPAck, 0, 101, RSTAccept},
		{"forged answer to the SYN", asked(), 1, TCPRst | TCPAck, 0, 100, RSTDrop},
		{"answer to the SYN that acknowledges nothing", asked(), 1, TCPRst, 0, 0, RSTDrop},
		{"initiator takes its SYN back", asked(), 0, TCPRst, 101, 0, RSTAccept},
		{"somebody else does", asked(), 0, TCPRst, 102, 0, RSTDrop},
		{"in the window, after another", reset(TCPAck, TCPAck), 1, TCPRst, 9399, 0, RSTChallenge},
		{"behind the window, after another", reset(TCPAck, TCPAck), 1, TCPRst, 9400, 0, RSTDrop},
		{"exact, after another, and the receiver goes on", reset(TCPAck, 0), 1, TCPRst, 9000, 0, RSTAccept},
		{"any, after another, and nothing since", reset(0, 0), 1, TCPRst, 1 << 30, 0, RSTChallenge},
		{"nothing known", &FlowSlot{State: uint8(TCPEstablished)}, 0, TCPRst, 0, 0, RSTDrop},
	} {
		if got := c.flow.CheckRST(c.dir, c.flags, c.seq, c.ack); got != c.want {
			t.Errorf("%s: %d, want %d", c.name, got, c.want)
		}
	}
}
