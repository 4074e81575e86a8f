package main

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"time"

	"cohort/bench/traffic"
	"cohort/ccl/wire"
	"cohort/dataplane"
	"cohort/flowtable"
	"cohort/packet"
	"cohort/testenv/netns"
)

// track is one way from the generator to a sink, through something.
type track struct {
	name   string
	source *traffic.Source
	sink   *traffic.Sink
	check  func() error // after the measurement: did it go the way it should?
}

// field is all tracks, side by side between one generator and one receiver.
type field struct {
	*lab
	gen, far *netns.Namespace
	shape    traffic.Shape
	tracks   []*track // the first is the generator alone
	ratios   []pair   // of whose time the ratio is formed
	added    []difference
}

// pair is two tracks that are compared.
type pair struct{ one, other string }

func (p pair) ratio() string { return p.one + "/" + p.other }

// difference is how much longer the first of two tracks takes, and what is left
// of that without the time of a third, if there is one.
type difference struct {
	pair
	without string
}

func (d difference) name() string {
	if d.without == "" {
		return d.one + " - " + d.other
	}
	return d.one + " - " + d.other + " - " + d.without
}

// newField builds tracks, in order, beside the generator alone. All that is ever
// sent is sent on one CPU.
func newField(shape traffic.Shape, cpu int, build ...func(*field) error) (*field, error) {
	l, err := newLab()
	if err != nil {
		return nil, err
	}
	f, err := l.newField(shape)
	pin := func(f *field) error { return f.pin(cpu) }
	for _, b := range append([]func(*field) error{pin, (*field).addFloor}, build...) {
		if err == nil {
			err = b(f)
		}
	}
	if err != nil {
		_ = l.close()
		return nil, err
	}
	return f, nil
}

// newField is one without tracks.
func (l *lab) newField(shape traffic.Shape) (f *field, err error) {
	f = &field{lab: l, shape: shape}
	if f.gen, err = l.space("gen"); err == nil {
		f.far, err = l.space("far")
	}
	return f, err
}

// pin binds both senders to one CPU. What a packet meets on its way runs on the
// CPU that sent it, so that the sender waits for it; but of a sender that moves
// while a queue is being worked off, the rest goes on behind that queue on the
// old CPU, faster than it is taken from there: nine packets of ten are lost.
func (f *field) pin(cpu int) error {
	for _, ns := range []*netns.Namespace{f.gen, f.far} {
		if err := ns.Do(func() error { return pinThread(cpu) }); err != nil {
			return err
		}
	}
	return nil
}

// plainField compares connections that nobody translates.
func plainField(flows, cpu int) (*field, error) {
	f, err := newField(traffic.Shape{Flows: flows, UDP: true, Flags: traffic.ACK}, cpu,
		(*field).addOwner, (*field).addForwarder, (*field).addChain, (*field).addLinux, (*field).addConntrack)
	if err != nil {
		return nil, err
	}
	for _, our := range []string{"owner", "forwarder", "forwarder+owner"} {
		for _, peer := range []string{"linux", "conntrack"} {
			f.ratios = append(f.ratios, pair{our, peer})
		}
	}
	return f, nil
}

// add makes a track of the field's packets.
func (f *field) add(name string, near, first, far port, ccl bool) (*track, error) {
	return f.addShape(name, f.shape, near, first, far, ccl)
}

// addShape makes a track: the source sends from near to the MAC at the other
// end of its cable, the sink sits on far. What hosts send arrives there from the
// address that they hide behind.
func (f *field) addShape(name string, shape traffic.Shape, near, first, far port, ccl bool) (*track, error) {
	t := &track{name: name, check: func() error { return nil }}
	shape.DMAC = first.mac
	var err error
	if t.source, err = traffic.NewSource(shape, near.index); err != nil {
		return nil, err
	}
	f.onClose(t.source.Close)
	var from netip.Addr
	if !shape.Reply {
		from = shape.Mapped
	}
	err = far.ns.Do(func() (err error) {
		t.sink, err = traffic.NewSink(far.index, ccl, from)
		return err
	})
	if err != nil {
		return nil, err
	}
	f.onClose(t.sink.Close)
	f.tracks = append(f.tracks, t)
	return t, nil
}

// addFloor is the generator with nothing behind it: what must be subtracted.
func (f *field) addFloor() error {
	ns, err := f.space("floor")
	if err != nil {
		return err
	}
	near, in, err := cable(f.gen, ns, "floor", "in0")
	if err != nil {
		return err
	}
	shape := f.shape
	shape.Mapped = netip.Addr{} // nobody is there to translate
	_, err = f.addShape("generator", shape, near, in, in, false)
	return err
}

// place is a namespace with in0 towards the generator and out0 towards the
// receiver.
type place struct {
	ns       *netns.Namespace
	near, in port
	out, far port
}

func (f *field) place(name string) (p place, err error) {
	if p.ns, err = f.space(name); err != nil {
		return p, err
	}
	if p.near, p.in, err = cable(f.gen, p.ns, name, "in0"); err != nil {
		return p, err
	}
	p.out, p.far, err = cable(p.ns, f.far, "out0", name)
	return p, err
}

