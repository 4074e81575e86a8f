package nat

import (
	"math/rand/v2"
	"testing"
	"time"

	"cohort/packet"
)

const second = int64(time.Second)

// world is a Ports with a flow table beside it: the keys in use.
type world struct {
	*Ports
	t    testing.TB
	live map[packet.FlowKey]bool
	now  int64
}

func newWorld(t testing.TB, holdDown time.Duration, pools ...Pool) *world {
	t.Helper()
	return &world{
		Ports: NewPorts(geometry(t, pools...), holdDown, rand.New(rand.NewPCG(1, 2))),
		t:     t, live: map[packet.FlowKey]bool{}, now: 1000 * second,
	}
}

func (w *world) holdAll() *world {
	for u := range w.g.Units() {
		w.SetHeld(u, true)
	}
	return w
}

func (w *world) taken(k packet.FlowKey) bool { return w.live[k] }

// open allocates and uses; it fails the test if the answer breaks a promise.
func (w *world) open(q Request) (packet.FlowKey, Result) {
	w.t.Helper()
	a, port, result := w.Allocate(w.now, q, w.taken)
	if result != Allocated {
		return packet.FlowKey{}, result
	}
	k1 := ReplyKey(q.To, a, port)
	unit, ok := w.g.UnitOf(k1)
	switch {
	case !ok:
		w.t.Fatalf("%s: not a port of the pool", k1)
	case !w.Held(unit):
		w.t.Fatalf("%s lies in unit %d, which is not held", k1, unit)
	case w.live[k1]:
		w.t.Fatalf("%s is given out twice (NT4)", k1)
	}
	w.live[k1] = true
	w.Use(k1)
	return k1, Allocated
}

// must is open for requests that have to succeed.
func (w *world) must(q Request) packet.FlowKey {
	w.t.Helper()
	k1, result := w.open(q)
	if result != Allocated {
		w.t.Fatalf("%s: %s", q.To, result)
	}
	return k1
}

func (w *world) close(k1 packet.FlowKey, hold bool) {
	delete(w.live, k1)
	w.Release(w.now, k1, hold)
}

// to is a connection from 10.0.0.host to a server.
func to(proto uint8, host byte, port uint16, server string, dst uint16) Request {
	k := packet.FlowKey{Src: packet.Addr{10, 0, 0, host}, Dst: ip(server), SrcPort: port, DstPort: dst, Proto: proto}
	return Request{Host: k.Src, To: k, Prefer: port}
}

func tcp(host byte, port uint16) Request { return to(packet.ProtoTCP, host, port, "192.0.2.1", 80) }
