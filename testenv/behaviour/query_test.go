package behaviour

import (
	"encoding/binary"
	"errors"
	"net"
	"net/netip"
	"os"
	"sync"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"cohort/packet"
	"cohort/testenv/topology"
)

// ICMP queries other than echo, each with what follows its sequence number. The
// kernel answers timestamps; the others are obsolete (RFC 6918), and who serves them
// answers.
var icmpQueries = map[string]struct {
	icmpType uint8 // the response's is one more
	body     []byte
}{
	"timestamp":   {packet.ICMPTimestamp, make([]byte, 12)},
	"information": {packet.ICMPInformation, nil},
	"mask":        {packet.ICMPMask, make([]byte, 4)},
}

// queriesOfAllKinds asks through every kind of rule, and both ways where the
// outside may ask (RFC 5508, REQ-1).
func queriesOfAllKinds(t *testing.T, s *site) {
	server, known, static, own := answerQueries(t, s.server), answerQueries(t, s.known), answerQueries(t, s.static), answerQueries(t, s.own)
	_, direct := seen(t, s.own, "udp", serveMirror(t, s.server, 9003).at)
	seq := uint16(1000) // no two questions have one
	for name, c := range map[string]struct {
		from *topology.Host
		to   netip.Addr
		at   *oracle
		as   netip.Addr
		kept bool // the identifier
	}{
		"port pool":           {s.plain, s.server.Addr, server, egress, false},
		"static":              {s.static, s.server.Addr, server, netip.MustParseAddr("203.0.113.80"), true},
		"one-to-one":          {s.own, s.server.Addr, server, direct.Addr(), true},
		"not translated":      {s.plain, s.known.Addr, known, s.plain.Addr, true},
		"static, inward":      {s.server, netip.MustParseAddr("203.0.113.80"), static, s.server.Addr, true},
		"one-to-one, inward":  {s.server, direct.Addr(), own, s.server.Addr, true},
		"hairpin, one-to-one": {s.plain, direct.Addr(), own, egress, false},
		"hairpin, static":     {s.plain, netip.MustParseAddr("203.0.113.80"), static, egress, false},
	} {
		for kind := range icmpQueries {
			q := openQuery(t, c.from, kind, 700)
			for i := range uint16(3) { // the first is Go's, the others are not
				q.ask(t, c.to, seq+i)
			}
			as, ids := c.at.heard(t, q.icmpType, seq, 3)
			seq += 3
			if len(as) != 1 || !as[c.as] {
				t.Errorf("%s, %s: seen as %v, want %v", name, kind, as, c.as)
			}
			if len(ids) != 1 || ids[700] != c.kept {
				t.Errorf("%s, %s: seen with the identifiers %v, 700 kept: %v", name, kind, ids, c.kept)
			}
		}
	}
	sameIdentifier(t, s, server)
	errorAboutAQuery(t, s)
	nobodyAsked(t, s)
}

// sameIdentifier has two hosts behind one address ask one server at the same moment
// with one identifier: each gets the answers to its own questions.
func sameIdentifier(t *testing.T, s *site, server *oracle) {
	for kind := range icmpQueries {
		a, b := openQuery(t, s.plain, kind, 701), openQuery(t, s.forward, kind, 701)
		for seq := range uint16(5) {
			a.send(t, s.server.Addr, 100+seq)
			b.send(t, s.server.Addr, 105+seq)
		}
		for q, first := range map[*query]uint16{a: 100, b: 105} {
			for seq := range uint16(5) {
				q.ask(t, s.server.Addr, first+seq)
			}
			for _, got := range q.strange {
				if got < first || got >= first+5 {
					t.Errorf("%s: the asker of %d got the answer to %d", kind, first, got)
				}
			}
		}
		if as, ids := server.heard(t, a.icmpType, 100, 10); len(as) != 1 || !as[egress] || len(ids) != 2 {
			t.Errorf("%s: the server saw %v with the identifiers %v, want one address and two", kind, as, ids)
		}
	}
}

