package ownership

import (
	"math/rand/v2"
	"testing"

	"cohort/ccl/wire"
	"cohort/packet"
)

// nonsense is a message about translated connections that a member may send, sensible or
// not, as far as it can be decoded.
func nonsense(rng *rand.Rand, keys, replies []packet.FlowKey) wire.Message {
	any := func(list []packet.FlowKey) packet.FlowKey {
		k := list[rng.IntN(len(list))]
		if rng.IntN(8) == 0 {
			k = k.Reverse()
		}
		return k
	}
	gen := func() uint32 { return [...]uint32{0, 1, 1, 2, 3, 1 << 31, 1<<32 - 1}[rng.IntN(7)] }
	node := func() wire.NodeID { return [...]wire.NodeID{0, 1, 2, 3, 4, 63, wire.OwnerRetry}[rng.IntN(7)] }
	conn := func() wire.Conn {
		m := wire.Conn{
			Key: any(keys), Gen: gen(), In: uint8(rng.IntN(4)), Out: uint8(rng.IntN(4)), State: uint8(rng.IntN(12)), Flags: uint8(rng.IntN(256)),
			Rule: uint16(rng.IntN(3)), Timeout: uint16(rng.IntN(400)),
		}
		if m.Key.Proto != packet.ProtoTCP && rng.IntN(8) != 0 {
			m.State = 0
		}
		if rng.IntN(4) != 0 {
			m.SetReply(any(replies))
		} else {
			m.SetReply(m.Key.Reverse())
		}
		m.Bound = m.Translated() && rng.IntN(2) == 0
		if m.State != 0 && rng.IntN(4) == 0 {
			m.SeqDelta = rng.Uint32()
		}
		return m
	}
	either := append(append([]packet.FlowKey(nil), keys...), replies...)
	last := wire.LastOwner{ID: wire.NodeID(rng.IntN(5)), Life: uint8(rng.IntN(256))}
	switch rng.IntN(12) {
	case 0:
		return &wire.Claim{Conn: conn(), Reregister: rng.IntN(2) == 0, Serial: rng.Uint32N(40)}
	case 1:
		return &wire.Grant{Conn: conn(), Adopted: rng.IntN(2) == 0}
	case 2:
		return &wire.Redirect{Key: any(either), Owner: node(), Gen: gen()}
	case 3:
		return &wire.Query{Key: any(either)}
	case 4:
		return &wire.Owner{Key: any(either), Owner: node(), Gen: gen()}
	case 5:
		return &wire.Update{Conn: conn(), Last: last}
	case 6:
		return &wire.Close{Key: any(either), Reply: any(either), Gen: gen()}
	case 7:
		return &wire.Gone{Key: any(either)}
	case 8:
		return &wire.Bind{Key: replies[rng.IntN(len(replies))], Conn: any(keys), Gen: gen(), Timeout: uint16(rng.IntN(400)), Flags: uint8(rng.IntN(256)), Last: last}
	case 9:
		return &wire.Alias{Key: any(either), Conn: any(either)}
	case 10:
		return &wire.Granted{Serial: rng.Uint32N(40), Bound: rng.IntN(2) == 0}
	}
	return &wire.Kept{Key: any(either), Gen: gen(), State: uint8(rng.IntN(12))}
}

// Whatever a member says of connections and their second keys, no daemon ends of it, and
// every use of a port is that of something that there is: what leaks would never be given
// out again, and what is released too often would be given out twice (NT4, FR15).
func TestNT4_FR15_AMembersNonsenseLeaksNoPort(t *testing.T) {
	for seed := range uint64(40) {
		rng := rand.New(rand.NewPCG(seed, 13))
		c := natCluster(t, 1, 2, 3)
		for _, n := range c.nodes {
			n.fake.open, n.fake.most, n.fake.joins = seed%2 == 0, 6, seed%4 > 1
		}
		keys := []packet.FlowKey{inside(1, packet.ProtoTCP), inside(2, packet.ProtoTCP), inside(1, packet.ProtoUDP), eim(1), {Src: packet.Addr{10, 1, 0, 1}, SrcPort: 4000, Proto: packet.ProtoUDP}}
		var replies []packet.FlowKey
		for i, k := range keys[:4] {
			for port := range uint16(2) {
				r := k.Reverse()
				r.Dst, r.DstPort = public, 1024*uint16(i+1)+port
				replies = append(replies, r)
			}
		}
		replies = append(replies, packet.FlowKey{Dst: public, DstPort: 4096, Proto: packet.ProtoUDP})
		for range 300 {
			from, to := wire.NodeID(1+rng.IntN(3)), wire.NodeID(1+rng.IntN(3))
			if from == to {
				continue
			}
			c.nodes[to].core.Message(c.now, from, nonsense(rng, keys, replies))
			if rng.IntN(2) == 0 {
				k := keys[rng.IntN(4)]
				p := udp(k)
				if k.Proto == packet.ProtoTCP {
					p = tcp(k, []uint8{SYN, ACK, RST, FIN | ACK}[rng.IntN(4)])
				}
				c.nodes[to].core.Packet(c.now, &p)
			}
			c.run(int64(rng.IntN(40)) * ms / 4)
			if rng.IntN(60) == 0 {
				c.run(int64(rng.IntN(20)) * second) // tombs end, and what is idle
			}
			for id := range c.nodes {
				c.wantBooked(id)
			}
		}
	}
}
