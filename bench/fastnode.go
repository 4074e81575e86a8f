package main

import (
	"net/netip"
	"time"

	"cohort/ccl/wire"
	"cohort/dataplane"
	"cohort/flowtable"
	"cohort/testenv/netns"
)

// What every fast node of the benchmarks has.
const (
	inside  = 1
	outside = 2
	nextHop = 1
	viewTag = 0x00010001
	vni     = 7
)

func vtep(id wire.NodeID) netip.Addr { return netip.AddrFrom4([4]byte{10, 99, 0, byte(id)}) }

// fastNode is the real dataplane of a node, without the daemon: its programs
// attached to in0, out0 and ccl0 of a namespace, a view, a lease, and the real
// flow table. What a daemon would have decided is written into it directly,
// since established connections never meet the daemon.
type fastNode struct {
	ns    *netns.Namespace
	dp    *dataplane.Dataplane
	table *flowtable.Table
}

// openFastNode needs the three interfaces to exist.
func (l *lab) openFastNode(ns *netns.Namespace, id wire.NodeID, flows, forwards int, members []dataplane.Peer) (*fastNode, error) {
	n := &fastNode{ns: ns}
	err := ns.Do(func() (err error) {
		n.dp, err = dataplane.Open(dataplane.Config{
			Interfaces: []dataplane.Interface{
				{ID: inside, Name: "inside", Device: "in0"}, {ID: outside, Name: "outside", Device: "out0"},
			},
			CCL: "ccl0", VTEP: vtep(id), VNI: vni, Flows: max(flows, 1), Forwards: max(forwards, 1), Delegations: forwards,
			Mode: dataplane.ModeNative, FastPath: true,
		})
		return err
	})
	if err != nil {
		return nil, err
	}
	l.onClose(func() error { return n.dp.Close(false) })
	if n.table, err = flowtable.New(n.dp.Table(), n.dp.HashSeed()); err != nil {
		return nil, err
	}
	if err := n.dp.SetMembers(members); err != nil {
		return nil, err
	}
	n.dp.RenewLease(dataplane.Now() + int64(time.Hour))
	n.dp.SetView(viewTag, 0, id)
	return n, nil
}

// sendsTo makes the neighbour at the far end of out0 the next hop of all flows.
func (n *fastNode) sendsTo(out, far port) {
	n.dp.NextHops()[nextHop].Store(dataplane.NextHop{
		DMAC: far.mac, SMAC: out.mac, Ifindex: uint32(out.index), MTU: 1500, Iface: outside, Flags: dataplane.NextHopValid,
	})
}