// errorAboutAQuery lets a query end at the router outside: its error quotes the
// query as the asker sent it.
func errorAboutAQuery(t *testing.T, s *site) {
	for kind := range icmpQueries {
		q := openQuery(t, s.plain, kind, 702)
		q.ttl(t, 3)
		q.send(t, s.server.Addr, 9)
		for {
			from, m, err := q.receive(10 * time.Second)
			if err != nil {
				t.Fatalf("no error about a %s query: %v", kind, err)
			}
			if m[0] != packet.ICMPTimeExceeded {
				continue
			}
			var p packet.Packet
			if r := p.ParseIP(m, packet.ICMPLen); r != packet.OK && r != packet.RejectTotalLen {
				t.Fatalf("%s: quoted %x: %v", kind, m, r)
			}
			want := packet.FlowKey{Src: packet.AddrFrom(s.plain.Addr), Dst: packet.AddrFrom(s.server.Addr), SrcPort: 702, Proto: packet.ProtoICMP}
			if p.Key != want || p.ICMPType != q.icmpType || from != netip.MustParseAddr("198.51.100.250") {
				t.Errorf("%s: %v quotes %v of type %d, want %v", kind, from, p.Key, p.ICMPType, want)
			}
			if packet.Checksum(m) != 0 || packet.Checksum(p.Data[p.L4:p.End]) != 0 {
				t.Errorf("%s: the checksums of %x are wrong", kind, m)
			}
			break
		}
	}
}

// nobodyAsked sends responses from outside to an address of NAT, from a host of
// which that address has never asked anything: they are dropped by name.
func nobodyAsked(t *testing.T, s *site) {
	before := counter(t, s.Topology, "slow_no_connection")
	sent := uint64(0)
	for kind := range icmpQueries {
		q := openQuery(t, s.known, kind, 40000)
		q.icmpType++ // it answers
		for seq := range uint16(3) {
			q.send(t, egress, seq)
			sent++
		}
	}
	eventually(t, "responses that nobody asked for are counted", func() bool {
		return counter(t, s.Topology, "slow_no_connection") >= before+sent
	})
}

// query asks with one identifier.
type query struct {
	*net.IPConn
	icmpType uint8
	id       uint16
	body     []byte
	strange  []uint16 // sequence numbers of answers that nobody waited for
}

func openQuery(t *testing.T, h *topology.Host, kind string, id uint16) *query {
	t.Helper()
	return &query{IPConn: rawICMP(t, h), icmpType: icmpQueries[kind].icmpType, id: id, body: icmpQueries[kind].body}
}

func rawICMP(t *testing.T, h *topology.Host) *net.IPConn {
	t.Helper()
	c, err := h.Namespace.ListenPacket("ip4:icmp", h.Addr.String())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	return c.(*net.IPConn)
}

// ttl is what the queries from now on start with.
func (q *query) ttl(t *testing.T, n int) {
	t.Helper()
	raw, err := q.SyscallConn()
	if err != nil {
		t.Fatal(err)
	}
	if e := raw.Control(func(fd uintptr) { err = unix.SetsockoptInt(int(fd), syscall.IPPROTO_IP, syscall.IP_TTL, n) }); e != nil || err != nil {
		t.Fatal(e, err)
	}
}

func (q *query) send(t *testing.T, to netip.Addr, seq uint16) {
	t.Helper()
	if _, err := q.WriteToIP(message(q.icmpType, q.id, seq, q.body), &net.IPAddr{IP: to.AsSlice()}); err != nil {
		t.Fatal(err)
	}
}

// message is an ICMP message with an identifier.
func message(icmpType uint8, id, seq uint16, body []byte) []byte {
	b := []byte{icmpType, 0, 0, 0}
	b = binary.BigEndian.AppendUint16(b, id)
	b = binary.BigEndian.AppendUint16(b, seq)
	b = append(b, body...)
	binary.BigEndian.PutUint16(b[2:], packet.Checksum(b))
	return b
}

