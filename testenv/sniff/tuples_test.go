package sniff

import (
	"encoding/binary"
	"strings"
	"testing"
	"time"

	"cohort/ccl/wire"
	"cohort/cluster/sequence"
	"cohort/packet"
	"cohort/packet/packettest"
)

// from is a packet's key from a mapped port to the server.
func from(port uint16, proto uint8) packet.FlowKey {
	return packet.FlowKey{
		Src: packet.Addr{203, 0, 113, 10}, Dst: packet.Addr{192, 0, 2, 1},
		SrcPort: port, DstPort: 80, Proto: proto,
	}
}

type step struct {
	port  uint16
	flags uint8
	seq   uint32
	data  string
	sent  bool
}

func play(steps ...step) *Tuples {
	t := NewTuples()
	for _, s := range steps {
		k := from(s.port, packet.ProtoTCP)
		if s.sent {
			k = k.Reverse()
		}
		t.See(packettest.TCP(k, s.flags, s.seq, 0, []byte(s.data)), s.sent)
	}
	return t
}

func TestNT4_TuplesTellConnectionsApart(t *testing.T) {
	const syn, fin, rst, ack = packet.SYN, packet.FIN, packet.RST, packet.ACK
	open := []step{{port: 2000, flags: syn, seq: 7}, {port: 2000, flags: syn | ack, seq: 9, sent: true}, {port: 2000, flags: ack, seq: 8, data: "x"}}
	after := func(more ...step) []step { return append(open[:3:3], more...) }
	for name, c := range map[string]struct {
		steps                                 []step
		tcp, reused, carried, doubles, strays int
	}{
		"one":                         {steps: open, tcp: 1, carried: 1},
		"a SYN again":                 {steps: after(step{port: 2000, flags: syn, seq: 7}), tcp: 1, carried: 1},
		"another SYN while it lives":  {steps: after(step{port: 2000, flags: syn, seq: 8}), tcp: 2, carried: 1, doubles: 1},
		"... after one side's FIN":    {steps: after(step{port: 2000, flags: fin | ack}, step{port: 2000, flags: syn, seq: 8}), tcp: 2, carried: 1, doubles: 1},
		"... after a FIN said twice":  {steps: after(step{port: 2000, flags: fin}, step{port: 2000, flags: fin}, step{port: 2000, flags: syn}), tcp: 2, carried: 1, doubles: 1},
		"another after both FINs":     {steps: after(step{port: 2000, flags: fin}, step{port: 2000, flags: fin, sent: true}, step{port: 2000, flags: syn}), tcp: 2, carried: 1, reused: 1},
		"another after a reset":       {steps: after(step{port: 2000, flags: rst, sent: true}, step{port: 2000, flags: syn}), tcp: 2, carried: 1, reused: 1},
		"another port":                {steps: after(step{port: 2001, flags: syn, seq: 8}), tcp: 2, carried: 1},
		"data where nothing began":    {steps: after(step{port: 2001, flags: ack, data: "x"}), tcp: 1, carried: 1, strays: 1},
		"a bare ACK there is nothing": {steps: after(step{port: 2001, flags: ack}), tcp: 1, carried: 1},
	} {
		got := play(c.steps...)
		if got.TCP != c.tcp || got.Reused != c.reused || got.Carried != c.carried || got.Duplicates != c.doubles || got.Moved != c.strays {
			t.Errorf("%s: %+v", name, got)
		}
		if len(got.Told) != c.doubles+c.strays {
			t.Errorf("%s: told %q", name, got.Told)
		}
	}
}

// A SYN that two nodes have sent on has two numbers, and is one connection; two SYNs are
// two, and without the nodes' numbers so are those.
func TestFR5_TuplesKnowASYNByItsNumbers(t *testing.T) {
	space := sequence.New([16]byte{1})
	k := from(2000, packet.ProtoTCP)
	of := func(isn uint32, node wire.NodeID) uint32 { return space.ISN(k.Reverse(), isn, node) }
	for name, c := range map[string]struct {
		space         *sequence.Space
		first, second uint32
		doubles       int
	}{
		"one SYN":       {space, of(5000, 1), of(5000, 2), 0},
		"two":           {space, of(5000, 1), of(5000+9<<16, 2), 1},
		"of one node":   {space, of(5000, 1), of(5000+9<<16, 1), 1},
		"nobody's":      {space, of(5000, 1), 77, 1},
		"switched off":  {nil, of(5000, 1), of(5000, 2), 1},
		"the same":      {space, of(5000, 1), of(5000, 1), 0},
		"nobody's same": {space, 77, 77, 0},
	} {
		got := NewTuples()
		got.Sequences = c.space
		for _, isn := range []uint32{c.first, c.second} {
			got.See(packettest.TCP(k, packet.SYN, isn, 0, nil), false)
		}
		if got.Duplicates != c.doubles || got.TCP != 1+c.doubles {
			t.Errorf("%s: %+v", name, got)
		}
	}
}

