package behaviour

import (
	"testing"

	"cohort/testenv/topology"
)

// TestNT2_LoneNodeKeepsEveryFreePort leaves no excuse: a node that has all
// blocks keeps every port that is free, and gives another one for a port that
// is not.
func TestNT2_LoneNodeKeepsEveryFreePort(t *testing.T) {
	top := formed(t, topology.Config{Nodes: 1, Clients: 2, NAT: patOnly})
	m := serveMirror(t, top.Servers[0], 9000)
	given := make(map[uint16]bool)
	for range 100 {
		first := open(t, top.Clients[0])
		if given[first.port()] {
			continue // it is not free
		}
		as := first.learn(t, m.at)
		if as.Addr() != egress || as.Port() != first.port() {
			t.Errorf("port %d was free and is seen as %v", first.port(), as)
		}
		second := openAt(t, top.Clients[1], first.port())
		other := second.learn(t, m.at)
		if other.Addr() != egress || other.Port() < 1024 || given[other.Port()] || other == as {
			t.Errorf("port %d was taken; two connections are seen as %v and %v", first.port(), as, other)
		}
		given[as.Port()], given[other.Port()] = true, true
	}
}
