package campaign

import (
	"encoding/binary"
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"sync"
	"time"

	"cohort/cluster/sequence"
	"cohort/packet"
	"cohort/testenv/sniff"
	"cohort/testenv/topology"
)

// Path is which nodes the first packets of a connection met, as the two routers
// saw them: nodes by number, 0 = none. With ECMP all its packets meet the same.
type Path struct {
	In     int            // got the first packet from the client's router
	Out    int            // sent it on, to the server's router: its owner
	Back   int            // got the first answer from the server's router
	Source netip.AddrPort // before translation
	Mapped uint16         // the source port it left with
	Began  time.Time      // when it was seen first
}

// Paths watches the routers' ports towards the nodes. TCP connections are told
// apart by their initial sequence numbers, which translation keeps, or which the nodes
// replace by what can be led back to them (FR5); UDP exchanges by the first eight bytes
// of their content, as Openers make them.
type Paths struct {
	sequences *sequence.Space // nil: initiators keep their numbers
	taps      []*sniff.Tap
	mu        sync.Mutex // guards what follows
	by        map[uint64]*Path
	from      map[end][]*Path    // in order of time
	own       map[uint16][]ends  // initiators' numbers, by the upper half
	given     map[uint16][]given // those of nodes whose initiator's is not seen yet, by the upper half of that
}

// ends is a SYN as its initiator sent it.
type ends struct {
	isn    uint32
	server packet.FlowKey // its destination
	stamp  uint32
	path   *Path
}

// given is a SYN with a number that a node gave its initiator. Of the own one that says
// the upper half only; the rest has to be told by what nodes leave alone: where it goes,
// and its timestamp (RFC 7323), which two connections of one host at one instant share.
type given struct {
	isn   uint32
	reply packet.FlowKey // as the servers' router sends it
	stamp uint32
}

func serverOf(k packet.FlowKey) packet.FlowKey {
	return packet.FlowKey{Dst: k.Dst, DstPort: k.DstPort, Proto: k.Proto}
}

// stampOf returns the timestamp of a segment, 0 if it has none.
func stampOf(pkt *packet.Packet) uint32 {
	const end, nop, timestamps = 0, 1, 8
	for b := pkt.Data[pkt.L4+20 : pkt.Payload]; len(b) > 1 && b[0] != end; {
		switch n := int(b[1]); {
		case b[0] == nop:
			b = b[1:]
		case n < 2 || n > len(b):
			return 0
		case b[0] == timestamps && n == 10:
			return binary.BigEndian.Uint32(b[2:])
		default:
			b = b[n:]
		}
	}
	return 0
}

func newPaths(sequences *sequence.Space) *Paths {
	return &Paths{
		sequences: sequences, by: make(map[uint64]*Path), from: make(map[end][]*Path),
		own: make(map[uint16][]ends), given: make(map[uint16][]given),
	}
}

// end is a client's side of a connection.
type end struct {
	proto  uint8
	source netip.AddrPort
}

// udpMark tells keys of exchanges from sequence numbers.
const udpMark = 1 << 63

// WatchPaths begins to watch.
func WatchPaths(top *topology.Topology) (*Paths, error) {
	sequences, err := top.Sequences()
	if err != nil {
		return nil, err
	}
	p := newPaths(sequences)
	for _, n := range top.Nodes {
		for _, port := range []struct {
			r    *topology.Router
			seen func(node int, pkt *packet.Packet, sent bool)
		}{{top.Inside, p.inside}, {top.Outside, p.outside}} {
			var pkt packet.Packet
			tap, err := sniff.Open(port.r.Namespace, n.Name, func(frame []byte, sent bool) {
				if pkt.Parse(frame) == packet.OK {
					port.seen(n.Index, &pkt, sent)
				}
			})
			if err != nil {
				_, closing := p.Close()
				return nil, errors.Join(err, closing)
			}
			p.taps = append(p.taps, tap)
		}
	}
	return p, nil
}

// Close ends the watch and returns how many frames were missed.
func (p *Paths) Close() (lost uint64, err error) {
	for _, t := range p.taps {
		n, bad := t.Close()
		lost += n
		err = errors.Join(err, bad)
	}
	return lost, err
}

// path returns the connection of a key, made now if need be; mu is held.
func (p *Paths) path(key uint64) *Path {
	x := p.by[key]
	if x == nil {
		x = &Path{Began: time.Now()}
		p.by[key] = x
	}
	return x
}