func (f *field) addOwner() error {
	p, err := f.place("owner")
	if err != nil {
		return err
	}
	if _, _, err = cable(p.ns, f.far, "ccl0", "owner-ccl"); err != nil {
		return err
	}
	n, err := f.openFastNode(p.ns, 1, f.shape.Flows, 0, []dataplane.Peer{{ID: 1, VTEP: vtep(1), Self: true}})
	if err != nil {
		return err
	}
	if err := n.own(&f.shape, p); err != nil {
		return err
	}
	t, err := f.add("owner", p.near, p.in, p.far, false)
	if err != nil {
		return err
	}
	t.check = n.only("forward_owner")
	return nil
}

// own installs every connection as established and owned. What in0 takes are
// its packets or, with Reply, its replies.
func (n *fastNode) own(shape *traffic.Shape, p place) error {
	n.sendsTo(p.out, p.far)
	for i := range shape.Flows {
		f := ownedFlow(shape.Key(i))
		f.Key[1] = shape.ReplyKey(i)
		if shape.Reply {
			f.Iface = [2]uint8{outside, inside}
		}
		if _, err := n.table.InsertFlow(f); err != nil {
			return fmt.Errorf("connection %d: %w", i, err)
		}
	}
	return nil
}

// ownedFlow is a connection that nobody translates.
func ownedFlow(k packet.FlowKey) flowtable.FlowSlot {
	return flowtable.FlowSlot{
		Key: [2]packet.FlowKey{k, k.Reverse()}, NextHop: [2]uint16{nextHop, nextHop},
		Iface: [2]uint8{inside, outside}, State: uint8(flowtable.TCPEstablished), Timeout: 3600,
	}
}

// only returns a check that all packets left by one outcome.
func (n *fastNode) only(want string) func() error {
	return func() error {
		all, err := n.dp.Counters()
		if err != nil {
			return err
		}
		var total uint64
		for _, v := range all {
			total += v
		}
		if all[want] == 0 || total-all[want] > total/1000 {
			return fmt.Errorf("%s: of %d packets %d left by %s", n.ns.Name(), total, all[want], want)
		}
		return nil
	}
}

// peers are the members 1 and 2, as node self sees them.
func peers(self wire.NodeID, macs [2][6]byte) []dataplane.Peer {
	list := make([]dataplane.Peer, 2)
	for i := range list {
		id := wire.NodeID(i + 1)
		list[i] = dataplane.Peer{ID: id, VTEP: vtep(id), MAC: macs[i], Incarnation: wire.Incarnation(id), Self: id == self}
	}
	return list
}

// forwards installs a forward entry to node 2 for every connection.
func (n *fastNode) forwards(shape *traffic.Shape) error {
	for i := range shape.Flows {
		if _, err := n.table.InsertForward(forwardOf(shape.Key(i))); err != nil {
			return fmt.Errorf("connection %d: %w", i, err)
		}
	}
	return nil
}

func forwardOf(k packet.FlowKey) flowtable.ForwardSlot {
	return flowtable.ForwardSlot{Key: k, Owner: 2, Incarnation: wire.Incarnation(2).Tag(), Iface: inside, Gen: 1}
}

// addForwarder is a node that owns nothing; the sink takes its data frames.
func (f *field) addForwarder() error {
	p, err := f.place("forwarder")
	if err != nil {
		return err
	}
	near, far, err := cable(p.ns, f.far, "ccl0", "fwd-ccl")
	if err != nil {
		return err
	}
	n, err := f.openFastNode(p.ns, 1, 0, f.shape.Flows, peers(1, [2][6]byte{near.mac, far.mac}))
	if err != nil {
		return err
	}
	if err := n.forwards(&f.shape); err != nil {
		return err
	}
	t, err := f.add("forwarder", p.near, p.in, far, true)
	if err != nil {
		return err
	}
	t.check = n.only("forward_ccl")
	return nil
}

// addChain is the whole asymmetric path: a forwarder, the CCL, the owner.
func (f *field) addChain() error {
	return f.addBehind("forwarder+owner", f.shape, f.shape.Flows, func(n *fastNode) error { return n.forwards(&f.shape) })
}

// addBehind is the way of packets that meet a node with so many forward entries and
// cross the CCL from there to their owner, which sends them on.
func (f *field) addBehind(name string, shape traffic.Shape, forwards int, begins func(*fastNode) error) error {
	a, err := f.place("chain-a")
	if err != nil {
		return err
	}
	b, err := f.place("chain-b")
	if err != nil {
		return err
	}
	ccl1, ccl2, err := cable(a.ns, b.ns, "ccl0", "ccl0")
	if err != nil {
		return err
	}
	macs := [2][6]byte{ccl1.mac, ccl2.mac}
	first, err := f.openFastNode(a.ns, 1, 0, forwards, peers(1, macs))
	if err != nil {
		return err
	}
	second, err := f.openFastNode(b.ns, 2, f.shape.Flows, 0, peers(2, macs))
	if err != nil {
		return err
	}
	if err := begins(first); err != nil {
		return err
	}
	if err := second.own(&shape, b); err != nil {
		return err
	}
	t, err := f.addShape(name, shape, a.near, a.in, b.far, false)
	if err != nil {
		return err
	}
	t.check = second.only("forward_owner_ccl")
	return nil
}

