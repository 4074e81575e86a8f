package flowtable

import (
	"testing"
	"unsafe"

	"cohort/packet"
)

// Sizes promised in SPEC and DESIGN 3, and the offsets of bpf/layout.h.
func TestLayoutIsTheSharedOne(t *testing.T) {
	var f FlowSlot
	var w ForwardSlot
	var g DelegationSlot
	for _, c := range []struct {
		name      string
		got, want uintptr
	}{
		{"FlowSlot", unsafe.Sizeof(f), 128},
		{"ForwardSlot", unsafe.Sizeof(w), 48},
		{"Backup", unsafe.Sizeof(Backup{}), 32},
		{"Bucket", unsafe.Sizeof(Bucket{}), 64},
		{"FlowSlot.Seq", unsafe.Offsetof(f.Seq), 32},
		{"FlowSlot.Gen", unsafe.Offsetof(f.Gen), 36},
		{"FlowSlot.NextHop", unsafe.Offsetof(f.NextHop), 40},
		{"FlowSlot.Iface", unsafe.Offsetof(f.Iface), 44},
		{"FlowSlot.State", unsafe.Offsetof(f.State), 46},
		{"FlowSlot.Flags", unsafe.Offsetof(f.Flags), 47},
		{"FlowSlot.Rule", unsafe.Offsetof(f.Rule), 48},
		{"FlowSlot.Backup", unsafe.Offsetof(f.Backup), 60},
		{"FlowSlot.Copied", unsafe.Offsetof(f.Copied), 63},
		{"FlowSlot.LastSeen", unsafe.Offsetof(f.LastSeen), 64},
		{"FlowSlot.Packets", unsafe.Offsetof(f.Packets), 72},
		{"FlowSlot.Bytes", unsafe.Offsetof(f.Bytes), 88},
		{"FlowSlot.SeqEnd", unsafe.Offsetof(f.SeqEnd), 104},
		{"FlowSlot.Ack", unsafe.Offsetof(f.Ack), 112},
		{"FlowSlot.Window", unsafe.Offsetof(f.Window), 120},
		{"FlowSlot.Seen", unsafe.Offsetof(f.Seen), 124},
		{"FlowSlot.WScale", unsafe.Offsetof(f.WScale), 126},
		{"ForwardSlot.Owner", unsafe.Offsetof(w.Owner), 24},
		{"ForwardSlot.Delegation", unsafe.Offsetof(w.Delegation), 28},
		{"ForwardSlot.LastSeen", unsafe.Offsetof(w.LastSeen), 32},
		{"ForwardSlot.Packets", unsafe.Offsetof(w.Packets), 36},
		{"DelegationSlot", unsafe.Sizeof(g), 128},
		{"DelegationSlot.Seq", unsafe.Offsetof(g.Seq), 32},
		{"DelegationSlot.Lease", unsafe.Offsetof(g.Lease), 40},
		{"DelegationSlot.Packets", unsafe.Offsetof(g.Packets), 64},
		{"DelegationSlot.ID", unsafe.Offsetof(g.ID), 94},
	} {
		if c.got != c.want {
			t.Errorf("%s: %d, want %d", c.name, c.got, c.want)
		}
	}
}