func TestNT4_TuplesTellDatagramsApart(t *testing.T) {
	type sent struct {
		port   uint16
		client uint16
	}
	for name, c := range map[string]struct {
		sent                   []sent
		others, doubles, moved int
	}{
		"each its own":            {[]sent{{1, 1}, {2, 2}, {1, 1}}, 2, 0, 0},
		"two in one tuple":        {[]sent{{1, 1}, {1, 2}}, 1, 1, 0},
		"one in two tuples":       {[]sent{{1, 1}, {2, 1}}, 2, 0, 1},
		"first moved, then taken": {[]sent{{1, 1}, {2, 1}, {2, 3}}, 2, 1, 1},
	} {
		for proto, make := range map[uint8]func(port uint16, b []byte) []byte{
			packet.ProtoUDP: func(port uint16, b []byte) []byte { return packettest.UDP(from(port, packet.ProtoUDP), b) },
			packet.ProtoICMP: func(port uint16, b []byte) []byte {
				k := from(port, packet.ProtoICMP)
				k.DstPort = 0
				return packettest.Build(packettest.Spec{Key: k, ICMPType: packet.ICMPEchoRequest, Payload: b})
			},
		} {
			got := NewTuples()
			for _, s := range c.sent {
				got.See(make(s.port, binary.BigEndian.AppendUint16([]byte{0, 0, 0, 1}, s.client)), false)
				got.See(packettest.UDP(from(s.port, packet.ProtoUDP).Reverse(), []byte("whatever the server says")), true)
			}
			if got.Others != c.others || got.Duplicates != c.doubles || got.Moved != c.moved {
				t.Errorf("%s, protocol %d: %+v", name, proto, got)
			}
			if c.moved > 0 && !strings.Contains(strings.Join(got.Told, "\n"), "203.0.113.10") {
				t.Errorf("%s: told %q", name, got.Told)
			}
		}
	}
}

// A connection that nobody ended is over when it has been quiet for as long as
// its state allows, counted from what reached the server.
func TestNT4_TuplesForgetWhatTheClusterForgets(t *testing.T) {
	const syn, fin, ack = packet.SYN, packet.FIN, packet.ACK
	begin := step{port: 2000, flags: syn, seq: 7}
	for name, c := range map[string]struct {
		steps []step
		quiet int // seconds until the tuple is free
	}{
		"a SYN":                   {[]step{begin}, 4},
		"a SYN answered":          {[]step{begin, {port: 2000, flags: syn | ack, seq: 9, sent: true}}, 4},
		"open":                    {[]step{begin, {port: 2000, flags: ack, seq: 8}}, 30},
		"one side has said FIN":   {[]step{begin, {port: 2000, flags: ack, seq: 8}, {port: 2000, flags: fin | ack, seq: 8}}, 5},
		"the other side said FIN": {[]step{begin, {port: 2000, flags: ack, seq: 8}, {port: 2000, flags: fin | ack, sent: true}}, 5},
	} {
		for _, late := range []bool{false, true} {
			now := time.Unix(100, 0)
			got := NewTuples()
			got.Now = func() time.Time { return now }
			got.Quiet = Quiet{Opening: 4 * time.Second, Open: 30 * time.Second, Closing: 5 * time.Second}
			see := func(s step) {
				k := from(s.port, packet.ProtoTCP)
				if s.sent {
					k = k.Reverse()
				}
				got.See(packettest.TCP(k, s.flags, s.seq, 0, nil), s.sent)
			}
			for _, s := range c.steps {
				see(s)
			}
			now = now.Add(time.Duration(c.quiet) * time.Second)
			see(step{port: 2000, flags: ack, sent: true}) // says nothing about the cluster
			if late {
				now = now.Add(time.Millisecond)
			}
			see(step{port: 2000, flags: syn, seq: 8})
			if late && (got.Duplicates != 0 || got.Reused != 1) || !late && got.Duplicates != 1 {
				t.Errorf("%s, late %v: %d duplicates, %d reused: %q", name, late, got.Duplicates, got.Reused, got.Told)
			}
		}
	}
}

func TestNT4_TuplesForgetQuietDatagrams(t *testing.T) {
	now := time.Unix(100, 0)
	got := NewTuples()
	got.Now = func() time.Time { return now }
	got.Quiet.Datagrams = 4 * time.Second
	see := func(after time.Duration, client uint16) {
		now = now.Add(after)
		got.See(packettest.UDP(from(1, packet.ProtoUDP), binary.BigEndian.AppendUint16([]byte{0, 0, 0, 1}, client)), false)
	}
	see(0, 1)
	see(3*time.Second, 1)
	see(4*time.Second+1, 2)
	if got.Duplicates != 0 || got.Others != 2 {
		t.Errorf("after its time: %+v", got)
	}
	see(4*time.Second, 3)
	if got.Duplicates != 1 {
		t.Errorf("before it: %d duplicates", got.Duplicates)
	}
}
