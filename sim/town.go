package sim

import (
	"net/netip"

	"cohort/cluster/ownership"
	"cohort/nat"
	"cohort/packet"
	"cohort/policy"
)

// The town is a small network with a rule of every kind, in an order that
// matters: the last one would match nearly everybody. Its districts are hosts
// that behave alike.

const (
	inside  = 1
	outside = 2
)

var (
	server  = packet.Addr{192, 0, 2, 1}
	server2 = packet.Addr{192, 0, 2, 2}
	webHost = packet.Addr{10, 0, 8, 80}
	fwdHost = packet.Addr{10, 0, 8, 81}
	webAddr = packet.Addr{203, 0, 113, 80}
	fwdAddr = packet.Addr{203, 0, 113, 81}
)

// limitedPorts is what the only block of a limited host has.
const limitedPorts = 64

// mappingIdle is how long a mapping outlives its connections (ownership).
const mappingIdle = 300 * second

func prefix(s string) netip.Prefix { return netip.MustParsePrefix(s) }

// townNAT is what the town's firewall is told about NAT.
func townNAT() nat.Config {
	return nat.Config{
		Pools: []nat.Pool{
			{Name: "egress", Addresses: []packet.Addr{mapped}, BlockSize: blockSize},
			{Name: "voice", Addresses: []packet.Addr{{203, 0, 113, 11}, {203, 0, 113, 12}}, BlockSize: 4096},
			{Name: "limited", Addresses: []packet.Addr{{203, 0, 113, 13}}, BlockSize: limitedPorts, MaxBlocksPerHost: 1},
			{Name: "direct", Kind: nat.PoolAddresses, Addresses: []packet.Addr{{203, 0, 113, 20}, {203, 0, 113, 21}, {203, 0, 113, 22}}},
		},
		Rules: []nat.Rule{
			{Name: "plain", Type: nat.Identity, From: inside, To: outside, Source: prefix("10.0.9.0/24")},
			{Name: "web", Type: nat.Static, From: inside, To: outside, Original: prefix("10.0.8.80/32"), Mapped: prefix("203.0.113.80/32"), LogXlates: true},
			{Name: "forward", Type: nat.StaticPAT, From: inside, To: outside, Protocol: packet.ProtoTCP, Original: prefix("10.0.8.81/32"), OriginalPort: 80, Mapped: prefix("203.0.113.81/32"), MappedPort: 8080, LogXlates: true},
			{Name: "direct", Type: nat.Dynamic, From: inside, To: outside, Source: prefix("10.0.2.0/24"), Pool: "direct", LogXlates: true},
			{Name: "voice", Type: nat.DynamicPAT, From: inside, To: outside, Source: prefix("10.0.3.0/24"), Pool: "voice", Mapping: nat.EndpointIndependent, Filtering: nat.EndpointIndependent, LogXlates: true},
			{Name: "limited", Type: nat.DynamicPAT, From: inside, To: outside, Source: prefix("10.0.4.0/24"), Pool: "limited", LogXlates: true},
			{Name: "out", Type: nat.DynamicPAT, From: inside, To: outside, Source: prefix("10.0.0.0/8"), Pool: "egress", LogXlates: true},
		},
	}
}

// townPolicy is what it is told about who may begin a connection. The inside may,
// except for mail.
func townPolicy() []policy.Rule {
	return []policy.Rule{
		{Name: "no-mail", From: inside, To: outside, Proto: packet.ProtoTCP, Ports: []policy.Ports{{First: 25, Last: 25}}},
		{Name: "out", From: inside, To: outside, Allow: true},
		{Name: "web", From: outside, To: inside, Destination: []netip.Prefix{prefix("10.0.8.80/31")}, Proto: packet.ProtoTCP, Ports: []policy.Ports{{First: 80, Last: 80}}, Allow: true},
	}
}

// district makes conversations that are alike, numbered from 0.
type district struct {
	name  string
	count int
	make  func(i int) (k packet.FlowKey, in uint8)
	long  bool // they last until the end of the run and leave the others no room
	errs  bool // the responder answers some requests with an ICMP error as well
}

func key(proto uint8, src packet.Addr, sport uint16, dst packet.Addr, dport uint16) packet.FlowKey {
	if proto == packet.ProtoICMP {
		dport = 0 // an echo has one identifier
	}
	return packet.FlowKey{Src: src, Dst: dst, SrcPort: sport, DstPort: dport, Proto: proto}
}