func TestXDPWordsReadBackWhatWasWritten(t *testing.T) {
	var f FlowSlot
	f.Sent(0, TCPSyn, 100, 55, 1000)
	if got := f.TCPSent(0); got != (TCPSent{SeqEnd: 100, Window: 1000}) {
		t.Fatalf("a SYN has no acknowledgement: %+v", got)
	}
	f.SetWScale(0, 7)
	f.SetWScale(1, WScaleUnknown)
	f.Sent(1, TCPSyn|TCPAck, 0xfffffff0, 100, 2000)
	f.Sent(1, TCPAck, 5, 101, 2001)          // wraps: newer
	f.Sent(1, TCPAck, 0xfffffff8, 102, 2002) // retransmission: older
	if got := f.TCPSent(0); got != (TCPSent{SeqEnd: 100, Window: 1000, WScale: 7}) {
		t.Errorf("initiator %+v", got)
	}
	if got := f.TCPSent(1); got != (TCPSent{SeqEnd: 5, Ack: 102, Window: 2002, WScale: WScaleUnknown}) {
		t.Errorf("responder %+v", got)
	}
	if f.SeenFlags(0) != TCPSyn || f.SeenFlags(1) != TCPSyn|TCPAck {
		t.Errorf("flags %#x %#x", f.SeenFlags(0), f.SeenFlags(1))
	}
	if f.Window != [2]uint16{1000, 2002} || f.WScale != [2]uint8{7, 0xff} || f.Seen != [2]uint8{TCPSyn, TCPSyn | TCPAck} {
		t.Errorf("fields %+v", f)
	}
	f.Account(0, 7, 100)
	f.Account(1, 0xffffffff, 50) // before tick 7
	f.Account(1, 0xffffffff, 50)
	packets, bytes := f.Counters(1)
	if packets != 2 || bytes != 100 || f.SeenAt(1) != 0xffffffff || f.LastActive() != 7 {
		t.Errorf("%d packets, %d bytes, last %d", packets, bytes, f.LastActive())
	}
	var w ForwardSlot
	w.Account(9, 60)
	if packets, bytes := w.Counters(); packets != 1 || bytes != 60 || w.SeenAt() != 9 {
		t.Errorf("forward: %d packets, %d bytes, tick %d", packets, bytes, w.SeenAt())
	}
}

func TestFlowExpiresAfterItsTimeoutInBothDirections(t *testing.T) {
	f := FlowSlot{Timeout: 30}
	start := uint32(0xfffff000)
	f.Account(0, start, 1)
	f.Account(1, start+1000, 1)
	limit := start + 1000 + Ticks(30)
	for _, c := range []struct {
		now  uint32
		want bool
	}{{start, false}, {start + 1000, false}, {limit - 1, false}, {limit, true}, {limit + 1000, true}} {
		if got := f.Expired(c.now); got != c.want {
			t.Errorf("%d ticks after its last packet: expired %v", Since(c.now, start+1000), got)
		}
	}
}

// Computed from the definition with big integers; the BPF programs must give the
// same for this seed.
func TestHashVectors(t *testing.T) {
	table := newTable(t, 1, 1)
	for _, c := range []struct {
		key     packet.FlowKey
		h1, tag uint32
	}{
		{packet.FlowKey{Src: packet.Addr{0, 0, 0, 0}, Dst: packet.Addr{0, 0, 0, 0}, SrcPort: 0, DstPort: 0, Proto: 0, Zone: 0}, 0x243f6a88, 0xbe5466cf},
		{packet.FlowKey{Src: packet.Addr{10, 0, 0, 1}, Dst: packet.Addr{192, 0, 2, 80}, SrcPort: 40000, DstPort: 443, Proto: 6, Zone: 0}, 0x2777fa8c, 0x7b269c20},
		{packet.FlowKey{Src: packet.Addr{192, 0, 2, 80}, Dst: packet.Addr{10, 0, 0, 1}, SrcPort: 443, DstPort: 40000, Proto: 6, Zone: 0}, 0x15d3583d, 0xed92c5e1},
		{packet.FlowKey{Src: packet.Addr{255, 255, 255, 255}, Dst: packet.Addr{255, 255, 255, 255}, SrcPort: 65535, DstPort: 65535, Proto: 255, Zone: 255}, 0x5b09d626, 0x6ebf73d0},
		{packet.FlowKey{Src: packet.Addr{1, 2, 3, 4}, Dst: packet.Addr{5, 6, 7, 8}, SrcPort: 4660, DstPort: 0, Proto: 1, Zone: 3}, 0x7b779ba7, 0xbfdea524},
	} {
		h1, tag := table.Hash(c.key)
		if h1 != c.h1 || tag != c.tag {
			t.Errorf("%v: h1 %#x tag %#x", c.key, h1, tag)
		}
	}
}

func TestTagIsNeverZero(t *testing.T) {
	seed := testSeed
	k := packet.FlowKey{SrcPort: 1}
	seed[5] = -seed[8] // cancels out for this key
	if _, tag := hashKey(&seed, &k); tag != 1 {
		t.Fatalf("tag %#x", tag)
	}
}
