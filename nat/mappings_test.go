package nat

import (
	"testing"
	"time"

	"cohort/packet"
)

// mapping is the request of an endpoint-independent mapping.
func mapping(proto uint8, host byte, port uint16) Request {
	q := to(proto, host, port, "0.0.0.0", 0)
	q.Exclusive = true
	return q
}

func TestRFC4787_MappingHasItsPortAlone(t *testing.T) {
	w := newWorld(t, time.Minute, portPool("egress", 1))
	w.SetHeld(0, true)
	k := w.must(tcp(9, 1030))
	if m := w.must(mapping(packet.ProtoTCP, 1, 1030)); m.DstPort == k.DstPort {
		t.Error("a mapping got a port that a connection uses")
	}
	m := w.must(mapping(packet.ProtoTCP, 1, 1040))
	if m.DstPort != 1040 {
		t.Errorf("port not preserved: %d", m.DstPort)
	}
	for host := range 60 { // whatever is asked, nobody else gets the port
		for _, server := range []string{"192.0.2.1", "192.0.2.2", "192.0.2.3"} {
			if k := w.must(to(packet.ProtoTCP, byte(host), 1040, server, 443)); k.DstPort == 1040 {
				t.Fatalf("%s has the mapping's port", k)
			}
		}
	}
	if u := w.must(to(packet.ProtoUDP, 1, 1040, "192.0.2.1", 53)); u.DstPort != 1040 {
		t.Errorf("UDP ports are others than TCP's: %d", u.DstPort)
	}
	// Connections of the mapping use the port too, and may outlive it.
	own := ReplyKey(tcp(1, 1040).To, m.Dst, m.DstPort)
	w.Use(own)
	w.close(m, true)
	if got := w.must(to(packet.ProtoTCP, 7, 1040, "192.0.2.77", 443)); got.DstPort == 1040 {
		t.Error("the mapping spoke with any remote: its port is in hold-down for all")
	}
	w.now += 60 * second
	if got := w.must(mapping(packet.ProtoTCP, 8, 1040)); got.DstPort == 1040 {
		t.Error("a mapping got a port with a connection")
	}
	w.close(own, false)
	if got := w.must(to(packet.ProtoTCP, 7, 1040, "192.0.2.77", 443)); got.DstPort != 1040 {
		t.Errorf("after hold-down the port is free, got %d", got.DstPort)
	}
}

// A mapping lets any remote in, or may: a port that a connection gave up is not its own
// before that has rested, whichever remote it was with. Late packets of that connection
// would be the new host's (RFC 6888, REQ-8).
func TestRFC6888_AMappingGetsNoPortThatRests(t *testing.T) {
	for name, p := range map[string]Pool{"shared": portPool("egress", 1), "of hosts": {
		Name: "egress", Addresses: portPool("egress", 1).Addresses, BlockSize: 512, MaxBlocksPerHost: 2,
	}} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t, time.Minute, p)
			w.SetHeld(0, true)
			w.AssignHost(0, packet.Addr{10, 0, 0, 1})
			was := w.must(to(packet.ProtoUDP, 1, 1040, "192.0.2.77", 53))
			w.close(was, true)
			never := w.must(to(packet.ProtoUDP, 1, 1041, "192.0.2.77", 53))
			w.close(never, false)
			again := func(want bool) {
				t.Helper()
				m := w.must(mapping(packet.ProtoUDP, 1, was.DstPort))
				if (m.DstPort == was.DstPort) != want {
					t.Errorf("a mapping has port %d, and %d rests", m.DstPort, was.DstPort)
				}
				w.close(m, false)
			}
			again(false)
			if m := w.must(mapping(packet.ProtoUDP, 1, never.DstPort)); m.DstPort != never.DstPort {
				t.Errorf("port %d does not rest, and a mapping has %d", never.DstPort, m.DstPort)
			} else {
				w.close(m, false)
			}
			// From the first mapping on, ports are watched as they are given up.
			late := w.must(to(packet.ProtoUDP, 1, 1050, "192.0.2.78", 53))
			w.now += 30 * second
			w.close(late, true)
			if m := w.must(mapping(packet.ProtoUDP, 1, late.DstPort)); m.DstPort == late.DstPort {
				t.Error("a mapping got a port that has just been given up")
			} else {
				w.close(m, false)
			}
			again(false)
			g := w.g // under other numbers, too
			w.Recut(g, time.Minute, 0)
			w.SetHeld(0, true)
			w.AssignHost(0, packet.Addr{10, 0, 0, 1})
			again(false)
			if k := w.must(to(packet.ProtoUDP, 1, was.DstPort, "192.0.2.79", 53)); k.DstPort != was.DstPort {
				t.Errorf("a connection with another remote may have port %d at once (REQ-8 c), got %d", was.DstPort, k.DstPort)
			} else {
				w.close(k, false)
			}
			w.now += 30*second + second/100
			again(true)
		})
	}
}

func TestMappingsFindTheLastUnusedPort(t *testing.T) {
	w := newWorld(t, 0, portPool("egress", 1))
	w.SetHeld(0, true)
	for i := range 512 {
		w.must(mapping(packet.ProtoUDP, byte(i), uint16(i)))
	}
	for range 3 {
		if _, result := w.open(mapping(packet.ProtoUDP, 1, 80)); result != Short {
			t.Fatalf("513 mappings in 512 ports: %s", result)
		}
		if _, result := w.open(to(packet.ProtoUDP, 1, 1024, "192.0.2.1", 53)); result != Short {
			t.Fatalf("a connection shares a mapping's port: %s", result)
		}
	}
}
