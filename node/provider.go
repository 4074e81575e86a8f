package node

import (
	"context"
	"fmt"
	"net/netip"
	"sort"
	"strings"
	"time"

	"github.com/vishvananda/netlink"

	"cohort/api"
	"cohort/bpf"
	"cohort/ccl/seal"
	"cohort/ccl/wire"
	"cohort/cluster/membership"
	"cohort/cluster/ownership"
	"cohort/dataplane"
	"cohort/packet"
)

// provider answers the management API. Everything that belongs to the loop is
// copied inside it.
type provider struct{ n *Node }

var (
	_ api.Provider = provider{}
	_ api.Actor    = provider{}
)

// Info implements api.Provider.
func (p provider) Info(ctx context.Context) (api.Info, error) {
	var s membership.Status
	if err := p.n.inLoop(ctx, func(now int64) { s = p.n.core.Member().Status(now) }); err != nil {
		return api.Info{}, err
	}
	info := api.Info{
		Cluster: p.n.cfg.Bootstrap.Cluster, Self: s.Self.Name, State: membership.StateName(s.State),
		Config: membership.ConfigName(s.Running), Waiting: s.Unready,
	}
	for i := range p.n.cfg.Cluster.Interfaces {
		c := &p.n.cfg.Cluster.Interfaces[i]
		info.Addresses = append(info.Addresses, api.ClusterAddresses{Interface: c.Name, Addresses: c.ClusterAddresses()})
	}
	if s.Prepared != 0 {
		info.Prepared = membership.ConfigName(s.Prepared)
	}
	if s.View == nil {
		return info, nil
	}
	info.View = membership.ViewName(s.View.Term, s.View.Epoch)
	info.Term, info.Epoch, info.Control = membership.Round(s.View.Term), s.View.Epoch, memberName(s.View, s.View.Control)
	for i := range s.View.Members {
		info.Members = append(info.Members, member(&s, &s.View.Members[i]))
	}
	return info, nil
}

func member(s *membership.Status, m *wire.Member) api.Member {
	a := api.Member{
		ID: uint8(m.ID), Name: m.Name, Serial: m.Serial, Priority: m.Priority, Role: api.RoleData,
		State: membership.StateName(s.State), VTEP: m.VTEP, Incarnation: fmt.Sprintf("%016x", uint64(m.Incarnation)), LastHeardMS: -1,
	}
	if m.ID == s.View.Control {
		a.Role = api.RoleControl
	}
	for i := range s.Peers {
		if q := &s.Peers[i]; q.Addr == m.VTEP && m.Name != s.Self.Name {
			a.State = membership.StateName(q.State)
			if q.Heard {
				a.LastHeardMS = q.LastHeard.Milliseconds()
			}
		}
	}
	if s.View.Drains(m.ID) {
		a.State = "draining"
	}
	return a
}

// wall turns an instant of the monotonic clock into the time of day.
func wall(at int64) time.Time { return time.Now().Add(time.Duration(at - dataplane.Now())) }

// History implements api.Provider.
func (p provider) History(ctx context.Context) ([]api.Event, error) {
	var s membership.Status
	if err := p.n.inLoop(ctx, func(now int64) { s = p.n.core.Member().Status(now) }); err != nil {
		return nil, err
	}
	list := make([]api.Event, 0, len(s.Events))
	for _, e := range s.Events {
		a := api.Event{Time: wall(e.At), To: membership.StateName(e.To), Cause: e.Cause, Node: s.Self.Name}
		if e.From != e.To {
			a.From = membership.StateName(e.From)
		}
		list = append(list, a)
	}
	return list, nil
}