// linuxRouter makes a place forward by the kernel's routing table.
func (f *field) linuxRouter(name string) (p place, err error) {
	if p, err = f.place(name); err != nil {
		return p, err
	}
	if err := p.ns.Sysctl("net/ipv4/ip_forward", "1"); err != nil {
		return p, err
	}
	client, server := netip.MustParseAddr("172.16.0.2"), netip.MustParseAddr("172.17.0.2")
	if err := p.in.address(netip.MustParsePrefix("172.16.0.1/24"), client, p.near.mac); err != nil {
		return p, err
	}
	if err := p.out.address(netip.MustParsePrefix("172.17.0.1/24"), server, p.far.mac); err != nil {
		return p, err
	}
	if err := route(p.ns, netip.MustParsePrefix("10.0.0.0/8"), client); err != nil {
		return p, err
	}
	return p, route(p.ns, netip.PrefixFrom(traffic.Server, 24).Masked(), server)
}

func (f *field) addLinux() error {
	p, err := f.linuxRouter("linux")
	if err != nil {
		return err
	}
	_, err = f.add("linux", p.near, p.in, p.far, false)
	return err
}

// ruleset is a stateful firewall as people write it.
const ruleset = `table inet filter {
	chain forward {
		type filter hook forward priority filter; policy drop;
		ct state established,related accept
		ct state invalid drop
		iifname "in0" oifname "out0" ct state new accept
	}
}
`

func (f *field) addConntrack() error {
	p, err := f.linuxRouter("conntrack")
	if err != nil {
		return err
	}
	if err := nft(p.ns, ruleset); err != nil {
		return err
	}
	t, err := f.add("conntrack", p.near, p.in, p.far, false)
	if err != nil {
		return err
	}
	return f.establish(t, p)
}

func nft(ns *netns.Namespace, rules string) error {
	cmd := exec.Command("nft", "-f", "-")
	cmd.Stdin, cmd.Stderr = strings.NewReader(rules), os.Stderr
	if err := ns.Run(context.Background(), cmd); err != nil {
		return fmt.Errorf("nft: %w", err)
	}
	return nil
}

// establish opens every connection in both directions, as conntrack wants it
// for an established one. Every packet must arrive: a connection whose SYN-ACK
// was lost is tracked as well, and all that its client sends later is invalid.
func (f *field) establish(t *track, p place) error {
	t.check = func() error { return tracks(p.ns, f.shape.Flows) }
	for _, step := range []struct {
		what  string
		flags uint8
		reply bool
	}{{"SYN", traffic.SYN, false}, {"SYN-ACK", traffic.SYNACK, true}, {"ACK", traffic.ACK, false}} {
		shape := f.shape
		shape.Flags, shape.Reply, shape.Sequential = step.flags, step.reply, true
		shape.DMAC = p.in.mac
		open := func() error { return sendOnce(shape, p.near, t.sink) }
		if step.reply {
			shape.DMAC = p.out.mac
			open = func() error { return answerOnce(shape, p.far, p.near) }
		}
		if err := open(); err != nil {
			return fmt.Errorf("%s: opening: %s: %w", t.name, step.what, err)
		}
	}
	return t.check()
}

// sendOnce sends one packet of every connection, of a few two (whole batches
// are sent), and sees all of them arrive.
func sendOnce(shape traffic.Shape, from port, sink *traffic.Sink) error {
	s, err := traffic.NewSource(shape, from.index)
	if err != nil {
		return err
	}
	defer s.Close()
	before, err := sink.Taken()
	if err != nil {
		return err
	}
	if err := from.ns.Do(func() error { return s.Send(shape.Flows) }); err != nil {
		return err
	}
	want, n := uint64(traffic.Batches(shape.Flows)), uint64(0)
	for end := time.Now().Add(patience); n != want && time.Now().Before(end); { // the softirq thread may have the last ones
		now, err := sink.Taken()
		if err != nil {
			return err
		}
		n = now - before
	}
	if n != want {
		return fmt.Errorf("%d of %d arrived", n, want)
	}
	return nil
}

// answerOnce is sendOnce towards a port that has a sink no longer than that.
func answerOnce(shape traffic.Shape, from, to port) error {
	var sink *traffic.Sink
	err := to.ns.Do(func() (err error) {
		sink, err = traffic.NewSink(to.index, false, netip.Addr{})
		return err
	})
	if err != nil {
		return err
	}
	return errors.Join(sendOnce(shape, from, sink), sink.Close())
}

// tracks checks that conntrack knows exactly these connections.
func tracks(ns *netns.Namespace, flows int) error {
	return ns.Do(func() error {
		b, err := os.ReadFile("/proc/sys/net/netfilter/nf_conntrack_count")
		if err != nil {
			return err
		}
		if n, _ := strconv.Atoi(strings.TrimSpace(string(b))); n != flows {
			return fmt.Errorf("conntrack has %d connections, not %d", n, flows)
		}
		return nil
	})
}
