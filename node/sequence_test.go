package node

import (
	"bytes"
	"testing"

	"cohort/api"
	"cohort/flowtable"
	"cohort/packet"
	"cohort/packet/packettest"
)

// TestFR5_SlowPathShiftsAsTheFastPathDoes, in both directions; and an ICMP error
// about a packet that has left quotes what its sender sent (RFC 5927, 4.1). With
// translation and without.
func TestFR5_SlowPathShiftsAsTheFastPathDoes(t *testing.T) {
	const delta = 0x9abcdef0
	k := packet.FlowKey{Src: packet.Addr{10, 1, 8, 7}, Dst: packet.Addr{192, 0, 2, 80}, SrcPort: 40000, DstPort: 443, Proto: packet.ProtoTCP}
	router := packet.Addr{198, 51, 100, 9}
	for _, nat := range []bool{false, true} {
		out := k
		if nat {
			out.Src, out.SrcPort = packet.Addr{203, 0, 113, 10}, 1024
		}
		f := flowtable.FlowSlot{Key: [2]packet.FlowKey{k, out.Reverse()}, SeqDelta: delta}
		request := func(k packet.FlowKey, seq uint32) []byte {
			return packettest.TCP(k, packet.ACK, seq, 77, []byte("data"))
		}
		answer := func(k packet.FlowKey, ack uint32) []byte {
			return packettest.TCP(k, packet.ACK, 77, ack, []byte("data"))
		}
		unreachable := func(about []byte) []byte { return packettest.ICMPError(router, packet.ICMPUnreachable, 1, 0, about) }
		for name, c := range map[string]struct {
			dir      int
			in, want []byte
		}{
			"request":               {0, request(k, 5), request(out, 5+delta)},
			"answer":                {1, answer(out.Reverse(), 9+delta), answer(k.Reverse(), 9)},
			"error about a request": {1, unreachable(request(out, 5+delta)), unreachable(request(k, 5))},
			"error about an answer": {0, unreachable(answer(k.Reverse(), 9)), unreachable(answer(out.Reverse(), 9+delta))},
		} {
			n := new(Node)
			if r := n.pkt.Parse(c.in); r != packet.OK {
				t.Fatal(r)
			}
			n.translate(&f, c.dir)
			got, want := c.in, c.want
			if name == "error about an answer" || name == "error about a request" {
				// Eight bytes are quoted: without the acknowledgement and the checksum.
				var a, b packet.Packet
				if a.Parse(got) != packet.OK || b.Parse(want) != packet.OK || a.Quoted != b.Quoted {
					t.Fatalf("%s: about %v, want %v", name, a.Quoted, b.Quoted)
				}
				got, want = got[a.QuotedL4:], want[b.QuotedL4:]
			}
			if !bytes.Equal(got, want) {
				t.Errorf("%s, translated %v:\n%x, want\n%x", name, nat, got, want)
			}
		}
	}
}

// TestFR5_MG1_OwnerAndCopyShowTheShift: who compares captures of both sides needs it.
func TestFR5_MG1_OwnerAndCopyShowTheShift(t *testing.T) {
	const by = 0x9abcdef0
	k := packet.FlowKey{Src: packet.Addr{10, 1, 0, 7}, Dst: packet.Addr{192, 0, 2, 80}, SrcPort: 40000, DstPort: 443, Proto: packet.ProtoTCP}
	c := newTestCluster(t, 2)
	n := c.nodes[0]
	if _, err := n.table.InsertFlow(flowtable.FlowSlot{Key: [2]packet.FlowKey{k, k.Reverse()}, Flags: flowtable.FlowLive, State: uint8(flowtable.TCPEstablished), SeqDelta: by}); err != nil {
		t.Fatal(err)
	}
	m := c.nodes[1]
	if err := m.copies.Put(flowtable.Backup{Key: flowtable.Pack(k), Owner: 1, State: uint8(flowtable.TCPEstablished)}); err != nil {
		t.Fatal(err)
	}
	m.copies.SetSeqDelta(k, by)
	for _, n := range []*testNode{n, m} {
		list := n.conns(api.ConnFilter{Port: 40000})
		if len(list) != 1 || list[0].SequenceShift != by {
			t.Errorf("shown: %+v", list)
		}
	}
}
