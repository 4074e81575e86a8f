package traffic

import (
	"bytes"
	"os"
	"testing"

	"github.com/cilium/ebpf"

	"cohort/packet"
)

// heard runs one program on a frame; the other two of a dialogue are never
// attached to an interface here.
func heard(t *testing.T, p *ebpf.Program, frame []byte) (verdict uint32, out []byte) {
	t.Helper()
	out = make([]byte, 256)
	opts := ebpf.RunOptions{Data: frame, DataOut: out}
	verdict, err := p.Run(&opts)
	if err != nil {
		t.Fatal(err)
	}
	return verdict, opts.DataOut
}

const (
	xdpDrop     = 1
	xdpPass     = 2
	xdpRedirect = 4
)

func newSide(t *testing.T, talk Talk, d Dialling) *side {
	t.Helper()
	if os.Geteuid() != 0 {
		t.Skip("loading BPF programs needs root")
	}
	talk.Outs = []Out{{Ifindex: 1, MAC: [6]byte{2, 0, 0, 0, 0, 7}}}
	s, err := talk.open(d)
	if err != nil {
		t.Fatalf("%+v", err)
	}
	t.Cleanup(func() { s.Close() })
	return s
}

// TestDialogueIsATCPConnection: each side's output is the other's input, from
// the SYN to the last acknowledgement, and each packet is right to the checksum.
func TestDialogueIsATCPConnection(t *testing.T) {
	talk := Talk{Flows: 5, Hosts: 2}
	client, server := newSide(t, talk, First), newSide(t, talk, First)
	if err := (&Clients{client}).Closing(true); err != nil {
		t.Fatal(err)
	}
	for i := range 7 {
		key := talk.shape().Key(i % 5)
		_, frame := heard(t, client.objs.Dial, make([]byte, dialFrame))
		for step, want := range []struct {
			server bool // speaks
			flags  uint8
			seq    uint32
			ack    uint32
			data   int
		}{
			{false, packet.SYN, 1000, 0, 0}, {true, packet.SYN | packet.ACK, 5000, 1001, 0},
			{false, packet.ACK | packet.PSH, 1001, 5001, 12}, {true, packet.ACK | packet.PSH, 5001, 1013, 12},
			{false, packet.ACK | packet.FIN, 1013, 5013, 0}, {true, packet.ACK | packet.FIN, 5013, 1014, 0},
			{false, packet.ACK, 1014, 5014, 0},
		} {
			k := key
			if want.server {
				k = key.Reverse()
			}
			checkPacket(t, frame[ethernet:], k, want.flags)
			var p packet.Packet
			p.Parse(frame)
			if len(frame) != ethernet+ipHeader+20+want.data || p.Seq != want.seq || p.Ack != want.ack || frame[5] != 7 {
				t.Fatalf("connection %d, step %d: %d bytes, %+v, want %+v", i, step, len(frame), p, want)
			}
			next, verdict := server.objs.Answer, uint32(xdpRedirect)
			if want.server {
				next = client.objs.Listen
			}
			if step == 6 {
				verdict = xdpDrop
			}
			got, out := heard(t, next, frame)
			if got != verdict {
				t.Fatalf("connection %d, step %d: verdict %d, want %d", i, step, got, verdict)
			}
			frame = bytes.Clone(out)
		}
	}
	if got, err := client.Said(); err != nil || got != (Said{Dialled: 7, Opened: 7, Answered: 7, Closed: 7}) {
		t.Errorf("clients: %+v, %v", got, err)
	}
	if got, err := server.Said(); err != nil || got != (Said{Opened: 7, Answered: 7, Closed: 7}) {
		t.Errorf("servers: %+v, %v", got, err)
	}
}

// TestDialogueStaysOpenUnlessItCloses: then data of established connections is
// answered and nothing else happens; UDP is one packet each way.
func TestDialogueStaysOpenUnlessItCloses(t *testing.T) {
	for name, talk := range map[string]Talk{"tcp": {Flows: 4}, "udp": {Flows: 4, UDP: true}} {
		t.Run(name, func(t *testing.T) {
			client, server := newSide(t, talk, AnyData), newSide(t, talk, First)
			_, frame := heard(t, client.objs.Dial, make([]byte, dialFrame))
			verdict, frame := heard(t, server.objs.Answer, bytes.Clone(frame))
			if verdict != xdpRedirect {
				t.Fatalf("the server said %d", verdict)
			}
			if verdict, _ = heard(t, client.objs.Listen, bytes.Clone(frame)); verdict != xdpDrop {
				t.Errorf("the client said %d", verdict)
			}
			if got, err := client.Said(); err != nil || got != (Said{Dialled: 1, Answered: 1}) {
				t.Errorf("%+v, %v", got, err)
			}
		})
	}
}

