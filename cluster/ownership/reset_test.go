package ownership

import (
	"testing"

	"cohort/ccl/wire"
	"cohort/flowtable"
	"cohort/packet"
)

// opened brings a connection to established at node 1, and returns its second key.
func (c *cluster) opened(k packet.FlowKey) (reply packet.FlowKey) {
	c.t.Helper()
	_, v := c.at(1, tcp(k, SYN))
	wantForward(c.t, v)
	c.run(20 * ms)
	reply = c.flow(1, k).Key[1]
	c.goesOn(k, reply)
	c.run(1500 * ms) // a round of ageing
	if s := flowtable.TCPState(c.flow(1, k).State); s != flowtable.TCPEstablished {
		c.t.Fatal(s)
	}
	return reply
}

// goesOn has both sides of a connection send a segment.
func (c *cluster) goesOn(k, reply packet.FlowKey) {
	c.t.Helper()
	for _, p := range []Packet{tcp(reply, SYN|ACK), tcp(k, ACK)} {
		if c.flow(1, k).State >= uint8(flowtable.TCPEstablished) {
			p.Flags = ACK
		}
		_, v := c.at(1, p)
		wantForward(c.t, v)
	}
}

// lives fails unless a connection is there for so long, and no longer, if nobody
// sends anything.
func (c *cluster) livesFor(k packet.FlowKey, seconds int64) {
	c.t.Helper()
	c.run((seconds - 1) * 1000 * ms)
	c.flow(1, k)
	c.run(4000 * ms)
	if c.nodes[1].table.Lookup(k) != 0 {
		c.t.Fatalf("still there %d s after its last packet", seconds+3)
	}
}

// A NAT keeps a connection that was reset for four minutes, in which what the
// receiver of a lost reset sends still comes through (RFC 7857, 2.2). Where there is
// no translation, or no connection yet, or none any more, it ends soon.
func TestNT9_AResetConnectionKeepsItsPortsForFourMinutes(t *testing.T) {
	for _, c := range []struct {
		name    string
		nat     bool
		before  func(c *cluster, k, reply packet.FlowKey)
		seconds int64
	}{
		{"translated", true, nil, 240},
		{"translated, half-closed", true, func(c *cluster, k, _ packet.FlowKey) { c.at(1, tcp(k, FIN|ACK)) }, 240},
		{"translated, closed by both", true, func(c *cluster, k, reply packet.FlowKey) {
			c.at(1, tcp(k, FIN|ACK))
			c.at(1, tcp(reply, FIN|ACK))
		}, 10},
		{"not translated", false, nil, 10},
	} {
		t.Run(c.name, func(t *testing.T) {
			l := newCluster(t, 1, 2)
			if c.nat {
				l = natCluster(t, 1, 2)
			}
			k := inside(1, packet.ProtoTCP)
			reply := l.opened(k)
			if c.before != nil {
				c.before(l, k, reply)
			}
			_, v := l.at(1, tcp(reply, RST))
			wantForward(t, v)
			if s := flowtable.TCPState(l.flow(1, k).State); s != flowtable.TCPClosed {
				t.Fatal(s)
			}
			l.livesFor(k, c.seconds)
		})
	}
}

// The fast path forwards a handshake's last ACK and the reset after it by itself, and
// Go hears of both at once.
func TestNT9_AShortConnectionThatIsResetKeepsItsPortsToo(t *testing.T) {
	c := natCluster(t, 1, 2)
	k := inside(1, packet.ProtoTCP)
	c.at(1, tcp(k, SYN))
	c.run(20 * ms)
	reply := c.flow(1, k).Key[1]
	c.at(1, tcp(reply, SYN|ACK))
	f := c.flow(1, k)
	f.Sent(0, ACK, 100, 100, 1000)
	f.Sent(1, RST, 100, 0, 0)
	c.run(1500 * ms)
	c.livesFor(k, 239)

	// But a connection that is refused is none.
	k = inside(2, packet.ProtoTCP)
	c.at(1, tcp(k, SYN))
	c.run(20 * ms)
	refusal := tcp(c.flow(1, k).Key[1], RST|ACK)
	_, v := c.at(1, refusal)
	wantForward(t, v)
	c.livesFor(k, 10)
}

