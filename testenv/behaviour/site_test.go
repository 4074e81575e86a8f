package behaviour

import (
	"encoding/binary"
	"fmt"
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/vishvananda/netlink"

	"cohort/packet"
	"cohort/testenv/sniff"
	"cohort/testenv/topology"
	"cohort/testenv/traffic"
)

// A site is one cluster with every kind of rule, and a client for each.
type site struct {
	*topology.Topology
	plain, static, own, forward, open, closed *topology.Host
	server, known                             *topology.Host
	stun                                      netip.Addr // the server's second address
}

// siteNAT translates each client in its own way. The second server is known to
// the inside: towards it nothing is translated, because that rule stands first;
// the last rule must never decide, because the one before it does.
var siteNAT = `{pools: {egress: {addresses: 203.0.113.10}, direct: {type: addresses, addresses: 203.0.113.64/30}, open: {addresses: 203.0.113.20}}, rules: [` + strings.Join([]string{
	"{name: keep, type: identity, from: inside, to: outside, destination: 192.0.2.2}",
	"{name: web, type: static, from: inside, to: outside, original: 10.0.2.10, mapped: 203.0.113.80}",
	"{name: own, type: dynamic, from: inside, to: outside, source: 10.0.3.0/24, pool: direct, filtering: endpoint-independent}",
	"{name: tcp-in, type: static-pat, from: inside, to: outside, original: 10.0.4.10, mapped: 203.0.113.10, protocol: tcp, original_port: 8080, mapped_port: 80}",
	"{name: udp-in, type: static-pat, from: inside, to: outside, original: 10.0.4.10, mapped: 203.0.113.10, protocol: udp, original_port: 8080, mapped_port: 53}",
	"{name: open, type: dynamic-pat, from: inside, to: outside, source: 10.0.5.0/24, pool: open, mapping: endpoint-independent, filtering: endpoint-independent}",
	"{name: closed, type: dynamic-pat, from: inside, to: outside, source: 10.0.6.0/24, pool: open, mapping: endpoint-independent}",
	"{name: out, type: dynamic-pat, from: inside, to: outside, source: 10.0.0.0/8, pool: egress}",
	"{name: never, type: identity, from: inside, to: outside, source: 10.0.1.0/24}",
}, ", ") + "]}"

// What the outside may begin, and the inside with itself, by real addresses.
var siteRules = []string{
	"{name: web-in, from: outside, to: inside, destination: 10.0.2.10, action: allow}",
	"{name: own-tcp-in, from: outside, to: inside, destination: 10.0.3.10, protocol: tcp, ports: [8080], action: allow}",
	"{name: own-udp-in, from: outside, to: inside, destination: 10.0.3.10, protocol: udp, ports: [8080], action: allow}",
	"{name: own-echo-in, from: outside, to: inside, destination: 10.0.3.10, protocol: icmp, action: allow}",
	"{name: tcp-in, from: outside, to: inside, destination: 10.0.4.10, protocol: tcp, ports: [8080], action: allow}",
	"{name: udp-in, from: outside, to: inside, destination: 10.0.4.10, protocol: udp, ports: [8080], action: allow}",
	"{name: among-us, from: inside, to: inside, action: allow}",
	"{name: open-in, from: outside, to: inside, destination: 10.0.5.10, protocol: udp, action: allow}",
}

func newSite(t *testing.T, args ...string) *site {
	t.Helper()
	top := formed(t, topology.Config{
		Clients: 6, Servers: 2, OutsideMTU: 1400, NAT: siteNAT, Rules: siteRules, DaemonArgs: args,
	})
	c := top.Clients
	s := &site{
		Topology: top, plain: c[0], static: c[1], own: c[2], forward: c[3], open: c[4], closed: c[5],
		server: top.Servers[0], known: top.Servers[1], stun: netip.MustParseAddr("192.0.2.101"),
	}
	addAddress(t, s.server, netip.PrefixFrom(s.stun, 24))
	// The link outside takes 1400 bytes, and the router knows it as the nodes do.
	l, err := top.Outside.Namespace.Netlink().LinkByName(top.Outside.Segment)
	if err != nil {
		t.Fatal(err)
	}
	if err := top.Outside.Namespace.Netlink().LinkSetMTU(l, 1400); err != nil {
		t.Fatal(err)
	}
	// Linux answers the same host with few errors a second, unless told.
	for _, ns := range top.Namespaces() {
		if err := ns.Sysctl("net/ipv4/icmp_ratelimit", "0"); err != nil {
			t.Fatal(err)
		}
	}
	return s
}