// ask waits for the response to a query, which it sends up to five times.
func (q *query) ask(t *testing.T, to netip.Addr, seq uint16) {
	t.Helper()
	var err error
	for range 5 {
		q.send(t, to, seq)
		if err = q.answer(to, seq, 2*time.Second); !errors.Is(err, os.ErrDeadlineExceeded) {
			break
		}
	}
	if err != nil {
		t.Fatalf("type %d from %v to %v: %v (RFC 5508, REQ-1)", q.icmpType, q.LocalAddr(), to, err)
	}
}

func (q *query) answer(to netip.Addr, seq uint16, patience time.Duration) error {
	for until := time.Now().Add(patience); ; {
		from, m, err := q.receive(time.Until(until))
		if err != nil {
			return err
		}
		if m[0] != q.icmpType+1 || binary.BigEndian.Uint16(m[4:]) != q.id || from != to {
			continue
		}
		switch got := binary.BigEndian.Uint16(m[6:]); {
		case packet.Checksum(m) != 0 || len(m) < packet.ICMPLen+len(q.body):
			return errors.New("a damaged answer")
		case got != seq:
			q.strange = append(q.strange, got)
		default:
			return nil
		}
	}
}

// receive returns the next ICMP message to the host.
func (q *query) receive(patience time.Duration) (from netip.Addr, m []byte, err error) {
	b := make([]byte, 1500)
	q.SetReadDeadline(time.Now().Add(patience))
	n, a, err := q.ReadFromIP(b)
	if err != nil || n < packet.ICMPLen {
		return from, b[:packet.ICMPLen], err
	}
	from, _ = netip.AddrFromSlice(a.IP)
	return from.Unmap(), b[:n], nil
}

// oracle answers the queries to a host that its kernel does not, and remembers who
// asked.
type oracle struct {
	running sync.WaitGroup
	mu      sync.Mutex // guards all
	all     map[asked]bool
}

// asked is one query as it arrived.
type asked struct {
	icmpType uint8
	from     netip.Addr
	id, seq  uint16
}

func answerQueries(t *testing.T, h *topology.Host) *oracle {
	t.Helper()
	o := &oracle{all: make(map[asked]bool)}
	c := rawICMP(t, h)
	o.running.Go(func() { o.serve(c) })
	t.Cleanup(func() { c.Close(); o.running.Wait() })
	return o
}

func (o *oracle) serve(c *net.IPConn) {
	b := make([]byte, 1500)
	for {
		n, from, err := c.ReadFromIP(b)
		if errors.Is(err, net.ErrClosed) {
			return
		}
		if err != nil || n < packet.ICMPLen || packet.Checksum(b[:n]) != 0 {
			continue
		}
		q := asked{icmpType: b[0], id: binary.BigEndian.Uint16(b[4:]), seq: binary.BigEndian.Uint16(b[6:])}
		q.from, _ = netip.AddrFromSlice(from.IP)
		q.from = q.from.Unmap()
		o.mu.Lock()
		o.all[q] = true
		o.mu.Unlock()
		if q.icmpType == packet.ICMPInformation || q.icmpType == packet.ICMPMask {
			c.WriteToIP(message(q.icmpType+1, q.id, q.seq, b[packet.ICMPLen:n]), from)
		}
	}
}

// heard waits for n queries of a type, with sequence numbers from first on, and
// returns who has asked them and with which identifiers. They have been answered:
// the kernel may do so before the oracle hears of it.
func (o *oracle) heard(t *testing.T, icmpType uint8, first uint16, n int) (from map[netip.Addr]bool, ids map[uint16]bool) {
	t.Helper()
	eventually(t, "the queries that were answered are heard", func() bool {
		from, ids = make(map[netip.Addr]bool), make(map[uint16]bool)
		count := 0
		o.mu.Lock()
		defer o.mu.Unlock()
		for q := range o.all {
			if q.icmpType == icmpType && q.seq >= first && int(q.seq) < int(first)+n {
				count++
				from[q.from], ids[q.id] = true, true
			}
		}
		return count >= n
	})
	return from, ids
}