// Health implements api.Provider.
func (p provider) Health(ctx context.Context) (api.Health, error) {
	n := p.n
	var s membership.Status
	var lease, at int64
	var mtu error
	var own []api.Check
	err := n.inLoop(ctx, func(now int64) {
		for _, l := range n.fib.Links() {
			own = append(own, n.interfaceCheck(l.ID, l.Up, now))
		}
		ladder := n.core.Ladder()
		if c := n.rejoinCheck(&ladder); c != nil {
			own = append(own, *c)
		}
		own = append(own, n.foreign.checks(n.cfg.Bootstrap.CCL.Peers, n.core.Member().NameAt)...)
		s, lease, at, mtu = n.core.Member().Status(now), n.dp.Lease(), now, n.core.MTUError()
	})
	if err != nil {
		return api.Health{}, err
	}
	h := api.Health{State: membership.StateName(s.State), HoldTimeMS: n.cfg.Cluster.Health.HoldTime.Milliseconds(), Profile: "normal"}
	if n.heart != nil {
		h.Profile, h.Pulse = "fast", n.pulse(&s)
	}
	if lease != 0 {
		h.LeaseMS = (lease - at) / 1e6
	}
	for i := range s.Peers {
		q := &s.Peers[i]
		if q.Member.Name == "" {
			continue
		}
		c := api.Check{Member: q.Member.Name, Name: "heartbeat", OK: q.Heard && q.LastHeard < n.cfg.Cluster.Health.HoldTime, Since: wall(at).Add(-q.LastHeard)}
		switch {
		case s.Doubt:
			c.OK, c.Cause = false, "restarted; waiting for the cluster to confirm the membership"
		case !c.OK:
			c.Cause = fmt.Sprintf("silent for %v", q.LastHeard.Round(time.Millisecond))
		}
		h.Checks = append(h.Checks, c)
	}
	h.Checks = append(h.Checks, own...)
	if s.Refused != "" {
		h.Checks = append(h.Checks, api.Check{Member: s.Self.Name, Name: "join", Cause: s.Refused, Since: wall(at)})
	}
	if s.Prepared != 0 {
		h.Checks = append(h.Checks, api.Check{Member: s.Self.Name, Name: "configuration", Cause: waiting(&s), Since: wall(at)})
	}
	h.Checks = append(h.Checks, narrowChecks(&s, wall(at))...)
	if mtu != nil && len(s.Narrow) == 0 {
		h.Checks = append(h.Checks, api.Check{Member: s.Self.Name, Name: "control link mtu", Cause: mtu.Error(), Since: wall(at)})
	}
	return h, nil
}

// Interfaces implements api.Provider.
func (p provider) Interfaces(context.Context) ([]api.Interface, error) {
	n := p.n
	modes := map[string]string{}
	for _, a := range n.dp.Status() {
		modes[a.Device] = a.Mode.String()
	}
	ccl := n.cfg.Bootstrap.CCL
	list := []api.Interface{describeLink(api.Interface{Name: "control link", Device: ccl.Interface}, modes)}
	for _, i := range n.cfg.Cluster.Interfaces {
		list = append(list, describeLink(api.Interface{Name: i.Name, ID: i.ID, Device: i.Device, Trust: i.Trust}, modes))
	}
	return list, nil
}

func describeLink(i api.Interface, modes map[string]string) api.Interface {
	i.XDP = modes[i.Device]
	if i.XDP == "" {
		i.XDP = "none"
	}
	l, err := netlink.LinkByName(i.Device)
	if err != nil {
		return i
	}
	i.MTU, i.Up = l.Attrs().MTU, l.Attrs().OperState == netlink.OperUp
	addrs, _ := netlink.AddrList(l, netlink.FAMILY_ALL)
	for _, a := range addrs {
		ones, _ := a.Mask.Size()
		ip, ok := netip.AddrFromSlice(a.IP)
		if ip = ip.Unmap(); ok && !(ip.Is6() && ip.IsLinkLocalUnicast()) {
			i.Addresses = append(i.Addresses, netip.PrefixFrom(ip, ones))
		}
	}
	return i
}

func (n *Node) ifaceName(id uint8) string {
	for _, i := range n.cfg.Cluster.Interfaces {
		if i.ID == id {
			return i.Name
		}
	}
	return ""
}

// Tables implements api.Provider.
func (p provider) Tables(ctx context.Context) (t api.Tables, err error) {
	n := p.n
	err = n.inLoop(ctx, func(int64) {
		s := n.table.Stats()
		t = api.Tables{Owned: s.Flows, Copies: n.copies.Len(), Joined: n.copies.JoinedLen(), Forwards: s.Forwards, Lent: n.core.Owner().LentNow(), Delegated: s.Delegations}
		if n.stubs != nil {
			t.Stubs = n.stubs.Len()
		}
	})
	l := n.cfg.Cluster.Limits
	t.MaxOwned, t.MaxCopies, t.MaxForwards, t.MaxDelegations = l.Connections, 2*l.Connections, l.Forwards, l.Delegations
	return t, err
}

