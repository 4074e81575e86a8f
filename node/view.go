package node

import (
	"go.uber.org/zap"

	"cohort/ccl/wire"
	"cohort/cluster/membership"
	"cohort/dataplane"
)

// memberMACs is what the fast path needs to reach the members: their Ethernet
// addresses on the control link, which the kernel resolves for the VXLAN
// device.
type memberMACs struct {
	view    *wire.View
	self    wire.NodeID
	missing bool // a member has no resolved address yet
}

// Apply implements core.IO: the fast path serves this view from here on.
func (n *Node) Apply(v *wire.View, self wire.NodeID) {
	was, _, _ := n.dp.View()
	n.members = memberMACs{view: v, self: self}
	n.writeMembers()
	n.dp.SetView(v.Tag(), was, self)
	n.renewLease(dataplane.Now())
	n.state.put(saved{Incarnation: v.Member(self).Incarnation, ID: self, View: v, Interfaces: n.cfg.interfaceNames()})
	n.newest = n.newest.newer(v)
	n.views.put(n.newest)
	n.assignAddresses(int(self)) // first: the kernel drops an interface's later addresses with its first
	if rules := v.Control == self; rules || n.cluster.here {
		n.moveClusterAddresses(dataplane.Now(), rules)
	}
}

// starting is why a node that has just begun forwards nothing.
const starting = "starting"

// Fence implements core.IO: nothing is forwarded from here on.
func (n *Node) Fence(why string) {
	if n.heart != nil {
		n.heart.Permit(0)
		n.keeper.Fenced()
	}
	n.dp.RenewLease(0)
	n.dp.SetView(0, 0, 0)
	n.members = memberMACs{}
	n.moveClusterAddresses(dataplane.Now(), false)
	if err := n.dp.SetMembers(nil); err != nil {
		n.log.Error("fence", zap.Error(err))
	}
	n.state.put(saved{})
	if why != starting {
		n.log.Warn("fenced", zap.String("why", why))
	}
}

// Event implements core.IO.
func (n *Node) Event(e membership.Event) {
	n.log.Info(e.Cause, zap.String("state", membership.StateName(e.To)), zap.String("view", membership.ViewName(e.Term, e.Epoch)))
}

// writeMembers tells the fast path the members whose addresses are resolved.
func (n *Node) writeMembers() {
	m := &n.members
	if m.view == nil {
		return
	}
	macs := n.cclNeighbours()
	peers := make([]dataplane.Peer, 0, len(m.view.Members))
	m.missing = false
	for i := range m.view.Members {
		mem := &m.view.Members[i]
		p := dataplane.Peer{ID: mem.ID, VTEP: mem.VTEP, Incarnation: mem.Incarnation, Self: mem.ID == m.self}
		mac, ok := macs[mem.VTEP]
		if !ok && !p.Self {
			m.missing = true
			continue
		}
		p.MAC = mac
		peers = append(peers, p)
	}
	if err := n.dp.SetMembers(peers); err != nil {
		n.log.Error("members", zap.Error(err))
	}
}
