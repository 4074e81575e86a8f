package ccl

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net/netip"

	"cohort/ccl/reliable"
	"cohort/ccl/seal"
	"cohort/ccl/wire"
	"cohort/packet"
)

// Sizes on the link, in bytes.
const (
	DefaultDataMTU = 1500
	DefaultMTU     = DefaultDataMTU + Allowance // 1654, between IPv4 VTEPs (CL2)
	MaxMTU         = 9198
	Allowance      = 154 // cluster header (at most 100) and VXLAN with its Ethernet (54)

	VXLANOverhead = 20 + 8 + 8 + 14 // outer IPv4, UDP, VXLAN, inner Ethernet: CCL MTU - device MTU
	udpOverhead   = 20 + 8          // inner IP and UDP
	minMTU        = 576 + VXLANOverhead
	minMTUIPv6    = 1280 // of any link that carries IPv6 (RFC 8200, 5)

	ipv6More = 40 - 20 // what the outer header of IPv6 is larger than that of IPv4 (CL9)
)

// AllowanceFor returns what the link's MTU is larger than the data MTU: 154 with
// IPv4 VTEPs, 174 with IPv6 ones, whose outer header has 20 bytes more (CL2, CL9).
func AllowanceFor(vtep netip.Addr) int { return Allowance + more(vtep) }

// VXLANOverheadFor returns the MTU of the link less that of the VXLAN device: 50
// or 70.
func VXLANOverheadFor(vtep netip.Addr) int { return VXLANOverhead + more(vtep) }

func more(vtep netip.Addr) int {
	if vtep.Is6() && !vtep.Is4In6() {
		return ipv6More
	}
	return 0
}

func minMTUFor(vtep netip.Addr) int {
	if more(vtep) != 0 {
		return minMTUIPv6
	}
	return minMTU
}

// First byte of a payload under the seal.
const (
	kindDatagram = 1 // unreliable batch
	kindControl  = 2 // reliable channel of membership messages
	kindState    = 3 // reliable channel of state messages
)

// Errors of Endpoint methods beside those of package reliable.
var (
	ErrNoPeer       = errors.New("ccl: reliable messages need one peer")
	ErrTooManyPeers = errors.New("ccl: too many peers")
)

// EndpointConfig configures an Endpoint. Callbacks run inside the method that
// causes them, on the caller's goroutine; they may call Send, Datagram and
// Forget, and nothing else of the Endpoint.
type EndpointConfig struct {
	Local netip.Addr // our VTEP
	MTU   int        // of the CCL interface; 0 = DefaultDataMTU + AllowanceFor(Local)

	// Sealer authenticates. nil = a clear one with a random session: the
	// simulator's mode, in which nothing is protected.
	Sealer *seal.Sealer
	Rand   io.Reader

	// Output sends a datagram to a peer's VTEP, or to all for the zero Addr.
	// It must not keep the slice. OutputControl, if set, gets those of the
	// membership class and handshakes, which must not wait behind others.
	Output        func(to netip.Addr, datagram []byte)
	OutputControl func(to netip.Addr, datagram []byte)

	// Deliver gets every message as a value. Handler is the way without
	// allocation; exactly one of the two must be set.
	Deliver func(from netip.Addr, m wire.Message)
	Handler wire.Handler

	// Expect hears of the connections that state messages will be about, shortly before
	// Handler or Deliver gets them; see wire.Decoder. May be nil.
	Expect func(key, reply packet.FlowKey)
	// ExpectGranted does so of a wire.Granted. May be nil.
	ExpectGranted func(serial uint32)

	// Heard is called for every authenticated datagram of a proven session:
	// the peer lives (HL1). May be nil.
	Heard func(from netip.Addr)

	// Reset says that the peer has started over: reliable messages not yet
	// acknowledged are lost, and it has forgotten what it was told. May be nil.
	Reset func(peer netip.Addr)

	QueueBytes int // of unacknowledged messages for each peer; 0 = 1 MiB

	// Pace is the least time between two datagrams of state to one peer that are not
	// full, in ns; 0 = no such bound. See reliable.Config.
	Pace int64

	// Linger is how long the end of a connection, or a stub that no packet needs (a
	// wire.Close or wire.Bind that is Late), may wait for other messages to the same peer,
	// in ns; 0 = not at all.
	Linger int64
}

// Endpoint is one member's end of the control link: sessions, channels and
// batches for all its peers. It does no I/O and knows no clock. One goroutine.
type Endpoint struct {
	cfg      EndpointConfig
	sealer   *seal.Sealer
	payload  int // bytes under the seal that fill a datagram
	instance uint32

	peers map[netip.Addr]*peer
	last  *peer   // that peer was asked for last; nil = none
	order []*peer // by first contact, so that runs can be repeated
	all   batch   // broadcast

	handler  dispatch
	dec      wire.Decoder
	arriving int // size of the datagram being handled
	sender   *peer
	counter  uint64 // of that datagram
	out      []byte
	due      int64 // see Due
	count    Counters
}

// peer is everything the Endpoint keeps for one address.
type peer struct {
	addr    netip.Addr
	control *reliable.Channel
	state   *reliable.Channel
	direct  batch // unreliable messages for this peer alone
	heard   int64
	proven  bool
	beat    uint64 // counter of the datagram with its newest heartbeat
}

