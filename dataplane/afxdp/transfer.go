package afxdp

import "golang.org/x/sys/unix"

// KickBatch is how many frames one sendto moves in copy mode (TX_BATCH_SIZE in
// net/xdp/xsk.c).
const KickBatch = 32

// Fill lends frames to the kernel for receiving, until FillSize are lent or
// the allocator is empty. It returns how many it lent.
func (s *Socket) Fill() int {
	room := int(s.fill.room())
	n := 0
	for n < room && s.lent < s.cfg.FillSize {
		addr, ok := s.umem.Alloc()
		if !ok {
			break
		}
		s.umem.holder[addr>>s.umem.shift] = s.id
		s.fill.put(addr)
		s.lent++
		n++
	}
	if n > 0 {
		s.fill.publish()
	}
	return n
}

// Receive takes up to len(batch) descriptors and makes their frames the
// caller's, then lends new frames to the kernel. A packet of several frames is
// never split between two calls if batch holds at least MaxParts descriptors.
func (s *Socket) Receive(batch []Desc) int { return s.ReceivePackets(batch, len(batch)) }

// ReceivePackets is Receive for at most that many packets.
func (s *Socket) ReceivePackets(batch []Desc, packets int) int {
	n := min(int(s.rx.ready()), len(batch))
	start := s.rx.local
	whole := 0 // descriptors up to the end of the last complete packet
	for i := 0; i < n && packets > 0; i++ {
		d := s.rx.take()
		batch[i] = d
		if d.Options&RxMore == 0 {
			whole = i + 1
			packets--
		}
	}
	s.rx.local = start + uint32(whole)
	if whole > 0 {
		s.rx.retire()
		for i := range whole {
			s.umem.holder[batch[i].Addr>>s.umem.shift] = heldByCaller
		}
		s.lent -= whole
	}
	if s.lent < s.cfg.FillSize {
		s.Fill()
	}
	if s.fill.needsWakeup() {
		s.wakeReceive()
	}
	return whole
}

// MaxParts bounds the descriptors of one packet (MAX_SKB_FRAGS + 1).
const MaxParts = 18

// Transmit queues descs and takes their frames from the caller; it returns how
// many were accepted. Set RxMore on every part of a packet but its last. A
// packet of several parts is accepted whole or not at all. Nothing leaves
// before Kick.
func (s *Socket) Transmit(descs []Desc) int {
	room := int(s.tx.room())
	// The completion ring is as large as the transmit ring: never have more
	// frames under way than it can report.
	room = min(room, s.cfg.TxSize-s.sending)
	n := min(room, len(descs))
	for n > 0 && descs[n-1].Options&RxMore != 0 {
		n--
	}
	for _, d := range descs[:n] {
		i := d.Addr >> s.umem.shift
		if s.umem.holder[i] != heldByCaller {
			panic("afxdp: transmitted a frame that is not the caller's")
		}
		s.umem.holder[i] = s.id
		s.tx.put(d)
	}
	if n > 0 {
		s.tx.publish()
		s.sending += n
	}
	return n
}

// Queued is how many descriptors wait for a Kick.
func (s *Socket) Queued() int { return int(s.tx.unread()) }

// Kick asks the kernel to send what is queued, one system call per KickBatch
// frames, and takes back completed frames. A frame that the driver drops ends a call, too:
// Kick goes on until the kernel takes no more. It returns the first error that is
// not a mere "busy, try later" (EAGAIN, EBUSY, ENOBUFS); what is still queued
// then goes with the next Kick. Go's scheduler does not hear of the calls, for they do not
// sleep.
func (s *Socket) Kick() error {
	for left := -1; s.Queued() > 0 && s.Queued() != left && s.tx.needsWakeup(); {
		left = s.Queued()
		_, _, e := unix.RawSyscall6(unix.SYS_SENDTO, uintptr(s.fd), 0, 0, unix.MSG_DONTWAIT, 0, 0)
		if e != 0 && e != unix.EAGAIN && e != unix.EBUSY && e != unix.ENOBUFS {
			s.Complete()
			return e
		}
	}
	s.Complete()
	return nil
}

// Complete takes back the frames that have been sent and returns their number.
func (s *Socket) Complete() int {
	n := int(s.completion.ready())
	for range n {
		i := uint32(s.completion.take() >> s.umem.shift)
		if s.umem.holder[i] == s.id {
			s.umem.release(i)
		}
	}
	if n > 0 {
		s.completion.retire()
		s.sending -= n
	}
	return n
}

func (s *Socket) wakeReceive() {
	_, _, _ = unix.RawSyscall6(unix.SYS_RECVFROM, uintptr(s.fd), 0, 0, unix.MSG_DONTWAIT, 0, 0)
}