// addAddress gives a host another address.
func addAddress(t *testing.T, h *topology.Host, p netip.Prefix) {
	t.Helper()
	nl := h.Namespace.Netlink()
	l, err := nl.LinkByName("eth0")
	if err != nil {
		t.Fatal(err)
	}
	a, err := netlink.ParseAddr(p.String())
	if err != nil {
		t.Fatal(err)
	}
	if err := nl.AddrAdd(l, a); err != nil {
		t.Fatal(err)
	}
}

// TestSite looks at one cluster from all sides, with the fast path and without.
func TestSite(t *testing.T) {
	for _, mode := range []struct {
		name string
		args []string
	}{{"fast", nil}, {"slow", []string{"--no-fast-path"}}} {
		t.Run(mode.name, func(t *testing.T) {
			s := newSite(t, mode.args...)
			for _, look := range []struct {
				name string
				at   func(*testing.T, *site)
			}{
				{"NT1_ServerSeesOnlyPublicAddresses", onlyPublic},
				{"NT1_RulesInTheirOrder", ruleOrder},
				{"NT1_StaticBothWays", staticBothWays},
				{"NT8_HostHasAnAddressOfItsOwn", ownAddress},
				{"TR2_PolicyHoldsForOpenMappings", openMappingPolicy},
				{"NT9_StunFindsTheConfiguredBehaviour", stunBehaviour},
				{"RFC4787_REQ9_HairpinThroughStatic", hairpinStatic},
				{"RFC4787_REQ9_HairpinThroughMapping", hairpinMapping},
				{"NT10_UnmappedIsSilent", unmappedIsSilent},
				{"RFC5508_REQ1_Queries", queriesOfAllKinds},
				{"NT3_ProtocolsWithoutPorts", protocolsWithoutPorts},
				{"NT9_Traceroute", traceroutes},
				{"NT9_PathMTU", pathMTU},
			} {
				t.Run(look.name, func(t *testing.T) { look.at(t, s) })
			}
		})
	}
}

// onlyPublic sends all that the port pool can translate, and looks at what
// arrives at the server.
func onlyPublic(t *testing.T, s *site) {
	m := serveMirror(t, s.server, 9000)
	var strangers, arrived int
	var p packet.Packet
	first := ""
	tap, err := sniff.Open(s.server.Namespace, "eth0", func(frame []byte, sent bool) {
		if sent || p.Parse(frame) != packet.OK {
			return
		}
		arrived++
		if from := netip.AddrFrom4(p.Key.Src); from != egress {
			strangers++
			first = fmt.Sprint(p.Key)
		}
	})
	if err != nil {
		t.Fatal(err)
	}
	const each = 40
	for _, network := range transports {
		ports := make(map[uint16]bool)
		kept := 0
		for range each {
			k, mapped := seen(t, s.plain, network, m.at)
			if mapped.Addr() != egress || mapped.Port() < 1024 || ports[mapped.Port()] {
				t.Errorf("%s: seen as %v", network, mapped)
			}
			ports[mapped.Port()] = true
			if mapped.Port() == local(k).Port() {
				kept++
			}
		}
		// A node keeps a port when it has its block, as one of four has.
		t.Logf("%s: %d of %d kept their port", network, kept, each)
		if kept == 0 || kept == each {
			t.Errorf("%s: %d of %d kept their port, want about a quarter", network, kept, each)
		}
	}
	if err := traffic.Pings(within(t, 30*time.Second), s.plain.Namespace, s.server.Addr, traffic.DatagramLoad{Exchanges: 20}).Err(); err != nil {
		t.Error(err)
	}
	lost, err := tap.Close()
	if err != nil || lost > 0 {
		t.Fatalf("the tap lost %d frames: %v", lost, err)
	}
	if strangers > 0 || arrived < 2*each+20 {
		t.Errorf("%d of %d packets came from other addresses, as %s", strangers, arrived, first)
	}
}

