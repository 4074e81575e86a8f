package node

import (
	"net"
	"net/netip"
	"testing"
	"time"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"cohort/cluster/membership"
)

// TestCL5_NeighboursThatAnswerAreConfirmed: what the kernel doubts, and a heartbeat of a
// moment ago says to be right, is confirmed without ARP, and nothing else is.
func TestCL5_NeighboursThatAnswerAreConfirmed(t *testing.T) {
	vtep := netip.MustParseAddr("10.99.0.2")
	peer := membership.PeerStatus{Addr: vtep, Alive: true, HearsUs: true, LastHeard: 300 * time.Millisecond}
	spoil := func(f func(p *membership.PeerStatus)) membership.PeerStatus { p := peer; f(&p); return p }
	for _, c := range []struct {
		name              string
		state             int
		peer              membership.PeerStatus
		confirmed, absent bool
		asked             bool
	}{
		{name: "stale", state: unix.NUD_STALE, peer: peer, confirmed: true, asked: true},
		{name: "delay", state: unix.NUD_DELAY, peer: peer, confirmed: true, asked: true},
		{name: "probe", state: unix.NUD_PROBE, peer: peer, confirmed: true, asked: true},
		{name: "reachable", state: unix.NUD_REACHABLE, peer: peer},
		{name: "permanent", state: unix.NUD_PERMANENT, peer: peer},
		{name: "incomplete", state: unix.NUD_INCOMPLETE, peer: peer},
		{name: "failed", state: unix.NUD_FAILED, peer: peer, absent: true},
		{name: "dead", state: unix.NUD_STALE, peer: spoil(func(p *membership.PeerStatus) { p.Alive = false }), asked: true},
		{name: "does not hear us", state: unix.NUD_STALE, peer: spoil(func(p *membership.PeerStatus) { p.HearsUs = false }), asked: true},
		{name: "heard too long ago", state: unix.NUD_STALE, peer: spoil(func(p *membership.PeerStatus) { p.LastHeard = recent }), asked: true},
		{name: "another one", state: unix.NUD_STALE, peer: spoil(func(p *membership.PeerStatus) { p.Addr = p.Addr.Next() }), asked: true},
	} {
		e := netlink.Neigh{IP: net.IP(vtep.AsSlice()), State: c.state}
		if c.state != unix.NUD_FAILED && c.state != unix.NUD_INCOMPLETE {
			e.HardwareAddr = net.HardwareAddr{2, 0, 0, 0, 0, 2}
		}
		asked := false
		got := sift([]netlink.Neigh{e, {IP: net.ParseIP("fe80::1"), State: unix.NUD_STALE}}, func(a netip.Addr) bool {
			asked = true
			return answers(&membership.Status{Peers: []membership.PeerStatus{c.peer}}, a)
		})
		_, known := got.macs[vtep]
		if (len(got.confirm) == 1) != c.confirmed || (len(got.absent) == 1) != c.absent || asked != c.asked || known != (e.HardwareAddr != nil) {
			t.Errorf("%s: %+v, asked %v", c.name, got, asked)
		}
	}
}