// Counters implements api.Provider. Every packet that reached this node is
// counted once by XDP. One handed to Go is counted a second time by what Go did
// with it, so that at rest:
// punts + icmp_errors + extra_fragments = slow_sent + slow drops.
func (p provider) Counters(ctx context.Context) ([]api.Counter, error) {
	n := p.n
	xdp, err := n.dp.Counters()
	if err != nil {
		return nil, err
	}
	var list []api.Counter
	for o := range bpf.Outcome(bpf.NumOutcomes) {
		if o.Known() {
			list = append(list, api.Counter{Kind: o.Kind().String(), Name: o.String(), Value: xdp[o.String()], Description: o.Description()})
		}
	}
	err = n.inLoop(ctx, func(int64) { list = append(list, n.loopCounters()...) })
	return list, err
}

// loopCounters are those of the slow path, the roles and the link.
func (n *Node) loopCounters() []api.Counter {
	var list []api.Counter
	add := func(kind, name string, v uint64, text string) {
		list = append(list, api.Counter{Kind: kind, Name: name, Value: v, Description: text})
	}
	for r := packet.OK + 1; r.String() != "invalid"; r++ {
		add(api.KindDrop, "slow_"+strings.ReplaceAll(r.String(), "-", "_"), n.drops.parse[r], r.Describe())
	}
	for _, r := range ownership.Reasons() {
		add(api.KindDrop, "slow_"+r.String(), n.drops.owner[r], r.Describe())
	}
	for r := range numReasons {
		add(api.KindDrop, "slow_"+reasonNames[r][0], n.drops.own[r], reasonNames[r][1])
	}
	drops := n.io.Drops()
	names := make([]string, 0, len(drops))
	for name := range drops {
		names = append(names, name)
	}
	sort.Strings(names)
	for _, name := range names {
		if name == dataplane.Sent.String() {
			add("forward", "slow_sent", drops[name], "packets that Go sent: handed over by XDP, and ICMP errors and fragments made here")
			add("role", "extra_fragments", n.fragments, "fragments that this node made, beyond the first of each packet")
			add("role", "icmp_errors", n.generated, "ICMP errors that this node made as a router")
			continue
		}
		add(api.KindDrop, "slow_io_"+name, drops[name], "the slow path could not send the packet")
	}
	s := n.core.Owner().Stats()
	add("role", "connections_created", s.Created, "connections this node came to own by their first packet")
	add("role", "connections_adopted", s.Adopted, "connections taken over from a dead owner (FR11)")
	add("role", "connections_bequeathed", s.Bequeathed, "connections given to other nodes, as this one drained (EL10)")
	add("role", "connections_inherited", s.Inherited, "connections taken from a node that drained (EL10)")
	add("role", "connections_closed", s.Closed, "owned connections that ended")
	add("role", "duplicate_owners", s.Duplicates, "provisional owners that lost to an earlier claim (FR14)")
	add("role", "claims_sent", s.Claims, "claims sent to directors")
	add("role", "queries_sent", s.Queries, "queries sent to directors")
	add("role", "syn_acks_sequenced", s.Sequenced, "SYN-ACKs led to their owner by what they acknowledge, with no query (FR5)")
	add("role", "sequences_followed", s.Followed, "connections that go on with the sequence number another node gave their initiator (FR14)")
	add("role", "questions_answered", s.Answered, "claims and queries answered as director")
	add("role", "questions_parked", s.Parked, "questions that waited at this director")
	add("role", "reregistered", s.Reregister, "connections registered again after a change of view (FR12)")
	add("role", "non_owner_packets", s.NonOwner, "packets in Go that met a node that does not own them")
	add("role", "copies_full", s.CopiesFull, "director or backup entries that found no room")
	_, unshared := n.copies.Beside()
	if n.stubs != nil {
		_, more := n.stubs.Beside()
		unshared += more
	}
	add("role", "copies_unshared", unshared, "copies and stubs that took 32 bytes more because too many combinations of rule, interfaces, timeout and state are in use")
	add("role", "delegations_lent", s.Lent, "delegations granted to nodes where packets of owned connections enter")
	add("role", "delegations_lent_full", s.LentFull, "delegations refused because limits.delegations of them were lent")
	add("role", "delegations_taken", s.Taken, "delegations that owners have granted to this node")
	add("role", "delegations_taken_full", s.TakenFull, "delegations that this node had no room or no route for")
	add("role", "delegations_unrenewed", s.Unrenewed, "renewals that waited for a revocation that the control link had lost")
	add("role", "exposed_packets", s.Exposed, "packets of durability sync that left before the copy of their connection was stored (FR13)")
	f := n.core.Fragments().Stats()
	add("role", "fragmented_datagrams", f.Datagrams, "datagrams of which this node was the fragment owner (FR10)")
	add("role", "fragmented_complete", f.Complete, "... all of whose fragments it has seen")
	add("role", "fragments_held", f.Held, "fragments that waited for the first of their datagram")
	if n.stubs != nil {
		n.natCounters(add)
	}
	l, beside := n.link.Counters(), n.io.Tunnelled()
	add("link", "link_received", l.Received, "datagrams of the control link")
	add("link", "link_sent", l.Sent+beside.Sent, "datagrams sent on the control link")
	add("link", "link_sent_beside", beside.Sent, "... of state, which left by the way of packets (AF_XDP) and not through the kernel's device")
	add("link", "link_kernel_member", beside.Member, "datagrams of state that were left to the kernel's device: for who is no member, or has no MAC that is known yet")
	add("link", "link_kernel_too_large", beside.TooBig, "... because they are larger than the control link takes now, or than fits the ring of packets")
	add("link", "link_kernel_ring_full", beside.Full, "... because the interface had not taken what was in that ring, or no frame was free")
	add("link", "link_unknown_peer", l.UnknownPeer, "datagrams from an address that is no configured peer")
	add("link", "link_send_failed", l.SendFull+l.SendTooBig+l.SendFailed, "datagrams that could not be sent")
	n.beatCounters(add)
	sealed := n.sealer.Counters()
	add("link", "link_refused", sealed.Refused(), "datagrams that failed authentication or replay checks (CL4), by reason:")
	for r := seal.Reflected; r < seal.NumReasons; r++ {
		add("link", "link_"+r.String(), sealed[r], r.Describe())
	}
	state := n.core.Link().StateTotals()
	add("link", "link_state_messages", state.SentMessages, "state messages sent to the peers that are known now (CL7)")
	add("link", "link_state_segments", state.SentSegments, "datagrams that they took, acknowledgements without messages and repetitions included")
	add("link", "link_state_acknowledgements", state.SentAcks, "... of these without messages")
	add("link", "link_state_repeated", state.Retransmits, "... of these repeated, because no acknowledgement came in time")
	e := n.core.Link().Counters()
	add("link", "link_malformed", e.Malformed, "authenticated datagrams of no kind or shape that this version knows: of these nothing is read")
	add("link", "link_bad_messages", e.BadMessages, "authenticated batches with a message that does not decode: what follows it is not read")
	add("link", "link_unknown_messages", e.UnknownMessages, "authenticated messages of a type that this version does not know, skipped")
	add("link", "link_overtaken", e.Overtaken, "heartbeats that arrived after a newer one: their sender lives, and what they said was over (CL6)")
	add("link", "link_resets", e.Resets, "times that a peer had started over, or been forgotten, and all was told again")
	senseless, strangers := n.core.Member().Ignored()
	add("link", "membership_senseless", senseless, "authenticated membership messages that no node can have sent in earnest: names, ids or views out of range")
	add("link", "membership_strangers", strangers, "authenticated membership messages from an address that is no configured peer")
	return list
}