// ruleOrder compares who is seen how where more than one rule matches.
func ruleOrder(t *testing.T, s *site) {
	m, known := serveMirror(t, s.server, 9000), serveMirror(t, s.known, 9000)
	static := netip.MustParseAddr("203.0.113.80")
	for _, network := range transports {
		for _, c := range []struct {
			from *topology.Host
			to   *mirror
			as   netip.Addr
			port bool // the port is kept for certain
		}{
			{s.plain, m, egress, false}, // not the last rule
			{s.plain, known, s.plain.Addr, true},
			{s.static, m, static, true},
			{s.static, known, s.static.Addr, true}, // the first rule, though "web" matches as well
			{s.own, known, s.own.Addr, true},
		} {
			k, mapped := seen(t, c.from, network, c.to.at)
			if mapped.Addr() != c.as || c.port && mapped.Port() != local(k).Port() {
				t.Errorf("%s %v to %v: seen as %v, want %v", network, k.LocalAddr(), c.to.at, mapped, c.as)
			}
		}
	}
}

// staticBothWays begins connections at both ends of static translations.
func staticBothWays(t *testing.T, s *site) {
	serveMirror(t, s.static, 8080)
	serveMirror(t, s.forward, 8080)
	for _, c := range []struct{ network, to string }{
		{"tcp", "203.0.113.80:8080"},
		{"udp", "203.0.113.80:8080"},
		{"tcp", "203.0.113.10:80"},
		{"udp", "203.0.113.10:53"},
	} {
		k, as := seen(t, s.server, c.network, netip.MustParseAddrPort(c.to))
		if as != local(k) {
			t.Errorf("%s to %s: the inside sees %v, want %v", c.network, c.to, as, k.LocalAddr())
		}
	}
	public := netip.MustParseAddr("203.0.113.80")
	if err := traffic.Pings(within(t, 30*time.Second), s.server.Namespace, public, traffic.DatagramLoad{Exchanges: 10}).Err(); err != nil {
		t.Errorf("echo inward: %v", err)
	}
	if err := traffic.Pings(within(t, 30*time.Second), s.static.Namespace, s.server.Addr, traffic.DatagramLoad{Exchanges: 10}).Err(); err != nil {
		t.Errorf("echo outward: %v", err)
	}
	// What the host of a forwarded port begins itself is translated like
	// everybody's, but for that port.
	m := serveMirror(t, s.server, 9000)
	if _, as := seen(t, s.forward, "tcp", m.at); as.Addr() != egress {
		t.Errorf("the host of a forwarded port is seen as %v", as)
	}
}

// ownAddress is dynamic one-to-one translation.
func ownAddress(t *testing.T, s *site) {
	m := serveMirror(t, s.server, 9000)
	pool := netip.MustParsePrefix("203.0.113.64/30")
	_, first := seen(t, s.own, "tcp", m.at)
	if !pool.Contains(first.Addr()) {
		t.Fatalf("seen as %v, want one of %v", first, pool)
	}
	for _, network := range transports {
		for range 10 {
			if k, as := seen(t, s.own, network, m.at); as != netip.AddrPortFrom(first.Addr(), local(k).Port()) {
				t.Errorf("%s %v is seen as %v, want %v and its own port", network, k.LocalAddr(), as, first.Addr())
			}
		}
	}
	// The whole host is reached, ports that it has never used included.
	serveMirror(t, s.own, 8080)
	for _, network := range transports {
		if k, as := seen(t, s.server, network, netip.AddrPortFrom(first.Addr(), 8080)); as != local(k) {
			t.Errorf("inward %s: the inside sees %v, want %v", network, as, k.LocalAddr())
		}
	}
	for from, to := range map[*topology.Host]netip.Addr{s.own: s.server.Addr, s.server: first.Addr()} {
		if err := traffic.Pings(within(t, 30*time.Second), from.Namespace, to, traffic.DatagramLoad{Exchanges: 5}).Err(); err != nil {
			t.Errorf("echo from %s: %v", from.Name, err)
		}
	}
}

// openMappingPolicy sends from outside what a mapping lets in, and no rule of
// the policy does.
func openMappingPolicy(t *testing.T, s *site) {
	m := serveMirror(t, s.server, 9000)
	_, as := seen(t, s.own, "udp", m.at)
	inside := openAt(t, s.own, 8081) // 8080 is allowed
	before := counter(t, s.Topology, "slow_policy_denied")
	open(t, s.server).send(t, netip.AddrPortFrom(as.Addr(), 8081), "let me in")
	eventually(t, "a fate", func() bool {
		inside.SetReadDeadline(time.Now().Add(20 * time.Millisecond))
		n, from, err := inside.ReadFromUDPAddrPort(make([]byte, 100))
		if err == nil {
			t.Errorf("%d bytes from %v came in without a rule", n, from)
		}
		return err == nil || counter(t, s.Topology, "slow_policy_denied") > before
	})
}

