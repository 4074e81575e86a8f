package campaign

import (
	"encoding/binary"
	"errors"
	"fmt"
	"net/netip"
	"sync"
	"time"

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
// apart by their initial sequence numbers, which translation keeps; UDP
// exchanges by the first eight bytes of their content, as Openers make them.
type Paths struct {
	taps []*sniff.Tap
	mu   sync.Mutex // guards what follows
	by   map[uint64]*Path
	from map[end][]*Path // in order of time
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
	p := &Paths{by: make(map[uint64]*Path), from: make(map[end][]*Path)}
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
	if x := p.path(key); x.In == 0 {
		x.In, x.Source = node, netip.AddrPortFrom(pkt.Key.Src.Netip(), pkt.Key.SrcPort)
		e := end{pkt.Proto, x.Source}
		p.from[e] = append(p.from[e], x)
	}
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

// TCP returns the path of the connection with an initial sequence number.
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
	for _, x := range p.by {
		visit(*x)
	}
}
