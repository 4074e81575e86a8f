package sniff

import (
	"encoding/binary"
	"fmt"

	"cohort/packet"
)

// maxTold bounds the sentences that Tuples keeps; the rest is only counted.
const maxTold = 10

// Tuples judges what arrives at a server behind translation. A tuple is mapped
// address and port, protocol, server address and port; see packet.FlowKey.
//
// A TCP connection lives from its SYN until both sides have said FIN or one
// RST; two initial sequence numbers at once in a tuple are two connections. UDP
// datagrams and echo requests must begin with six bytes that name the client
// and the port or identifier it sent them from, as those of package traffic do:
// whatever one socket exchanges with one server is one connection, though it
// begins again. They have no end: their translations live longer than a test, so
// for them at once is ever.
type Tuples struct {
	TCP, Others int // connections seen
	Reused      int // tuples that a later TCP connection used after the end of an earlier one
	Carried     int // TCP connections of which data arrived

	Duplicates int // a tuple had two connections at once: NT4 is broken
	Moved      int // data of a TCP connection without its SYN, or a client's port in a second tuple
	Told       []string

	tcp    map[packet.FlowKey]*tcpLife
	others map[packet.FlowKey]client
	places map[origin]packet.FlowKey
	p      packet.Packet
}

// tcpLife is the newest connection of a tuple.
type tcpLife struct {
	isn           uint32
	carried, over bool
	fin           [2]bool // of the client, of the server
}

// origin is what a client sends from, and to which server's port.
type origin struct {
	proto  uint8
	server packet.Addr
	port   uint16
	client client
}

// client is the name of a client and its port or identifier.
type client [6]byte

func (c client) String() string {
	return fmt.Sprintf("port %d of client %d", binary.BigEndian.Uint16(c[4:]), binary.BigEndian.Uint32(c[:]))
}

// NewTuples returns one that has seen nothing.
func NewTuples() *Tuples {
	return &Tuples{
		tcp: make(map[packet.FlowKey]*tcpLife), others: make(map[packet.FlowKey]client),
		places: make(map[origin]packet.FlowKey),
	}
}

// See is a visit of a Tap at the server's interface.
func (t *Tuples) See(frame []byte, sent bool) {
	if t.p.Parse(frame) != packet.OK {
		return
	}
	switch {
	case t.p.Proto == packet.ProtoTCP:
		t.segment(sent)
	case sent:
	case t.p.Proto == packet.ProtoUDP, t.p.Proto == packet.ProtoICMP && t.p.ICMPType == packet.ICMPEchoRequest:
		t.datagram()
	}
}

func (t *Tuples) segment(sent bool) {
	k := t.p.Key
	if sent {
		k = k.Reverse()
	}
	life := t.tcp[k]
	const syn, rst, fin, ack = packet.SYN, packet.RST, packet.FIN, packet.ACK
	switch {
	case !sent && t.p.Flags&(syn|ack) == syn:
		t.opened(k, life)
		return
	case life == nil:
		if !sent && t.p.PayloadLen() > 0 {
			t.Moved++
			t.tell("%v carries data without having begun", k)
		}
		return
	}
	if !sent && t.p.PayloadLen() > 0 && !life.carried {
		life.carried = true
		t.Carried++
	}
	from := 0
	if sent {
		from = 1
	}
	life.fin[from] = life.fin[from] || t.p.Flags&fin != 0
	life.over = life.over || t.p.Flags&rst != 0 || life.fin[0] && life.fin[1]
}

// opened is a SYN: the first, the same again, or a second connection's.
func (t *Tuples) opened(k packet.FlowKey, life *tcpLife) {
	switch {
	case life == nil:
	case life.isn == t.p.Seq:
		return
	case life.over:
		t.Reused++
	default:
		t.Duplicates++
		t.tell("%v begins twice: %d and %d", k, life.isn, t.p.Seq)
	}
	t.TCP++
	t.tcp[k] = &tcpLife{isn: t.p.Seq}
}

func (t *Tuples) datagram() {
	payload := t.p.Data[t.p.Payload:t.p.End]
	if len(payload) < len(client{}) {
		return
	}
	k, by := t.p.Key, client(payload[:6])
	if other, known := t.others[k]; !known {
		t.others[k] = by
		t.Others++
	} else if other != by {
		t.Duplicates++
		t.tell("%v is for %v and for %v", k, other, by)
	}
	from := origin{k.Proto, k.Dst, k.DstPort, by}
	if at, known := t.places[from]; !known {
		t.places[from] = k
	} else if at != k {
		t.Moved++
		t.tell("%v was %v and is %v", by, at, k)
	}
}

func (t *Tuples) tell(format string, args ...any) {
	if len(t.Told) < maxTold {
		t.Told = append(t.Told, fmt.Sprintf(format, args...))
	}
}
