package campaign

import (
	"encoding/binary"
	"errors"
	"net"
	"net/netip"
	"sync"
	"time"

	"cohort/testenv/netns"
)

// datagramLen is the size of one packet of a stream: flow and sequence number.
const datagramLen = 12

// socketBuffer holds what a stream receives while its reader waits for a CPU.
const socketBuffer = 4 << 20

// bits is a growing set of sequence numbers.
type bits []uint64

// add reports whether n is new.
func (b *bits) add(n uint64) bool {
	for uint64(len(*b)) <= n/64 {
		*b = append(*b, 0)
	}
	mask := uint64(1) << (n % 64)
	if (*b)[n/64]&mask != 0 {
		return false
	}
	(*b)[n/64] |= mask
	return true
}

// stream is one flow.
type stream struct {
	conn *net.UDPConn
	sent uint64 // by the sender only, read under mu

	mu     sync.Mutex // guards what follows
	there  bits       // sequence numbers the server has
	back   bits       // and the client
	nThere uint64
	nBack  uint64
	as     netip.AddrPort // as the server sees it
	moves  uint64         // times that this changed
	last   time.Time      // newest reply
	gap    Gap            // longest since Mark
}

// Gap is a time without replies.
type Gap struct{ From, To time.Time }

// Length of the gap.
func (g Gap) Length() time.Duration { return g.To.Sub(g.From) }

// arrived notes a reply; mu is held.
func (s *stream) arrived(at time.Time) {
	if g := (Gap{s.last, at}); !s.last.IsZero() && g.Length() > s.gap.Length() {
		s.gap = g
	}
	s.last = at
}

// Streams are UDP flows from a client to an echo server, each with a packet
// every interval. All methods may be called concurrently.
type Streams struct {
	flows  []*stream
	server net.PacketConn
	done   chan struct{}
	sender sync.WaitGroup
	reader sync.WaitGroup
	stop   sync.Once
	end    sync.Once
}

// OpenStreams starts n flows towards a server at the given address.
func OpenStreams(from, server *netns.Namespace, at netip.AddrPort, n int, every time.Duration) (*Streams, error) {
	l, err := server.ListenPacket("udp4", at.String())
	if err != nil {
		return nil, err
	}
	s := &Streams{server: l, done: make(chan struct{})}
	l.(*net.UDPConn).SetReadBuffer(socketBuffer)
	s.reader.Go(s.serve)
	for range n {
		c, err := from.DialUDP(at)
		if err != nil {
			s.Close()
			return nil, err
		}
		c.SetReadBuffer(socketBuffer)
		f := &stream{conn: c}
		s.flows = append(s.flows, f)
	}
	for _, f := range s.flows {
		s.reader.Go(f.read)
	}
	s.sender.Go(func() { s.send(every) })
	return s, nil
}

// send gives every flow a packet each interval.
func (s *Streams) send(every time.Duration) {
	tick := time.NewTicker(every)
	defer tick.Stop()
	var b [datagramLen]byte
	for {
		for i, f := range s.flows {
			f.mu.Lock()
			seq := f.sent
			f.sent++
			f.mu.Unlock()
			binary.BigEndian.PutUint32(b[:], uint32(i))
			binary.BigEndian.PutUint64(b[4:], seq)
			// An error is an ICMP message about an earlier packet: this one was
			// not sent, so try once more. A second failure is a lost packet.
			if _, err := f.conn.Write(b[:]); err != nil {
				_, _ = f.conn.Write(b[:])
			}
		}
		select {
		case <-tick.C:
		case <-s.done:
			return
		}
	}
}

// serve echoes, after it has noted what arrived.
func (s *Streams) serve() {
	var b [64]byte
	u := s.server.(*net.UDPConn)
	for {
		n, from, err := u.ReadFromUDPAddrPort(b[:])
		if errors.Is(err, net.ErrClosed) {
			return
		}
		i := int(binary.BigEndian.Uint32(b[:]))
		if err != nil || n != datagramLen || i >= len(s.flows) {
			continue
		}
		f := s.flows[i]
		f.mu.Lock()
		if f.there.add(binary.BigEndian.Uint64(b[4:])) {
			f.nThere++
		}
		if f.as != from && f.as.IsValid() {
			f.moves++
		}
		f.as = from
		f.mu.Unlock()
		_, _ = u.WriteToUDPAddrPort(b[:n], from)
	}
}

