package scenario

import (
	"encoding/binary"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"sync"
	"testing"
	"time"

	"cohort/testenv/netns"
)

// voices are UDP flows that say who they are in every datagram, so that who hears
// one behind a translation knows whose port it was sent with.
type voices struct {
	hear   *net.UDPConn
	every  time.Duration
	all    []*voice
	hearts sync.WaitGroup

	mu      sync.Mutex // guards what follows
	speaker map[netip.AddrPort]uint32
	former  map[netip.AddrPort]map[uint32]bool // who had the port before
	usurped []string                           // NT4
	reused  int                                // ports that went from one flow to another
}

// voice is one flow.
type voice struct {
	id     uint32
	conn   *net.UDPConn
	stop   chan struct{}
	done   sync.WaitGroup
	mu     sync.Mutex // guards what follows
	sent   uint64
	heard  uint64
	wrong  int // answers to another flow
	newest time.Time
}

// listen serves what voices say, by echoing it.
func listen(t *testing.T, server *netns.Namespace, at netip.AddrPort, every time.Duration) *voices {
	t.Helper()
	c, err := server.ListenPacket("udp4", at.String())
	must(t, err)
	v := &voices{hear: c.(*net.UDPConn), every: every, speaker: map[netip.AddrPort]uint32{}, former: map[netip.AddrPort]map[uint32]bool{}}
	v.hearts.Go(v.serve)
	t.Cleanup(func() {
		for _, one := range v.all {
			one.silence()
		}
		c.Close()
		v.hearts.Wait()
	})
	return v
}

func (v *voices) serve() {
	b := make([]byte, 64)
	for {
		n, from, err := v.hear.ReadFromUDPAddrPort(b)
		if err != nil {
			return // closed
		}
		if n == 12 {
			v.note(from, binary.BigEndian.Uint32(b))
		}
		_, _ = v.hear.WriteToUDPAddrPort(b[:n], from) // who is gone hears nothing
	}
}

// note checks that nobody speaks with a port that has become another's.
func (v *voices) note(from netip.AddrPort, id uint32) {
	v.mu.Lock()
	defer v.mu.Unlock()
	was, known := v.speaker[from]
	if known && was == id {
		return
	}
	if v.former[from][id] {
		v.usurped = append(v.usurped, fmt.Sprintf("%v: flow %d speaks again after flow %d got its port", from, id, was))
	}
	if known {
		v.reused++
		if v.former[from] == nil {
			v.former[from] = map[uint32]bool{}
		}
		v.former[from][was] = true
	}
	v.speaker[from] = id
}

// begin lets so many flows more speak.
func (v *voices) begin(t *testing.T, client *netns.Namespace, to netip.AddrPort, n int) (begun []*voice) {
	t.Helper()
	for range n {
		c, err := client.DialUDP(to)
		must(t, err)
		one := &voice{id: uint32(len(v.all) + 1), conn: c, stop: make(chan struct{})}
		one.done.Go(func() { one.speak(v.every) })
		one.done.Go(one.listen)
		v.all, begun = append(v.all, one), append(begun, one)
	}
	return begun
}

func (o *voice) speak(every time.Duration) {
	tick := time.NewTicker(every)
	defer tick.Stop()
	b := make([]byte, 12)
	binary.BigEndian.PutUint32(b, o.id)
	for {
		select {
		case <-o.stop:
			return
		case <-tick.C:
		}
		o.mu.Lock()
		o.sent++
		binary.BigEndian.PutUint64(b[4:], o.sent)
		o.mu.Unlock()
		_, _ = o.conn.Write(b) // what is lost is missed by who counts the answers
	}
}

func (o *voice) listen() {
	b := make([]byte, 64)
	for {
		n, err := o.conn.Read(b)
		if errors.Is(err, net.ErrClosed) {
			return
		}
		if err != nil {
			continue // an ICMP error about what was sent before
		}
		o.mu.Lock()
		if n != 12 || binary.BigEndian.Uint32(b) != o.id {
			o.wrong++
		}
		o.heard, o.newest = o.heard+1, time.Now()
		o.mu.Unlock()
	}
}

// silence ends a flow. Idempotent.
func (o *voice) silence() {
	select {
	case <-o.stop:
	default:
		close(o.stop)
	}
	o.conn.Close()
	o.done.Wait()
}

func (o *voice) counts() (sent, heard uint64, wrong int, newest time.Time) {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.sent, o.heard, o.wrong, o.newest
}

// wantOwnPorts fails if any datagram left with a port that was another flow's by
// then, or an answer came to another flow (NT4). It returns how many ports changed
// hands.
func (v *voices) wantOwnPorts(t *testing.T) (reused int) {
	t.Helper()
	v.mu.Lock()
	defer v.mu.Unlock()
	for _, s := range v.usurped {
		t.Error(s)
	}
	for _, o := range v.all {
		if _, _, wrong, _ := o.counts(); wrong != 0 {
			t.Errorf("flow %d heard %d answers that were another's", o.id, wrong)
		}
	}
	return v.reused
}
