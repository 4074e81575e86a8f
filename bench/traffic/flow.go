package traffic

import (
	"encoding/binary"
	"net/netip"

	"cohort/packet"
)

// Server is the address that every connection goes to.
var Server = netip.MustParseAddr("192.0.2.1")

// ServerPort is the port there.
const ServerPort = 443

// MaxFlows is how many connections can be told apart.
const MaxFlows = 1 << 24

// Key returns the key of connection i as its initiator sends it. With UDP in
// the Shape odd connections are UDP.
func (s *Shape) Key(i int) packet.FlowKey {
	k := packet.FlowKey{
		Dst: packet.AddrFrom(Server), SrcPort: 0x4000 | uint16(i&0x3fff), DstPort: ServerPort, Proto: packet.ProtoTCP,
	}
	binary.BigEndian.PutUint32(k.Src[:], 0x0a000000|uint32(i))
	if s.UDP && i&1 != 0 {
		k.Proto = packet.ProtoUDP
	}
	return k
}
