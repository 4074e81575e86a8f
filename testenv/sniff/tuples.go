package sniff

import (
	"encoding/binary"
	"fmt"
	"time"

	"cohort/cluster/sequence"
	"cohort/packet"
)

// maxTold bounds the sentences that Tuples keeps of each kind; the rest is only
// counted.
const maxTold = 10

// maxDoubles bounds Doubles.
const maxDoubles = 10_000

// Tuples judges what arrives at a server behind translation. A tuple is mapped
// address and port, protocol, server address and port; see packet.FlowKey.
//
// A TCP connection lives from its SYN until both sides have said FIN or one
// RST; two initial sequence numbers at once in a tuple are two connections, unless
// Sequences says that two nodes may have given them to one SYN (FR14). UDP
// datagrams and echo requests must begin with six bytes that name the client
// and the port or identifier it sent them from, as those of package traffic do:
// whatever one socket exchanges with one server is one connection, though it
// begins again.
//
// What has not ended lives for ever, unless Quiet says that the cluster forgets
// it: endpoints that cannot reach each other leave such connections behind.
type Tuples struct {
	Quiet Quiet            // may be set before the first packet
	Now   func() time.Time // the clock of Quiet

	// Sequences are the numbers that the nodes give initiators (FR5), nil where these
	// keep their own. May be set before the first packet.
	Sequences *sequence.Space

	TCP, Others int // connections seen
	Reused      int // tuples that a later TCP connection used after the end of an earlier one
	Carried     int // TCP connections of which data arrived

	Duplicates int // a tuple had two connections at once: NT4 is broken
	Moved      int // data of a TCP connection without its SYN, or a client's port in a second tuple
	Told       []string
	Doubles    []Double // the first of Duplicates, for who knows more of them

	tcp    map[packet.FlowKey]*tcpLife
	others map[packet.FlowKey]*otherLife
	places map[origin]packet.FlowKey
	p      packet.Packet
}

// Quiet is how long a connection that has not ended counts as living after the
// newest packet that reached the server: what the cluster's own time-outs are, or
// less. 0 is for ever.
type Quiet struct {
	Opening   time.Duration // TCP, of which the server has seen a SYN only
	Open      time.Duration // TCP
	Closing   time.Duration // TCP, after a FIN of one side
	Datagrams time.Duration
}

// Double is a tuple that had two connections at once.
type Double struct {
	Key           packet.FlowKey
	First, Second uint32        // initial sequence numbers, of TCP
	Quiet         time.Duration // of the first, when the second began
}

// tcpLife is the newest connection of a tuple.
type tcpLife struct {
	isn                  uint32
	acked, carried, over bool
	fin                  [2]bool   // of the client, of the server
	last                 time.Time // newest packet that reached the server
}

// quiet is how long the connection lives from last on; 0 is for ever.
func (l *tcpLife) quiet(q *Quiet) time.Duration {
	switch {
	case l.fin[0] || l.fin[1]:
		return q.Closing
	case l.acked:
		return q.Open
	}
	return q.Opening
}

// otherLife is who used a tuple last, and when.
type otherLife struct {
	by   client
	last time.Time
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
		Now: time.Now,
		tcp: make(map[packet.FlowKey]*tcpLife), others: make(map[packet.FlowKey]*otherLife),
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
			t.moved("%v carries data without having begun", k)
		}
		return
	}
	if !sent {
		life.last = t.Now()
		life.acked = life.acked || t.p.Flags&ack != 0
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
	now := t.Now()
	switch {
	case life == nil:
	case life.isn == t.p.Seq || t.again(k, life.isn, t.p.Seq):
		life.last = now
		return
	case life.over || past(now, life.last, life.quiet(&t.Quiet)):
		t.Reused++
	default:
		t.double(Double{k, life.isn, t.p.Seq, now.Sub(life.last)}, "%v begins twice: %d (acknowledged %v, data %v, FIN %v, last %v ago) and %d",
			k, life.isn, life.acked, life.carried, life.fin, now.Sub(life.last), t.p.Seq)
	}
	t.TCP++
	t.tcp[k] = &tcpLife{isn: t.p.Seq, last: now}
}

// again reports whether two numbers of a tuple are of one SYN that two nodes sent on.
func (t *Tuples) again(k packet.FlowKey, first, second uint32) bool {
	if t.Sequences == nil {
		return false
	}
	a, ok := t.Sequences.Upper(k.Reverse(), first)
	b, too := t.Sequences.Upper(k.Reverse(), second)
	return ok && too && a == b
}

// past reports whether something that was heard of last has been quiet for long.
func past(now, last time.Time, quiet time.Duration) bool {
	return quiet > 0 && now.Sub(last) > quiet
}

func (t *Tuples) datagram() {
	payload := t.p.Data[t.p.Payload:t.p.End]
	if len(payload) < len(client{}) {
		return
	}
	k, by, now := t.p.Key, client(payload[:6]), t.Now()
	switch life := t.others[k]; {
	case life == nil:
		t.others[k] = &otherLife{by, now}
		t.Others++
	case life.by == by:
		life.last = now
	case past(now, life.last, t.Quiet.Datagrams):
		*life = otherLife{by, now}
		t.Others++
	default:
		t.double(Double{Key: k, Quiet: now.Sub(life.last)}, "%v is for %v, and %v later for %v", k, life.by, now.Sub(life.last), by)
	}
	from := origin{k.Proto, k.Dst, k.DstPort, by}
	if at, known := t.places[from]; !known {
		t.places[from] = k
	} else if at != k {
		t.moved("%v was %v and is %v", by, at, k)
	}
}

func (t *Tuples) double(d Double, format string, args ...any) {
	if t.Duplicates++; t.Duplicates <= maxDoubles {
		t.Doubles = append(t.Doubles, d)
	}
	if t.Duplicates <= maxTold {
		t.Told = append(t.Told, fmt.Sprintf(format, args...))
	}
}

func (t *Tuples) moved(format string, args ...any) {
	if t.Moved++; t.Moved <= maxTold {
		t.Told = append(t.Told, fmt.Sprintf(format, args...))
	}
}