// inside sees a packet at the clients' router's port to a node.
func (p *Paths) inside(node int, pkt *packet.Packet, sent bool) {
	key, ok := opens(pkt)
	if !sent || !ok {
		return
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	x := p.path(key)
	if x.In == 0 {
		x.In, x.Source = node, netip.AddrPortFrom(pkt.Key.Src.Netip(), pkt.Key.SrcPort)
		e := end{pkt.Proto, x.Source}
		p.from[e] = append(p.from[e], x)
	}
	if pkt.Proto == packet.ProtoTCP && p.sequences != nil {
		p.began(ends{pkt.Seq, serverOf(pkt.Key), stampOf(pkt), x})
	}
}

// began leads what nodes have given the number of e back to it; mu is held.
func (p *Paths) began(e ends) {
	upper := uint16(e.isn >> 16)
	p.own[upper] = append(p.own[upper], e)
	p.given[upper] = slices.DeleteFunc(p.given[upper], func(g given) bool { return p.joins(e, g) })
}

// gave leads a number back to its initiator's, if that has been seen; mu is held.
func (p *Paths) gave(g given) {
	upper, ok := p.sequences.Upper(g.reply, g.isn)
	if !ok || slices.ContainsFunc(p.own[upper], func(e ends) bool { return p.joins(e, g) }) {
		return
	}
	if !slices.Contains(p.given[upper], g) {
		p.given[upper] = append(p.given[upper], g)
	}
}

// joins makes one path of two if a node gave e the number g.
func (p *Paths) joins(e ends, g given) bool {
	node, _ := p.sequences.Owner(g.reply, g.isn)
	if p.sequences.ISN(g.reply, e.isn, node) != g.isn || e.stamp != g.stamp || e.server != serverOf(g.reply.Reverse()) {
		return false
	}
	if x := p.by[uint64(g.isn)]; x != e.path {
		if e.path.Out == 0 {
			e.path.Out, e.path.Mapped = x.Out, x.Mapped
		}
		if e.path.Back == 0 {
			e.path.Back = x.Back
		}
		if x.Began.Before(e.path.Began) {
			e.path.Began = x.Began
		}
		p.by[uint64(g.isn)] = e.path
	}
	return true
}

// outside sees a packet at the servers' router's port to a node.
func (p *Paths) outside(node int, pkt *packet.Packet, sent bool) {
	if sent {
		if key, ok := acknowledges(pkt); ok {
			p.mu.Lock()
			defer p.mu.Unlock()
			if x := p.path(key); x.Back == 0 {
				x.Back = node
			}
		}
		return
	}
	if key, ok := opens(pkt); ok {
		p.mu.Lock()
		defer p.mu.Unlock()
		if x := p.path(key); x.Out == 0 {
			x.Out, x.Mapped = node, pkt.Key.SrcPort
		}
		if pkt.Proto == packet.ProtoTCP && p.sequences != nil {
			p.gave(given{pkt.Seq, pkt.Key.Reverse(), stampOf(pkt)})
		}
	}
}

// opens returns the key of a connection's first packet.
func opens(pkt *packet.Packet) (key uint64, ok bool) {
	switch pkt.Proto {
	case packet.ProtoTCP:
		return uint64(pkt.Seq), pkt.Flags&(packet.SYN|packet.ACK) == packet.SYN
	case packet.ProtoUDP:
		return content(pkt)
	}
	return 0, false
}

// acknowledges returns the key of the connection that an answer to a first packet
// belongs to.
func acknowledges(pkt *packet.Packet) (key uint64, ok bool) {
	switch pkt.Proto {
	case packet.ProtoTCP:
		return uint64(pkt.Ack - 1), pkt.Flags&(packet.SYN|packet.ACK) == packet.SYN|packet.ACK
	case packet.ProtoUDP:
		return content(pkt)
	}
	return 0, false
}

func content(pkt *packet.Packet) (key uint64, ok bool) {
	b := pkt.Data[pkt.Payload:pkt.End]
	if len(b) < 8 {
		return 0, false
	}
	return udpMark | binary.BigEndian.Uint64(b), true
}

// Of returns the path of an opening that has ended; false if no packet of it
// was seen.
func (p *Paths) Of(o *Opening) (Path, bool) {
	e := end{packet.ProtoTCP, o.Source}
	if o.Protocol == "udp" {
		e.proto = packet.ProtoUDP
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	list := p.from[e]
	for i := len(list) - 1; i >= 0; i-- {
		// Taps read a little later than packets pass.
		if x := list[i]; !x.Began.Before(o.Began) && x.Began.Before(o.Ended.Add(time.Second)) {
			return *x, true
		}
	}
	return Path{}, false
}

// TCP returns the path of the connection with an initial sequence number, as one of its
// ends sees it.
func (p *Paths) TCP(isn uint32) (Path, bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	x := p.by[uint64(isn)]
	if x == nil {
		return Path{}, false
	}
	return *x, true
}

func (x Path) String() string {
	return fmt.Sprintf("%v as port %d, began %s: in %d, out %d, back %d", x.Source, x.Mapped, x.Began.Format("04:05.000"), x.In, x.Out, x.Back)
}

// All says what was seen of all TCP connections from a key's client.
func (p *Paths) All(k Key) (all []string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, e := range []netip.AddrPort{k.Low, k.High} {
		for _, x := range p.from[end{packet.ProtoTCP, e}] {
			all = append(all, x.String())
		}
	}
	return all
}

// Each visits all connections seen.
func (p *Paths) Each(visit func(Path)) {
	p.mu.Lock()
	defer p.mu.Unlock()
	seen := make(map[*Path]bool, len(p.by))
	for _, x := range p.by { // by each of its numbers
		if !seen[x] {
			seen[x] = true
			visit(*x)
		}
	}
}
