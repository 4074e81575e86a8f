package main

import (
	"context"
	"errors"
	"net/netip"

	"cohort/bench/traffic"
	"cohort/dataplane"
	"cohort/packet"
)

// mappedAddr is the address that hosts hide behind on every track: the one of
// the masquerading router's outer interface.
var mappedAddr = netip.MustParseAddr("172.17.0.1")

// poolBlock is how many ports are steered together: nat.DefaultBlockSize.
const poolBlock = 512

// measureNATPath compares translated connections: the owner with nftables
// masquerade, and the way of a reply that enters at its owner with that of one
// that enters at another node.
func measureNATPath(ctx context.Context, cfg pathConfig) (res *PathResult, err error) {
	restore, err := conntrackRoom(cfg.flows + cfg.flows/8)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, restore()) }()
	f, err := natField(cfg)
	if err != nil {
		return nil, err
	}
	defer f.close()
	return f.measure(ctx, cfg)
}

// What it costs from end to end that a reply meets another node than its owner,
// and what of that is more than a further cable costs on this machine with a
// program behind it that looks at nothing. The aim is held against both.
var (
	wholeHop = difference{pair: pair{"steered+owner", "reply at owner"}}
	hop      = difference{wholeHop.pair, bareHop}
)

const bareHop = "bare hop"

func natField(cfg pathConfig) (*field, error) {
	shape := traffic.Shape{Flows: cfg.flows, UDP: true, Flags: traffic.ACK, Spread: true, Mapped: mappedAddr}
	f, err := newField(shape, cfg.cpu, (*field).addNATOwner, (*field).addMasquerade,
		(*field).addReplyOwner, (*field).addSteering, (*field).addSteeredChain, (*field).addWire)
	if err != nil {
		return nil, err
	}
	f.ratios = []pair{{"owner", "masquerade"}}
	f.added = []difference{wholeHop, hop}
	return f, nil
}

// addNATOwner is a node that gives the packets of hosts the mapped address.
func (f *field) addNATOwner() error { return f.addOwnerOf("owner", f.shape) }

// addReplyOwner is a node that gives the servers' packets their hosts back.
func (f *field) addReplyOwner() error { return f.addOwnerOf("reply at owner", f.replies()) }

// replies are the packets that servers send to the mapped address.
func (f *field) replies() traffic.Shape {
	shape := f.shape
	shape.Reply = true
	return shape
}

func (f *field) addOwnerOf(name string, shape traffic.Shape) error {
	role := map[bool]string{false: "owner", true: "rowner"}[shape.Reply]
	p, err := f.place(role)
	if err != nil {
		return err
	}
	if _, _, err = cable(p.ns, f.far, "ccl0", role+"-ccl"); err != nil {
		return err
	}
	n, err := f.openFastNode(p.ns, 1, shape.Flows, 0, []dataplane.Peer{{ID: 1, VTEP: vtep(1), Self: true}})
	if err != nil {
		return err
	}
	if err := n.own(&shape, p); err != nil {
		return err
	}
	t, err := f.addShape(name, shape, p.near, p.in, p.far, false)
	if err != nil {
		return err
	}
	t.check = n.only("forward_owner")
	return nil
}

// steers makes node 2 the director of every port of the mapped address: what a
// node knows that has no entry for a connection (FR6).
func (n *fastNode) steers() error {
	a := dataplane.NATAddress{Addr: packet.AddrFrom(mappedAddr), FirstPort: 1024, LastPort: 65535, BlockSize: poolBlock}
	if err := n.dp.SetNATAddresses([]dataplane.NATAddress{a}); err != nil {
		return err
	}
	units := n.dp.NATUnits()
	for u := range int(a.LastPort-a.FirstPort)/poolBlock + 1 {
		units[u] = 2
	}
	return nil
}

// addSteering is a node without entries; the sink takes its data frames.
func (f *field) addSteering() error {
	p, err := f.place("steer")
	if err != nil {
		return err
	}
	near, far, err := cable(p.ns, f.far, "ccl0", "steer-ccl")
	if err != nil {
		return err
	}
	n, err := f.openFastNode(p.ns, 1, 0, 0, peers(1, [2][6]byte{near.mac, far.mac}))
	if err != nil {
		return err
	}
	if err := n.steers(); err != nil {
		return err
	}
	t, err := f.addShape("steered", f.replies(), p.near, p.in, far, true)
	if err != nil {
		return err
	}
	t.check = n.only("forward_steered")
	return nil
}

// addSteeredChain is the whole way of a reply that meets the wrong node: it is
// steered, crosses the CCL, and its owner sends it on.
func (f *field) addSteeredChain() error {
	return f.addBehind("steered+owner", f.replies(), 0, (*fastNode).steers)
}

// addWire is what a further hop costs on this machine whoever makes it: a
// cable more, and a redirect from it to the next.
func (f *field) addWire() error {
	p, err := f.place("wire")
	if err != nil {
		return err
	}
	var relay *traffic.Relay
	err = p.ns.Do(func() (err error) {
		relay, err = traffic.NewRelay(p.in.index, p.out.index)
		return err
	})
	if err != nil {
		return err
	}
	f.onClose(relay.Close)
	_, err = f.addShape(bareHop, f.replies(), p.near, p.in, p.far, false)
	return err
}

// masquerade is the same firewall that hides what it lets out.
const masquerade = ruleset + `table ip nat {
	chain postrouting {
		type nat hook postrouting priority srcnat; policy accept;
		oifname "out0" masquerade
	}
}
`

// masqueradeRouter hides hosts behind mappedAddr. No entry ages away while it is
// measured: one that came back would cost far more than one that stayed.
func (f *field) masqueradeRouter() (place, error) {
	p, err := f.linuxRouter("masq")
	if err != nil {
		return p, err
	}
	for _, name := range []string{"tcp_timeout_syn_sent", "udp_timeout", "udp_timeout_stream"} {
		if err := p.ns.Sysctl("net/netfilter/nf_conntrack_"+name, "3600"); err != nil {
			return p, err
		}
	}
	return p, nft(p.ns, masquerade)
}

func (f *field) addMasquerade() error {
	p, err := f.masqueradeRouter()
	if err != nil {
		return err
	}
	t, err := f.add("masquerade", p.near, p.in, p.far, false)
	if err != nil {
		return err
	}
	return f.establish(t, p)
}
