package flowtable

import (
	"sync/atomic"
	"unsafe"
)

// The words that XDP writes. Go reads them through these methods, which load
// whole words, at any time and from any goroutine; each word is exact, two
// words need not belong to the same packet. The slow path writes the same
// words through Account and Sent when it forwards a packet itself.

// SeenAt returns the tick of direction dir's last packet.
func (f *FlowSlot) SeenAt(dir int) uint32 { return atomic.LoadUint32(&f.LastSeen[dir]) }

// SetSeenAt replaces what SeenAt returns of a direction that is silent.
func (f *FlowSlot) SetSeenAt(dir int, tick uint32) { atomic.StoreUint32(&f.LastSeen[dir], tick) }

// LastActive returns the tick of the last packet of either direction.
func (f *FlowSlot) LastActive() uint32 {
	a, b := f.SeenAt(0), f.SeenAt(1)
	if Since(a, b) >= 0 {
		return a
	}
	return b
}

// Expired reports whether neither direction saw a packet for Timeout seconds.
func (f *FlowSlot) Expired(now uint32) bool {
	idle := Since(now, f.LastActive())
	return idle >= 0 && uint32(idle) >= Ticks(uint32(f.Timeout))
}

// Counters returns packets and bytes (IP total length) of direction dir.
func (f *FlowSlot) Counters(dir int) (packets, bytes uint64) {
	return atomic.LoadUint64(&f.Packets[dir]) & (1<<viaShift - 1), atomic.LoadUint64(&f.Bytes[dir])
}

// viaShift is VIA_SHIFT in bpf/layout.h.
const viaShift = 56

// Via returns the node where a packet of direction dir entered that another node
// sent here, 0 = none since the last call. XDP marks one packet in sixteen, the fifth
// of a direction first.
func (f *FlowSlot) Via(dir int) uint8 {
	p := &f.Packets[dir]
	if atomic.LoadUint64(p)>>viaShift == 0 {
		return 0
	}
	return uint8(atomic.AndUint64(p, 1<<viaShift-1) >> viaShift)
}

// MarkVia is what XDP does with a packet that entered at node.
func (f *FlowSlot) MarkVia(dir int, node uint8) {
	for {
		old := atomic.LoadUint64(&f.Packets[dir])
		if atomic.CompareAndSwapUint64(&f.Packets[dir], old, old&(1<<viaShift-1)|uint64(node)<<viaShift) {
			return
		}
	}
}

// Add adds what another node has forwarded of direction dir by a delegation.
func (f *FlowSlot) Add(dir int, packets, bytes uint64) {
	atomic.AddUint64(&f.Packets[dir], packets)
	atomic.AddUint64(&f.Bytes[dir], bytes)
}

// SeenFlags returns the TCP flags that direction dir has sent, ORed.
func (f *FlowSlot) SeenFlags(dir int) uint8 {
	w := atomic.LoadUint32(f.flagsWord())
	return (*[4]uint8)(unsafe.Pointer(&w))[dir]
}

// TCPSent is what one side of a TCP connection last said.
type TCPSent struct {
	SeqEnd uint32 // one past the highest sequence number sent
	Ack    uint32
	Window uint16 // unscaled
	WScale uint8  // 0xff unknown
}

// WScaleUnknown marks a window shift that Go has not learned yet.
const WScaleUnknown = 0xff

// TCPSent returns what direction dir last said.
func (f *FlowSlot) TCPSent(dir int) TCPSent {
	windows, flags := atomic.LoadUint32(f.windowWord()), atomic.LoadUint32(f.flagsWord())
	return TCPSent{
		SeqEnd: atomic.LoadUint32(&f.SeqEnd[dir]),
		Ack:    atomic.LoadUint32(&f.Ack[dir]),
		Window: (*[2]uint16)(unsafe.Pointer(&windows))[dir],
		WScale: (*[4]uint8)(unsafe.Pointer(&flags))[2+dir],
	}
}

// Account adds one packet that Go forwarded itself.
func (f *FlowSlot) Account(dir int, now uint32, bytes int) {
	atomic.StoreUint32(&f.LastSeen[dir], now)
	atomic.AddUint64(&f.Packets[dir], 1)
	atomic.AddUint64(&f.Bytes[dir], uint64(bytes))
}