// NewEndpoint checks cfg and returns an Endpoint without peers.
func NewEndpoint(cfg EndpointConfig) (*Endpoint, error) {
	if cfg.MTU == 0 {
		cfg.MTU = DefaultDataMTU + AllowanceFor(cfg.Local)
	}
	switch {
	case !cfg.Local.IsValid():
		return nil, errors.New("ccl: endpoint: no local address")
	case cfg.MTU < minMTUFor(cfg.Local) || cfg.MTU > MaxMTU:
		return nil, fmt.Errorf("ccl: endpoint: mtu %d is not in %d-%d", cfg.MTU, minMTUFor(cfg.Local), MaxMTU)
	case cfg.Output == nil:
		return nil, errors.New("ccl: endpoint: no output")
	case (cfg.Deliver == nil) == (cfg.Handler == nil):
		return nil, errors.New("ccl: endpoint: one of deliver and handler must be set")
	case cfg.Rand == nil:
		return nil, errors.New("ccl: endpoint: no source of randomness")
	}
	if cfg.OutputControl == nil {
		cfg.OutputControl = cfg.Output
	}
	if cfg.Handler == nil {
		cfg.Handler = wire.HandlerFunc(cfg.Deliver)
	}
	e := &Endpoint{cfg: cfg, sealer: cfg.Sealer, due: 1<<63 - 1, peers: make(map[netip.Addr]*peer)}
	if e.sealer == nil {
		s, err := seal.New(seal.Config{Local: cfg.Local, Rand: cfg.Rand, Clear: true, Format: wire.Version})
		if err != nil {
			return nil, err
		}
		e.sealer = s
	}
	var seed [4]byte
	if _, err := io.ReadFull(cfg.Rand, seed[:]); err != nil {
		return nil, fmt.Errorf("ccl: endpoint: %w", err)
	}
	e.instance = binary.BigEndian.Uint32(seed[:])
	e.payload = cfg.MTU - VXLANOverheadFor(cfg.Local) - udpOverhead - e.sealer.Overhead()
	e.dec.Expect, e.dec.ExpectGranted = cfg.Expect, cfg.ExpectGranted
	e.handler = dispatch{Handler: cfg.Handler, e: e}
	return e, nil
}

// peer returns the state of an address, made when there is none.
func (e *Endpoint) peer(a netip.Addr) (*peer, error) {
	if e.last != nil && e.last.addr == a {
		return e.last, nil
	}
	if p := e.peers[a]; p != nil {
		e.last = p
		return p, nil
	}
	if len(e.order) >= seal.MaxPeers {
		return nil, ErrTooManyPeers
	}
	p := &peer{addr: a}
	channel := func(kind uint8, pace int64, output func(netip.Addr, []byte), reset func()) *reliable.Channel {
		return reliable.New(reliable.Config{
			Kind: kind, Payload: e.payload, QueueBytes: e.cfg.QueueBytes, Pace: pace, Linger: e.cfg.Linger, NewInstance: e.newInstance,
			Emit:    func(b []byte) { e.emit(p.addr, b, output) },
			Deliver: func(b []byte) { e.deliver(p.addr, b) },
			Reset:   reset,
		})
	}
	p.control = channel(kindControl, 0, e.cfg.OutputControl, nil)
	p.state = channel(kindState, e.cfg.Pace, e.cfg.Output, func() { e.reset(p) })
	e.peers[a] = p
	e.order = append(e.order, p)
	return p, nil
}

// newInstance numbers the channels of this session upwards, never 0.
func (e *Endpoint) newInstance() uint32 {
	if e.instance++; e.instance == 0 {
		e.instance++
	}
	return e.instance
}

func (e *Endpoint) reset(p *peer) {
	e.count.Resets++
	if e.cfg.Reset != nil {
		e.cfg.Reset(p.addr)
	}
}

// Forget drops the queues and channels of a peer that has left. Its session
// stays known, so that what was recorded of it stays refused. When it is heard
// again it is told to start over.
func (e *Endpoint) Forget(a netip.Addr) {
	p := e.peers[a]
	if p == nil {
		return
	}
	p.control.Restart()
	p.state.Restart()
	p.direct = batch{}
	delete(e.peers, a)
	e.last = nil
	for i := range e.order {
		if e.order[i] == p {
			e.order = append(e.order[:i:i], e.order[i+1:]...)
			break
		}
	}
}

// Unsay ends the repetition of what was sent last (see greet): it was said in a view
// that this node has left, and a peer that asks whether that still holds must not take
// it for the answer. What is queued leaves first.
func (e *Endpoint) Unsay(now int64) {
	e.flushDatagrams(now)
	e.all.last = e.all.last[:0]
	for _, p := range e.order {
		p.direct.last = p.direct.last[:0]
	}
}

// RestartState drops all state messages that are on the way to or from peers:
// this node begins a new life, and what the former one said is void. Peers
// learn it with the next state message and are told through their Reset.
func (e *Endpoint) RestartState() {
	for _, p := range e.order {
		if p.state.Used() {
			p.state.Restart()
		}
	}
}