func (s *stream) read() {
	var b [64]byte
	for {
		n, err := s.conn.Read(b[:])
		if errors.Is(err, net.ErrClosed) {
			return
		}
		if err != nil || n != datagramLen {
			continue
		}
		s.mu.Lock()
		if s.back.add(binary.BigEndian.Uint64(b[4:])) {
			s.nBack++
			s.arrived(time.Now())
		}
		s.mu.Unlock()
	}
}

// Sources are the addresses and ports that the flows come from as the server sees
// them, for what has arrived.
func (s *Streams) Sources() []netip.AddrPort {
	list := make([]netip.AddrPort, 0, len(s.flows))
	for _, f := range s.flows {
		f.mu.Lock()
		if f.as.IsValid() {
			list = append(list, f.as)
		}
		f.mu.Unlock()
	}
	return list
}

// Mark forgets the gaps so far.
func (s *Streams) Mark() {
	for _, f := range s.flows {
		f.mu.Lock()
		f.gap = Gap{}
		f.mu.Unlock()
	}
}

// AllSince reports whether every flow had a reply after t.
func (s *Streams) AllSince(t time.Time) bool {
	for _, f := range s.flows {
		f.mu.Lock()
		ok := f.last.After(t)
		f.mu.Unlock()
		if !ok {
			return false
		}
	}
	return true
}

// SilentSince returns how many flows had no reply after t.
func (s *Streams) SilentSince(t time.Time) (n int) {
	for _, f := range s.flows {
		f.mu.Lock()
		if !f.last.After(t) {
			n++
		}
		f.mu.Unlock()
	}
	return n
}

// Gaps returns the longest gap of every flow since Mark.
func (s *Streams) Gaps() []Gap {
	gaps := make([]Gap, 0, len(s.flows))
	for _, f := range s.flows {
		f.mu.Lock()
		gaps = append(gaps, f.gap)
		f.mu.Unlock()
	}
	return gaps
}

// Keys are the connections as the nodes know them.
func (s *Streams) Keys() []Key {
	keys := make([]Key, 0, len(s.flows))
	for _, f := range s.flows {
		keys = append(keys, keyOf("udp", f.conn))
	}
	return keys
}

// Tally counts the packets of streams, and how often the server saw a flow come
// from another address or port than before.
type Tally struct {
	Sent, LostThere, LostBack, Moves uint64
}

// Finish ends the sending, waits until nothing more is on its way (at most
// patience) and counts. Idempotent.
func (s *Streams) Finish(patience time.Duration) Tally {
	s.stop.Do(func() { close(s.done) })
	s.sender.Wait()
	tick := time.NewTicker(5 * time.Millisecond)
	defer tick.Stop()
	deadline := time.Now().Add(patience)
	for {
		t := s.Tally()
		if t.LostThere+t.LostBack == 0 || time.Now().After(deadline) {
			return t
		}
		<-tick.C
	}
}

// Tally counts so far; what is on its way counts as lost.
func (s *Streams) Tally() (t Tally) {
	for _, f := range s.flows {
		f.mu.Lock()
		t.Sent += f.sent
		t.LostThere += f.sent - f.nThere
		t.LostBack += f.nThere - f.nBack
		t.Moves += f.moves
		f.mu.Unlock()
	}
	return t
}

// Close ends everything and waits for it. Idempotent.
func (s *Streams) Close() {
	s.stop.Do(func() { close(s.done) })
	s.sender.Wait()
	s.end.Do(func() {
		s.server.Close()
		for _, f := range s.flows {
			f.conn.Close()
		}
	})
	s.reader.Wait()
}