// natCounters are those of a node that translates.
func (n *Node) natCounters(add func(kind, name string, v uint64, text string)) {
	u, p := n.core.Units().Stats(), n.core.Translator().Ports().Stats()
	add("nat", "nat_conflicts", n.core.Owner().Stats().NATConflicts, "two connections with one second key: must stay 0 (NT4)")
	add("nat", "blocks_given", u.Given, "port blocks handed to other nodes")
	add("nat", "blocks_taken", u.Taken, "port blocks received from other nodes")
	add("nat", "blocks_taken_back", u.TakenBack, "port blocks whose receiver never took them")
	add("nat", "blocks_thawed", u.Thawed, "frozen port blocks that this node brought back (NT5)")
	add("nat", "blocks_dropped", u.Dropped, "port blocks given up because this node lost its state")
	add("nat", "leases_in", u.LeasesIn, "port blocks received on request (NT3)")
	add("nat", "leases_out", u.LeasesOut, "port blocks given on request")
	add("nat", "leases_refused", u.Refused, "requests for a port block that this node had none for")
	add("nat", "ports_wanted", n.core.Translator().Stats().Wanted, "times that a connection found no port here and a block was asked for")
	add("nat", "hold_down_cut", p.HoldDownCut, "hold-downs that ended early because nat.hold_down_max was reached")
	add("nat", "releases_unmatched", p.Unmatched, "ports given back that were not in use: an error of the program")
	if n.xlog != nil {
		add("nat", "xlates_unlogged", n.xlog.lost.Load(), "lines about translations or blocks that are missing in the log, which could not keep up")
	}
}