// districts of the town. What the rules say about each is for book to say.
var districts = []district{
	{name: "egress", count: 12, errs: true, make: func(i int) (packet.FlowKey, uint8) {
		protos := [...]uint8{packet.ProtoTCP, packet.ProtoUDP, packet.ProtoICMP}
		return key(protos[i%3], packet.Addr{10, 0, 1, byte(i/3 + 1)}, uint16(2000+i%2), server, 80), inside
	}},
	{name: "plain", count: 3, errs: true, make: func(i int) (packet.FlowKey, uint8) {
		return key(packet.ProtoUDP, packet.Addr{10, 0, 9, byte(i + 1)}, 2000, server, 80), inside
	}},
	{name: "web", count: 4, make: func(i int) (packet.FlowKey, uint8) {
		return key(packet.ProtoTCP, packet.Addr{198, 51, 100, byte(i + 1)}, 3000, webAddr, 80), outside
	}},
	{name: "web-out", count: 2, errs: true, make: func(i int) (packet.FlowKey, uint8) {
		return key(packet.ProtoUDP, webHost, uint16(4000+i), server, 80), inside
	}},
	{name: "forward", count: 3, make: func(i int) (packet.FlowKey, uint8) {
		return key(packet.ProtoTCP, packet.Addr{198, 51, 100, byte(i + 1)}, 3001, fwdAddr, 8080), outside
	}},
	{name: "mail", count: 2, make: func(i int) (packet.FlowKey, uint8) {
		return key(packet.ProtoTCP, packet.Addr{10, 0, 1, byte(i + 1)}, 2025, server, 25), inside
	}},
	{name: "burglar", count: 4, make: func(i int) (packet.FlowKey, uint8) {
		protos := [...]uint8{packet.ProtoTCP, packet.ProtoUDP}
		return key(protos[i%2], packet.Addr{198, 51, 100, byte(i + 1)}, 3022, webAddr, uint16(22+58*(i%2))), outside
	}},
	{name: "astray", count: 4, make: func(i int) (packet.FlowKey, uint8) {
		protos := [...]uint8{packet.ProtoTCP, packet.ProtoUDP}
		to := [...]packet.Addr{mapped, fwdAddr}
		return key(protos[i%2], packet.Addr{198, 51, 100, byte(i + 1)}, 3077, to[i/2], 7777), outside
	}},
	{name: "voice", count: 8, make: func(i int) (packet.FlowKey, uint8) {
		to := [...]packet.Addr{server, server2}
		return key(packet.ProtoUDP, packet.Addr{10, 0, 3, byte(i/4 + 1)}, uint16(5000+i/2%2), to[i%2], 80), inside
	}},
	{name: "direct", count: 10, long: true, make: func(i int) (packet.FlowKey, uint8) {
		protos := [...]uint8{packet.ProtoTCP, packet.ProtoUDP}
		return key(protos[i%2], packet.Addr{10, 0, 2, byte(i/2 + 1)}, 2000, server, 80), inside
	}},
	{name: "limited", count: limitedPorts + 6, long: true, make: func(i int) (packet.FlowKey, uint8) {
		return key(packet.ProtoUDP, packet.Addr{10, 0, 4, 1}, uint16(6000+i), server, 80), inside
	}},
}

// kindOf is the kind of packet that opens a conversation of a protocol.
func kindOf(proto uint8) ownership.Kind {
	switch proto {
	case packet.ProtoTCP:
		return ownership.KindTCP
	case packet.ProtoUDP:
		return ownership.KindUDP
	}
	return ownership.KindICMPQuery
}

// openTown makes the rules of a run.
func (w *World) openTown() {
	w.book = &book{nat: townNAT(), policy: townPolicy()}
	rules, err := nat.Compile(w.book.nat)
	if err != nil {
		panic(err)
	}
	w.setups = []*nat.Rules{rules}
	if w.policy, err = policy.Compile([]policy.Zone{{ID: inside, Trust: 100}, {ID: outside}}, w.book.policy); err != nil {
		panic(err)
	}
}

// planTown lets all districts talk.
func (w *World) planTown() {
	for i := range districts {
		d := &districts[i]
		for j := range d.count {
			c := &conn{w: w, id: len(w.conns) + 1, steps: 2 + w.traffic.IntN(20), district: d}
			c.key, c.in = d.make(j)
			c.kind, c.ruling = kindOf(c.key.Proto), w.book.reads(c.in, c.key)
			w.begin(c)
		}
	}
}

// outcome is how a conversation ended.
func (c *conn) outcome() Outcome {
	o := Outcome{Key: c.key, Done: c.done, Refused: c.refused, Tuple: c.tuple, Warned: c.warned, Errors: c.errors, Excused: c.excused, ruling: c.ruling}
	if c.district != nil {
		o.District = c.district.name
	}
	return o
}
