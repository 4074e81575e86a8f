package traffic

import (
	"encoding/binary"
	"math/bits"
	"net/netip"

	"cohort/packet"
)

// Server is the address that every connection goes to, and the first one with
// Shape.Spread.
var Server = netip.MustParseAddr("192.0.2.1")

// ServerPort is the port there.
const ServerPort = 443

const (
	// MaxFlows is how many connections can be told apart.
	MaxFlows = 1 << 23
	// MaxSpread is how many of them by port and server alone.
	MaxSpread = maxServers * ports

	maxServers = 128    // they share one /24
	ports      = 0x4000 // of the hosts, from this number on
)

// Key returns the key of connection i as its initiator sends it, from hosts in
// 10.128.0.0/9. With UDP in the Shape odd connections are UDP, with AllUDP all.
func (s *Shape) Key(i int) packet.FlowKey {
	all := *s
	all.Mapped = netip.Addr{}
	k := packet.FlowKey{
		Src: all.hosts().of(uint32(i)), Dst: s.servers().of(uint32(i / ports)),
		SrcPort: uint16(ports | i>>s.portShift()&(ports-1)), DstPort: ServerPort, Proto: packet.ProtoTCP,
	}
	if s.AllUDP || s.UDP && i&1 != 0 {
		k.Proto = packet.ProtoUDP
	}
	return k
}

// ReplyKey returns the key of connection i as its server sends it: to the
// Mapped address if there is one.
func (s *Shape) ReplyKey(i int) packet.FlowKey {
	k := s.Key(i).Reverse()
	if s.Mapped.IsValid() {
		k.Dst = packet.AddrFrom(s.Mapped)
	}
	return k
}

// addresses are base, base + 1 ... as far as the mask goes.
type addresses struct{ base, mask uint32 }

func addressesFrom(first netip.Addr, mask uint32) addresses {
	b := first.As4()
	return addresses{binary.BigEndian.Uint32(b[:]), mask}
}

func (a addresses) of(i uint32) (addr packet.Addr) {
	binary.BigEndian.PutUint32(addr[:], a.base+i&a.mask)
	return addr
}

var firstHost = netip.MustParseAddr("10.128.0.0")

// hosts are told by the lowest bits of a connection's number.
func (s *Shape) hosts() addresses {
	switch {
	case s.Reply && s.Mapped.IsValid():
		return addressesFrom(s.Mapped, 0)
	case s.Hosts == 0:
		return addressesFrom(firstHost, MaxFlows-1)
	}
	return addressesFrom(firstHost, 1<<s.hostBits()-1)
}

// servers are told by what follows the bits of a port.
func (s *Shape) servers() addresses {
	if s.Spread {
		return addressesFrom(Server, maxServers-1)
	}
	return addressesFrom(Server, 0)
}

// portShift is at which bit of a connection's number its port begins.
func (s *Shape) portShift() uint32 {
	if s.Hosts == 0 || s.Spread {
		return 0
	}
	return s.hostBits()
}

func (s *Shape) hostBits() uint32 { return uint32(bits.Len(uint(s.Hosts - 1))) }
