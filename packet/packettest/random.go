package packettest

import (
	"math/rand/v2"

	"cohort/packet"

	"pgregory.net/rapid"
)

// Specs generates any packet that Parse accepts, for rapid tests.
func Specs() *rapid.Generator[Spec] {
	return rapid.Custom(func(t *rapid.T) Spec {
		return anySpec(func(n int, what string) int { return rapid.IntRange(0, n-1).Draw(t, what) })
	})
}

// Random returns any packet that Parse accepts.
func Random(r *rand.Rand) Spec {
	return anySpec(func(n int, _ string) int { return r.IntN(n) })
}

// anySpec draws every field with pick, which returns a number below n.
func anySpec(pick func(n int, what string) int) Spec {
	addr := func(what string) packet.Addr {
		v := uint32(pick(1<<32, what))
		return packet.Addr{byte(v >> 24), byte(v >> 16), byte(v >> 8), byte(v)}
	}
	s := Spec{
		Key:          packet.FlowKey{Src: addr("src"), Dst: addr("dst")},
		TTL:          uint8(2 + pick(254, "ttl")),
		TOS:          uint8(pick(256, "tos")),
		ID:           uint16(pick(1<<16, "id")),
		DontFragment: pick(2, "df") == 1,
		IPOptions:    4 * max(0, pick(20, "ip options")-9),
		Payload:      make([]byte, pick(64, "payload length")),
	}
	for i := range s.Payload {
		s.Payload[i] = byte(pick(256, "payload"))
	}
	port := func(what string) uint16 { return uint16(pick(1<<16, what)) }
	switch pick(5, "protocol") {
	case 0:
		s.Key.Proto, s.Key.SrcPort, s.Key.DstPort = packet.ProtoTCP, port("sport"), port("dport")
		s.Flags, s.Seq, s.Ack = uint8(pick(256, "flags")), uint32(pick(1<<32, "seq")), uint32(pick(1<<32, "ack"))
		s.Window, s.MSS = uint16(1+pick(65535, "window")), port("mss")
		s.WScale, s.SACK = uint8(pick(16, "wscale")), pick(2, "sack") == 1
	case 1:
		s.Key.Proto, s.Key.SrcPort, s.Key.DstPort = packet.ProtoUDP, port("sport"), port("dport")
		s.NoUDPSum = pick(8, "no sum") == 0
	case 2:
		s.Key.Proto, s.ICMPType, s.ICMPSeq = packet.ProtoICMP, Queries[pick(4, "query")], port("sequence")
		s.Key.SrcPort = port("id")
	case 3:
		s.Key.Proto, s.ICMPType, s.ICMPSeq = packet.ProtoICMP, Responses[pick(4, "response")], port("sequence")
		s.Key.DstPort = port("id")
	case 4:
		s.Key.Proto = [...]uint8{47, 50, 89, 132, 255}[pick(5, "other")]
	}
	return s
}