// TestDialogueCountsWhatIsWrong: a packet that a node damaged is not taken for
// an answer; a foreign one, and the answer to a ping, pass.
func TestDialogueCountsWhatIsWrong(t *testing.T) {
	talk := Talk{Flows: 4}
	client, server := newSide(t, talk, First), newSide(t, talk, First)
	_, frame := heard(t, client.objs.Dial, make([]byte, dialFrame))
	frame = bytes.Clone(frame)
	for at := ethernet + 12; at < ethernet+ipHeader+20; at += 2 { // addresses, ports, numbers
		bad := bytes.Clone(frame)
		bad[at] ^= 0x10
		if verdict, _ := heard(t, server.objs.Answer, bad); verdict != xdpDrop {
			t.Errorf("a packet damaged at byte %d: verdict %d", at, verdict)
		}
	}
	foreign := bytes.Clone(frame)
	foreign[ethernet+4] ^= 1
	if verdict, _ := heard(t, server.objs.Answer, foreign); verdict != xdpPass {
		t.Errorf("a foreign packet: verdict %d", verdict)
	}
	ping := bytes.Clone(frame)
	ping[ethernet+9] = 1 // ICMP; the mark is any IP id
	if verdict, _ := heard(t, client.objs.Listen, ping); verdict != xdpPass {
		t.Errorf("the answer to a ping, with our mark: verdict %d", verdict)
	}
	if verdict, _ := heard(t, client.objs.Listen, frame); verdict != xdpDrop {
		t.Errorf("a client that hears a SYN: verdict %d", verdict)
	}
	if got, _ := client.Said(); got.Strange != 1 {
		t.Errorf("clients: %+v", got)
	}
	if odd, err := client.Odd(); err != nil || !bytes.Equal(odd[:len(frame)], frame) {
		t.Errorf("the strange packet was %x (%v), want %x", odd, err, frame)
	}
	if got, _ := server.Said(); got.Damaged+got.Strange != 14 || got.Opened != 0 {
		t.Errorf("servers: %+v", got)
	}
}

// TestDialogueSpreads: by packet every port gets its share of one connection; by
// connection each keeps to one port, and the connections share the ports.
func TestDialogueSpreads(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("loading BPF programs needs root")
	}
	const flows, ports, rounds = 512, 4, 8
	for _, byFlow := range []bool{false, true} {
		talk := Talk{Flows: flows, ByFlow: byFlow}
		for i := range ports {
			talk.Outs = append(talk.Outs, Out{Ifindex: 1, MAC: [6]byte{2, 0, 0, 0, 0, byte(i)}})
		}
		s, err := talk.open(InOrder)
		if err != nil {
			t.Fatal(err)
		}
		var frames [ports]int
		of, moved := map[packet.FlowKey]byte{}, 0
		for range flows * rounds {
			_, frame := heard(t, s.objs.Dial, make([]byte, dialFrame))
			var p packet.Packet
			p.Parse(frame)
			was, ok := of[p.ConnKey()]
			if ok && was != frame[5] {
				moved++
			}
			of[p.ConnKey()] = frame[5]
			frames[frame[5]]++
		}
		for i, n := range frames {
			if n < flows*rounds/ports*3/4 || n > flows*rounds/ports*5/4 {
				t.Errorf("by connection %v: port %d got %d of %d", byFlow, i, n, flows*rounds)
			}
		}
		if byFlow != (moved == 0) || len(of) != flows {
			t.Errorf("by connection %v: %d packets of %d connections moved", byFlow, moved, len(of))
		}
		s.Close()
	}
}

// TestDialogueAnswersWhatItGets: somebody on the way shifts the client's numbers, as nodes
// do. Each side goes by what arrives, from the first packet to the last.
func TestDialogueAnswersWhatItGets(t *testing.T) {
	const by = 0x9abcdef0
	talk := Talk{Flows: 1, Hosts: 1}
	client, server := newSide(t, talk, First), newSide(t, talk, First)
	if err := (&Clients{client}).Closing(true); err != nil {
		t.Fatal(err)
	}
	_, frame := heard(t, client.objs.Dial, make([]byte, dialFrame))
	for step := range 7 {
		fromServer := step&1 == 1
		frame = bytes.Clone(frame)
		var p packet.Packet
		if r := p.Parse(frame); r != packet.OK {
			t.Fatal(r)
		}
		next := server.objs.Answer
		if fromServer {
			p.ShiftSequence(0, 1<<32-by)
			next = client.objs.Listen
		} else {
			p.ShiftSequence(by, 0)
		}
		want := [...]struct{ seq, ack uint32 }{
			{1000 + by, 0}, {5000, 1001}, {1001 + by, 5001}, {5001, 1013}, {1013 + by, 5013}, {5013, 1014}, {1014 + by, 5014},
		}[step]
		if p.Seq != want.seq || p.Ack != want.ack {
			t.Fatalf("step %d: arrives with %d and %d, want %d and %d", step, p.Seq, p.Ack, want.seq, want.ack)
		}
		_, frame = heard(t, next, frame)
	}
	if got, err := client.Said(); err != nil || got != (Said{Dialled: 1, Opened: 1, Answered: 1, Closed: 1}) {
		t.Errorf("clients: %+v, %v", got, err)
	}
}