// unmappedIsSilent sends to addresses of NAT that nobody has: no answer comes,
// each packet is counted, and nobody claims such an address by ARP.
func unmappedIsSilent(t *testing.T, s *site) {
	arp := func(segment string) (answers *[]string, close func()) {
		answers = new([]string)
		tap, err := sniff.Open(s.Outside.Namespace, segment, func(frame []byte, _ bool) {
			if sender, ok := arpSender(frame); ok && public.Contains(sender) {
				*answers = append(*answers, sender.String())
			}
		})
		if err != nil {
			t.Fatal(err)
		}
		for _, a := range []string{"203.0.113.10", "203.0.113.80", "203.0.113.64"} {
			if err := tap.Send(whoHas(netip.MustParseAddr(a))); err != nil {
				t.Fatal(err)
			}
		}
		return answers, func() {
			if lost, err := tap.Close(); err != nil || lost > 0 {
				t.Fatalf("the tap lost %d frames: %v", lost, err)
			}
		}
	}
	answers, closeARP := arp(s.Outside.Segment)

	// One of the four one-to-one addresses is taken.
	spare := netip.MustParseAddr("203.0.113.66")
	if _, as := seen(t, s.own, "udp", serveMirror(t, s.server, 9001).at); as.Addr() == spare {
		spare = spare.Next()
	}
	var came []string
	var p packet.Packet
	tap, err := sniff.Open(s.server.Namespace, "eth0", func(frame []byte, sent bool) {
		if !sent && p.Parse(frame) == packet.OK {
			came = append(came, fmt.Sprintf("%v type %d", p.Key, p.ICMPType))
		}
	})
	if err != nil {
		t.Fatal(err)
	}
	before := counter(t, s.Topology, "slow_nat_no_xlate")
	const each = 5
	sent := 0
	for _, a := range []netip.Addr{egress, netip.MustParseAddr("203.0.113.20"), spare} {
		for port := range uint16(each) {
			c := dial(t, s.server, "udp", netip.AddrPortFrom(a, 40000+port))
			if _, err := c.Write([]byte("anybody?")); err != nil {
				t.Fatal(err)
			}
			sent++
		}
	}
	grown := func() uint64 { return counter(t, s.Topology, "slow_nat_no_xlate") - before }
	eventually(t, "what nobody mapped is counted", func() bool { return grown() >= uint64(sent) })
	for name, to := range map[string]netip.AddrPort{"tcp": netip.AddrPortFrom(egress, 40000), "one-to-one": netip.AddrPortFrom(spare, 80)} {
		before := grown()
		ctx := within(t, 500*time.Millisecond) // one SYN: the next would come after a second
		if c, err := s.server.Namespace.DialTCP(ctx, to); err == nil {
			c.Close()
			t.Errorf("%s: %v was answered", name, to)
		}
		eventually(t, "a SYN to "+name+" is counted", func() bool { return grown() > before })
	}
	before += grown()
	if out := output(t, s.server.Namespace, "ping", "-n", "-c", "2", "-i", "0.2", "-W", "1", egress.String()); !strings.Contains(out, " 0 received") {
		t.Errorf("echo requests to %v:\n%s", egress, out)
	}
	eventually(t, "echo requests are counted", func() bool { return grown() >= 2 })
	if n := grown(); n != 2 {
		t.Errorf("%d counted for 2 echo requests", n)
	}
	if lost, err := tap.Close(); err != nil || lost > 0 {
		t.Fatalf("the tap lost %d frames: %v", lost, err)
	}
	for _, what := range came {
		t.Errorf("came back: %s", what)
	}
	closeARP()
	if len(*answers) > 0 {
		t.Errorf("ARP was answered for %v", *answers)
	}
}

// whoHas is an ARP request that everybody gets.
func whoHas(a netip.Addr) []byte {
	b := []byte{0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 2, 0, 0x5e, 0x77, 0, 1, 8, 6, 0, 1, 8, 0, 6, 4, 0, 1}
	b = append(b, 2, 0, 0x5e, 0x77, 0, 1, 198, 51, 100, 249, 0, 0, 0, 0, 0, 0)
	b = append(b, a.AsSlice()...)
	return append(b, make([]byte, 60-len(b))...)
}

// arpSender returns who an ARP frame says to be.
func arpSender(frame []byte) (netip.Addr, bool) {
	if len(frame) < 42 || binary.BigEndian.Uint16(frame[12:]) != 0x0806 {
		return netip.Addr{}, false
	}
	a, ok := netip.AddrFromSlice(frame[28:32])
	return a, ok
}
