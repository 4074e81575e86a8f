package sim

import (
	"net/netip"
	"slices"

	"cohort/cluster/ownership"
	"cohort/nat"
	"cohort/packet"
	"cohort/policy"
)

// book is the rules as a person reads them: from the top, the first that matches
// decides. It knows neither the compiled matchers nor units, nodes or time; what
// it says about a conversation must come out whichever nodes carry it.
type book struct {
	nat    nat.Config
	policy []policy.Rule
}

// ruling is what the rules make of a conversation.
type ruling struct {
	refused ownership.Reason // for good, whoever asks when
	dst     packet.Addr      // where it goes
	dstPort uint16
	srcs    []packet.Addr // the address that it leaves with is one of these
	port    uint16        // with this port; 0 = any
	pool    string        // that may run out; "" = none
	shared  bool          // the endpoint has one mapping for all its conversations
}

// reads says what becomes of a conversation that begins with k at interface in.
func (b *book) reads(in uint8, k packet.FlowKey) ruling {
	r := ruling{dst: k.Dst, dstPort: k.DstPort, srcs: []packet.Addr{k.Src}, port: k.SrcPort}
	if !b.destination(in, k, &r) {
		return ruling{refused: ownership.ReasonNATNoXlate}
	}
	out := uint8(outside)
	if r.dst[0] == 10 {
		out = inside
	}
	if !b.allows(in, out, k, r) {
		return ruling{refused: ownership.ReasonPolicyDenied}
	}
	b.source(in, out, k, &r)
	return r
}

func within(p netip.Prefix, a packet.Addr) bool {
	return !p.IsValid() || p.Contains(netip.AddrFrom4(a))
}

// destination undoes static rules. False: the address is NAT's and nothing maps it.
func (b *book) destination(in uint8, k packet.FlowKey, r *ruling) bool {
	ours := false
	for _, p := range b.nat.Pools {
		ours = ours || slices.Contains(p.Addresses, k.Dst)
	}
	for _, rule := range b.nat.Rules {
		if rule.Type != nat.Static && rule.Type != nat.StaticPAT || !within(rule.Mapped, k.Dst) {
			continue
		}
		ours = true
		if rule.To != in || rule.Protocol != nat.Any && rule.Protocol != k.Proto || rule.MappedPort != 0 && rule.MappedPort != k.DstPort {
			continue
		}
		r.dst = rule.Original.Addr().As4()
		if rule.OriginalPort != 0 {
			r.dstPort = rule.OriginalPort
		}
		return true
	}
	return !ours
}

// allows asks the policy, by real addresses.
func (b *book) allows(in, out uint8, k packet.FlowKey, r ruling) bool {
	for _, rule := range b.policy {
		to := len(rule.Destination) == 0 || slices.ContainsFunc(rule.Destination, func(p netip.Prefix) bool { return within(p, r.dst) })
		port := len(rule.Ports) == 0 || slices.ContainsFunc(rule.Ports, func(p policy.Ports) bool { return p.First <= r.dstPort && r.dstPort <= p.Last })
		if rule.From == in && rule.To == out && to && port && (rule.Proto == policy.AnyProtocol || rule.Proto == k.Proto) {
			return rule.Allow
		}
	}
	return false
}

// source says what the conversation leaves with.
func (b *book) source(in, out uint8, k packet.FlowKey, r *ruling) {
	for _, rule := range b.nat.Rules {
		from := rule.Source
		if rule.Type == nat.Static || rule.Type == nat.StaticPAT {
			from = rule.Original
		}
		if rule.From != in || rule.To != out || !within(from, k.Src) || rule.OriginalPort != 0 && rule.OriginalPort != k.SrcPort {
			continue
		}
		switch rule.Type {
		case nat.Static:
			r.srcs = []packet.Addr{rule.Mapped.Addr().As4()}
		case nat.StaticPAT:
			r.srcs, r.port = []packet.Addr{rule.Mapped.Addr().As4()}, rule.MappedPort
		case nat.Dynamic, nat.DynamicPAT:
			r.srcs, r.pool = b.addresses(rule.Pool), rule.Pool
			r.shared = rule.Type == nat.Dynamic || rule.Mapping == nat.EndpointIndependent
			if rule.Type == nat.DynamicPAT {
				r.port = 0
			}
		}
		return
	}
}

func (b *book) addresses(pool string) []packet.Addr {
	for _, p := range b.nat.Pools {
		if p.Name == pool {
			return p.Addresses
		}
	}
	return nil
}