// Sent records a TCP segment of direction dir that Go forwarded itself: its
// flags, the end of its sequence space, and its acknowledgement and window if
// it has ACK.
func (f *FlowSlot) Sent(dir int, flags uint8, seqEnd, ack uint32, window uint16) {
	if old := atomic.LoadUint32(&f.SeqEnd[dir]); int32(seqEnd-old) > 0 || f.SeenFlags(dir) == 0 {
		atomic.StoreUint32(&f.SeqEnd[dir], seqEnd)
	}
	if flags&TCPAck != 0 {
		atomic.StoreUint32(&f.Ack[dir], ack)
	}
	swapWord(f.windowWord(), func(w *[4]uint8) { (*[2]uint16)(unsafe.Pointer(w))[dir] = window })
	swapWord(f.flagsWord(), func(w *[4]uint8) { w[dir] |= flags })
}

// Said is Sent for a side of which the newest segment counts and not the furthest: one
// that was forged, and far ahead, does not outlast those that follow.
func (f *FlowSlot) Said(dir int, flags uint8, seqEnd, ack uint32, window uint16) {
	f.Sent(dir, flags, seqEnd, ack, window)
	atomic.StoreUint32(&f.SeqEnd[dir], seqEnd)
}

// Forget makes SeenFlags those of what comes from now on.
func (f *FlowSlot) Forget() {
	swapWord(f.flagsWord(), func(w *[4]uint8) { w[0], w[1] = 0, 0 })
}

// Learn records what direction dir has sent by way of another node: how far, and, if
// that was the newest packet, its acknowledgement and window.
func (f *FlowSlot) Learn(dir int, s TCPSent, newest bool) {
	if old := atomic.LoadUint32(&f.SeqEnd[dir]); int32(s.SeqEnd-old) > 0 {
		atomic.StoreUint32(&f.SeqEnd[dir], s.SeqEnd)
	}
	if newest {
		atomic.StoreUint32(&f.Ack[dir], s.Ack)
		swapWord(f.windowWord(), func(w *[4]uint8) { (*[2]uint16)(unsafe.Pointer(w))[dir] = s.Window })
	}
}

// SetWScale stores the window shift that direction dir announced in its SYN.
func (f *FlowSlot) SetWScale(dir int, shift uint8) {
	swapWord(f.flagsWord(), func(w *[4]uint8) { w[2+dir] = shift })
}

func (f *FlowSlot) windowWord() *uint32 { return (*uint32)(unsafe.Pointer(&f.Window)) }

// flagsWord is Seen and WScale.
func (f *FlowSlot) flagsWord() *uint32 { return (*uint32)(unsafe.Pointer(&f.Seen)) }

// swapWord changes part of a word whose other parts XDP may be storing.
func swapWord(p *uint32, change func(*[4]uint8)) {
	for {
		old := atomic.LoadUint32(p)
		w := old
		change((*[4]uint8)(unsafe.Pointer(&w)))
		if atomic.CompareAndSwapUint32(p, old, w) {
			return
		}
	}
}

// SeenAt returns the tick of the last packet forwarded to the owner.
func (f *ForwardSlot) SeenAt() uint32 { return atomic.LoadUint32(&f.LastSeen) }

// SetSeenAt replaces what SeenAt returns.
func (f *ForwardSlot) SetSeenAt(tick uint32) { atomic.StoreUint32(&f.LastSeen, tick) }

// Counters returns packets (modulo 2^32) and bytes forwarded to the owner.
func (f *ForwardSlot) Counters() (packets, bytes uint64) {
	return uint64(atomic.LoadUint32(&f.Packets)), atomic.LoadUint64(&f.Bytes)
}

// Account adds one packet that Go sent to the owner itself.
func (f *ForwardSlot) Account(now uint32, bytes int) {
	atomic.StoreUint32(&f.LastSeen, now)
	atomic.AddUint32(&f.Packets, 1)
	atomic.AddUint64(&f.Bytes, uint64(bytes))
}