// Traffic of both sides after a reset tells that it did not end the connection: it is
// established again, on the slow path and on the fast one. Traffic of one side, or
// with another reset, only starts the four minutes anew.
func TestNT9_AConnectionThatGoesOnAfterAResetIsEstablishedAgain(t *testing.T) {
	for _, fast := range []bool{false, true} {
		c := natCluster(t, 1, 2)
		k := inside(1, packet.ProtoTCP)
		reply := c.opened(k)
		send := func(key packet.FlowKey, flags uint8) {
			t.Helper()
			if fast {
				d := 0
				if key == reply {
					d = 1
				}
				c.flow(1, k).Sent(d, flags, 100, 100, 1000)
				c.flow(1, k).Account(d, c.nodes[1].core.tick(), 60)
				return
			}
			_, v := c.at(1, tcp(key, flags))
			wantForward(t, v)
		}
		want := func(s flowtable.TCPState, timeout uint16) {
			t.Helper()
			c.run(1500 * ms)
			if f := c.flow(1, k); flowtable.TCPState(f.State) != s || f.Timeout != timeout {
				t.Fatalf("fast %v: %v with %d s, want %v with %d", fast, flowtable.TCPState(f.State), f.Timeout, s, timeout)
			}
		}
		send(reply, RST)
		want(flowtable.TCPClosed, 240)
		send(k, ACK) // it has not heard of it
		send(k, ACK)
		want(flowtable.TCPClosed, 240)
		send(reply, RST)
		want(flowtable.TCPClosed, 240)
		send(k, ACK)
		send(reply, RST)
		want(flowtable.TCPClosed, 240)
		send(reply, ACK) // reordered
		want(flowtable.TCPClosed, 240)
		send(k, ACK)
		want(flowtable.TCPEstablished, 7440)
		c.run(300_000 * ms)
		want(flowtable.TCPEstablished, 7440)
	}
}

// Who takes over from a dead owner keeps what was reset no longer than it would have.
func TestNT9_ACopyKnowsThatTheConnectionWasReset(t *testing.T) {
	c := natCluster(t, 1, 2, 3)
	k := inside(1, packet.ProtoTCP)
	reply := c.opened(k)
	c.at(1, tcp(reply, RST))
	c.run(20 * ms)
	c.kill(1)
	c.apply(1, 2, 2, 3)
	c.run(5000 * ms)
	back := tcp(reply, RST)
	_, v := c.at(2, back) // once more: it was lost with the owner
	wantForward(t, v)
	owner := c.oneOwner(k)
	if f := c.flow(owner, k); f.State != uint8(flowtable.TCPClosed) || f.Timeout != 240 || f.Key[1] != reply {
		t.Fatalf("%v, %d s", flowtable.TCPState(f.State), f.Timeout)
	}
	c.run(244_000 * ms)
	for _, id := range []wire.NodeID{2, 3} {
		if c.nodes[id].table.Lookup(k) != 0 {
			t.Fatal("still there")
		}
	}
	c.wantNoUse()
}

// A reset has to be credible before and after: what is forged blindly changes nothing
// (RFC 5961, RFC 7857, 2.2).
func TestNT9_AForgedResetChangesNothing(t *testing.T) {
	c := natCluster(t, 1, 2)
	k := inside(1, packet.ProtoTCP)
	reply := c.opened(k)
	forged := tcp(reply, RST)
	forged.Seq = 1 << 30
	_, v := c.at(1, forged)
	wantDrop(t, v, ReasonRSTWindow)
	if s := flowtable.TCPState(c.flow(1, k).State); s != flowtable.TCPEstablished {
		t.Fatal(s)
	}
	c.at(1, tcp(reply, RST))
	c.goesOn(k, reply)
	forged.Seq = 1 << 30
	_, v = c.at(1, forged) // before ageing has seen that they go on
	wantDrop(t, v, ReasonRSTWindow)
	c.run(1500 * ms)
	if s := flowtable.TCPState(c.flow(1, k).State); s != flowtable.TCPEstablished {
		t.Fatal(s)
	}
}
