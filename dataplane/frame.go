package dataplane

import (
	"encoding/binary"

	"cohort/dataplane/afxdp"
)

// Frame is one packet that XDP handed to Go. Whoever receives it ends it with
// exactly one of Transmit, Forward and Release, and must not touch it then.
// Between the two it may be held (IO.Hold).
type Frame struct {
	// Data is an Ethernet header and one IPv4 packet without padding. The bytes
	// may be changed in place, not the length. The Ethernet header of a packet
	// that came over the CCL has no addresses.
	Data []byte
	Punt Punt

	queue uint8
	state frameState
	jumbo bool   // buf is a buffer of its own, not a Umem frame
	buf   []byte // all of the memory that Data lies in
	start int    // of Data in buf
	base  uint64 // of buf in the Umem, unless jumbo
}

type frameState uint8

const (
	frameFree frameState = iota
	frameOut             // with the caller
	frameHeld            // with the caller, for longer
)

// IP returns the IPv4 packet.
func (f *Frame) IP() []byte { return f.Data[ethernetLen:] }

const (
	ethernetLen = 14
	ipv4Len     = 20
)

// receive makes a Frame of one packet's descriptors, which it consumes.
func (io *IO) receive(parts []afxdp.Desc, queue uint8) (*Frame, bool) {
	punt, ok := parsePunt(io.umem.Meta(parts[0], puntSize))
	if !ok {
		return io.reject(parts, DropMalformed)
	}
	f := io.frames[len(io.frames)-1]
	length := int(parts[0].Len)
	if len(parts) > 1 {
		why := Sent
		if length, why = io.gather(f, parts); why != Sent {
			return io.reject(parts, why)
		}
	} else {
		f.buf = io.umem.Frame(parts[0].Addr)
		f.start = int(parts[0].Addr) & (len(f.buf) - 1)
		f.base = parts[0].Addr - uint64(f.start)
	}
	f.Punt, f.queue, f.state = punt, queue, frameOut
	io.frames = io.frames[:len(io.frames)-1]
	if !f.trim(length) {
		io.Release(f)
		io.drops[DropMalformed]++
		return nil, false
	}
	return f, true
}

func (io *IO) reject(parts []afxdp.Desc, why Drop) (*Frame, bool) {
	for _, d := range parts {
		io.umem.Free(d.Addr)
	}
	io.drops[why]++
	return nil, false
}

// gather joins the parts of a large packet in a buffer of its own, so that the
// caller sees one slice, and frees them. If it fails they are untouched.
func (io *IO) gather(f *Frame, parts []afxdp.Desc) (length int, why Drop) {
	for _, d := range parts {
		length += int(d.Len)
	}
	n := len(io.jumbos)
	switch {
	case length > jumboSize-jumboRoom:
		return 0, DropTooBig
	case n == 0:
		return 0, DropNoJumbo
	}
	f.buf, f.start, f.jumbo = io.jumbos[n-1], jumboRoom, true
	io.jumbos = io.jumbos[:n-1]
	to := f.buf[jumboRoom:jumboRoom]
	for _, d := range parts {
		to = append(to, io.umem.Data(d)...)
		io.umem.Free(d.Addr)
	}
	return length, Sent
}

// trim sets Data to the Ethernet header and the IP packet, given how many
// bytes came.
func (f *Frame) trim(length int) bool {
	off := int(f.Punt.L3Offset) - ethernetLen
	if off < 0 || length < off+ethernetLen+ipv4Len {
		return false
	}
	data := f.buf[f.start+off : f.start+length]
	n := ethernetLen + int(binary.BigEndian.Uint16(data[ethernetLen+2:]))
	if data[ethernetLen]>>4 != 4 || n < ethernetLen+ipv4Len || n > len(data) {
		return false
	}
	f.Data, f.start, f.Punt.L3Offset = data[:n:n], f.start+off, ethernetLen
	return true
}

// room returns Data with n bytes in front of it. They are always there: the
// kernel leaves afxdp.Headroom, jumbo buffers have jumboRoom.
func (f *Frame) room(n int) []byte { return f.buf[f.start-n : f.start+len(f.Data)] }

// Hold keeps f beyond the batch, for a packet that waits for an answer. It
// returns false, and counts, when IOConfig.Hold frames are held already, or half of
// the buffers of large ones: a fragment may wait for long, and whoever sends what
// waits must not stop what does not. The caller then releases or sends f.
func (io *IO) Hold(f *Frame) bool {
	switch {
	case f.state == frameHeld:
		return true
	case io.held >= io.cfg.Hold:
		io.drops[DropHoldFull]++
		return false
	case f.jumbo && io.heldJumbos >= (io.cfg.Jumbos+1)/2:
		io.drops[DropNoJumbo]++
		return false
	case f.jumbo:
		io.heldJumbos++
	}
	io.held++
	f.state = frameHeld
	return true
}

// Held is how many frames are held.
func (io *IO) Held() int { return io.held }

// Release gives f back without sending it.
func (io *IO) Release(f *Frame) {
	if f.state != frameFree && !f.jumbo {
		io.umem.Free(f.base)
	}
	io.recycle(f)
}

// recycle ends f, whose Umem frame is gone already.
func (io *IO) recycle(f *Frame) {
	switch f.state {
	case frameHeld:
		io.held--
		if f.jumbo {
			io.heldJumbos--
		}
	case frameFree:
		panic("dataplane: frame ended twice")
	}
	if f.jumbo {
		io.jumbos = append(io.jumbos, f.buf)
	}
	*f = Frame{}
	io.frames = append(io.frames, f)
}
