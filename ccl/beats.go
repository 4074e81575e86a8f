package ccl

import (
	"crypto/rand"
	"errors"
	"fmt"
	"net/netip"
	"time"

	"golang.org/x/sys/unix"

	"cohort/ccl/seal"
	"cohort/ccl/wire"
)

// kindBeat is the first byte under the seal of a beat.
const kindBeat = 4

// beatUse separates the sessions of beats from those of the Endpoint.
const beatUse = "beats"

// BeatsConfig describes one node's end of the beats (HL7).
type BeatsConfig struct {
	Device      string       // VXLAN device, as Link.Name says
	ControlPort int          // as LinkConfig; beats use the port after state's
	Address     netip.Prefix // of the VTEP
	Peers       []netip.Addr // VTEPs of the others
	Keys        []seal.Key   // as seal.Config.Keys
}

// Beats are the sockets and the session of the fast profile's beats: a port, a
// sequence of nonces and handshakes of their own, because a process of its own
// sends them. One thread owns it. Sending and receiving a beat of a proven session
// does not allocate.
type Beats struct {
	sock    *socket
	sealer  *seal.Sealer
	self    netip.Addr // inner
	hosts   map[uint16]int
	peers   []netip.Addr
	plain   []byte
	out     []byte
	unknown uint64
	bad     uint64
	failed  uint64
}

// BeatCounters are totals since OpenBeats.
type BeatCounters struct {
	Seal        seal.Counters
	UnknownPeer uint64 // from an address that is no configured peer
	Malformed   uint64 // authenticated, and not a beat
	SendFailed  uint64
}

// OpenBeats opens the socket in the calling thread's network namespace.
func OpenBeats(cfg BeatsConfig) (*Beats, error) {
	if cfg.ControlPort == 0 {
		cfg.ControlPort = DefaultControlPort
	}
	if err := checkAddresses(cfg.Address, cfg.Peers); err != nil {
		return nil, err
	}
	b, err := newBeats(cfg)
	if err != nil {
		return nil, err
	}
	if b.sock, err = newSocket(cfg.Device, uint16(cfg.ControlPort+2), true); err != nil {
		return nil, err
	}
	if err := b.sock.stamp(); err != nil {
		return nil, errors.Join(err, b.Close())
	}
	return b, nil
}

func newBeats(cfg BeatsConfig) (*Beats, error) {
	local := cfg.Address.Addr()
	s, err := seal.New(seal.Config{Local: local, Keys: cfg.Keys, Rand: rand.Reader, Use: beatUse, Format: wire.Version})
	if err != nil {
		return nil, err
	}
	b := &Beats{
		sealer: s, self: netip.AddrFrom4(innerAddr(hostPart(local))), hosts: map[uint16]int{}, peers: cfg.Peers,
		plain: make([]byte, 0, 64), out: make([]byte, 0, 256),
	}
	for i, p := range cfg.Peers {
		b.hosts[hostPart(p)] = i
	}
	return b, nil
}

// FD polls readable while beats wait. It stays the Beats'.
func (b *Beats) FD() int { return b.sock.fd }

// SetKeys replaces the keys, as seal.Sealer.SetKeys.
func (b *Beats) SetKeys(keys []seal.Key) error { return b.sealer.SetKeys(keys) }

// Broadcast sends a beat to all peers.
func (b *Beats) Broadcast(m wire.Beat) { b.send(netip.Addr{}, b.body(m)) }

// Send sends a beat to peer i alone.
func (b *Beats) Send(i int, m wire.Beat) { b.send(b.peers[i], b.body(m)) }

func (b *Beats) body(m wire.Beat) []byte {
	b.plain = wire.Append(append(b.plain[:0], kindBeat), m)
	return b.plain
}

// send seals and sends a payload. What cannot be sent is counted and lost.
func (b *Beats) send(to netip.Addr, payload []byte) {
	b.out = b.sealer.Seal(b.out[:0], to, payload)
	host := uint16(0xffff)
	if to.IsValid() {
		host = hostPart(to)
	}
	if b.sock.send(innerAddr(host), b.out) != nil {
		b.failed++
	}
}

// Receive hands one batch of waiting beats to f, by peer and with the nanoseconds
// since the kernel took it from the link, and returns how many datagrams there
// were: call it until that is 0. Handshakes are answered here.
func (b *Beats) Receive(now int64, f func(i int, m wire.Beat, age int64)) (int, error) {
	n, err := b.sock.receive(receiveBatch)
	if err != nil {
		return 0, fmt.Errorf("ccl: beats: receive: %w", err)
	}
	wall := time.Now().UnixNano()
	for k := range n {
		from, d, _ := b.sock.datagram(k)
		if from == b.self {
			continue // our own broadcast
		}
		i, known := b.peer(from)
		if !known {
			b.unknown++
			continue
		}
		if m, ok := b.open(now, i, d); ok {
			f(i, m, b.sock.age(k, wall))
		}
	}
	return n, nil
}

// peer tells which peer has an inner address.
func (b *Beats) peer(from netip.Addr) (i int, known bool) {
	i, known = b.hosts[hostPart(from)]
	return i, known && from == netip.AddrFrom4(innerAddr(hostPart(from)))
}

// open judges one datagram of peer i.
func (b *Beats) open(now int64, i int, d []byte) (m wire.Beat, ok bool) {
	o, reason := b.sealer.Open(now, b.peers[i], d)
	if o.Response != nil {
		b.send(b.peers[i], o.Response)
	}
	if o.Challenge != nil {
		b.send(b.peers[i], o.Challenge)
	}
	if reason != seal.Accepted {
		return m, false
	}
	if o.Payload[0] != kindBeat {
		b.bad++
		return m, false
	}
	m, err := wire.DecodeBeat(o.Payload[1:])
	if err != nil {
		b.bad++
		return m, false
	}
	return m, true
}

// Counters returns the totals.
func (b *Beats) Counters() BeatCounters {
	return BeatCounters{Seal: b.sealer.Counters(), UnknownPeer: b.unknown, Malformed: b.bad, SendFailed: b.failed}
}

// Close closes the socket. Idempotent.
func (b *Beats) Close() error {
	if b.sock == nil {
		return nil
	}
	err := unix.Close(b.sock.fd)
	b.sock = nil
	return err
}
