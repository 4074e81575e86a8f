package core

import (
	"bytes"
	"fmt"
	"net/netip"
	"testing"
	"time"

	"cohort/ccl"
	"cohort/ccl/wire"
	"cohort/cluster/health"
	"cohort/cluster/membership"
	"cohort/cluster/ownership"
	"cohort/flowtable"
)

// trio is three cores or more, all of which start at once, and what their link loses.
type trio struct {
	t     *testing.T
	now   int64
	loses func(from, to, size int) bool
	kept  func(node int, why string) bool // on the node's disk; nil: everything is
	nodes []*third
	queue []datagram
}

type third struct {
	end
	tr *trio
}

func newTrio(t *testing.T, count int, loses func(from, to, size int) bool) *trio {
	tr := &trio{t: t, now: 1000 * int64(time.Second), loses: loses}
	var peers []netip.Addr
	for i := range count {
		peers = append(peers, vtep(i))
	}
	for i := range count {
		n := &third{end: end{index: i, life: wire.Incarnation(1000*i + 7)}, tr: tr}
		var seed [10]uint64
		for j := range seed {
			seed[j] = uint64(j)*0x9e3779b97f4a7c15 + 1
		}
		table, err := flowtable.New(flowtable.NewMemory(64, 64), seed)
		if err != nil {
			t.Fatal(err)
		}
		n.core, err = New(Config{
			IO: n,
			Membership: membership.Config{
				Self:    wire.Member{Name: fmt.Sprint("fw-", i), Serial: fmt.Sprint(i), VTEP: vtep(i), Incarnation: n.life, Priority: uint8(i + 1)},
				Cluster: "edge", Version: "1", DataMTU: 1500, Interfaces: []string{"in"}, Peers: peers,
				Hold: 300 * time.Millisecond, ElectionInterval: 100 * time.Millisecond, ElectionWait: 10 * time.Second,
			},
			Ownership: ownership.Config{Table: table, Copies: flowtable.NewBackupStore(seed, 64), Router: nowhere{}, Policy: nowhere{}, Timeouts: flowtable.DefaultTimeouts()},
			Endpoint:  ccl.EndpointConfig{Local: vtep(i), MTU: 1654, Rand: &counter{n: uint64(i)<<32 + uint64(tr.now)}},
			MTUCheck:  MTUEnforce,
			Health:    watching(),
			Kept:      func(why string) bool { return tr.kept == nil || tr.kept(i, why) },
		})
		if err != nil {
			t.Fatal(err)
		}
		tr.nodes = append(tr.nodes, n)
	}
	for _, n := range tr.nodes {
		n.core.Start(tr.now)
	}
	return tr
}

// Datagram implements IO; it takes end's place.
func (n *third) Datagram(to netip.Addr, b []byte, _ bool) {
	for i := range n.tr.nodes {
		if i != n.index && (!to.IsValid() || to == vtep(i)) && !n.tr.loses(n.index, i, len(b)+overhead) {
			n.tr.queue = append(n.tr.queue, datagram{i, vtep(n.index), bytes.Clone(b)})
		}
	}
}

func (tr *trio) run(d time.Duration) {
	var cores []*Core
	for _, n := range tr.nodes {
		cores = append(cores, n.core)
	}
	pass(&tr.now, d, &tr.queue, cores...)
}

// Three nodes start at once, as after a loss of power, and the port of one is bad: it
// carries small packets only, or nothing that is sent to that node. The other two know
// by each other that the fault is not theirs, and are a cluster; an operator sees to the
// third.
func TestCL3_HL3_ABadPortDisablesItsNodeAlone(t *testing.T) {
	for name, loses := range map[string]func(from, to, size int) bool{
		"narrow":         func(from, to, size int) bool { return (from == 2 || to == 2) && size > 1500 },
		"narrow one way": func(from, to, size int) bool { return to == 2 && size > 1500 },
		"deaf":           func(_, to, _ int) bool { return to == 2 },
	} {
		for bad := range 3 {
			tr := newTrio(t, 3, func(from, to, size int) bool {
				as := func(i int) int {
					switch i {
					case bad:
						return 2
					case 2:
						return bad
					}
					return i
				}
				return loses(as(from), as(to), size)
			})
			tr.run(20 * time.Second)
			for i, n := range tr.nodes {
				s := n.core.Ladder()
				if i == bad {
					if name != "deaf" && (n.members() != 0 || s.Phase == health.On) {
						t.Errorf("%s port of %d: it is in a view of %d, %s: %s", name, bad, n.members(), s.Phase, s.Why)
					}
				} else if n.members() != 2 || s.Phase != health.On {
					t.Errorf("%s port of %d: node %d is in a view of %d, %s: %s\n%q", name, bad, i, n.members(), s.Phase, s.Why, n.events)
				}
			}
		}
	}
}

// The cable between two halves of a cluster carries small packets only when all start:
// they hear each other, so they are not two clusters. Of two sides the larger one is one.
func TestCL3_EL5_ANarrowCableBetweenTwoSidesMakesNoTwoClusters(t *testing.T) {
	for _, c := range []struct{ count, left, want int }{{4, 2, 0}, {5, 3, 3}, {5, 2, 3}, {6, 3, 0}} {
		tr := newTrio(t, c.count, func(from, to, size int) bool { return (from < c.left) != (to < c.left) && size > 1500 })
		tr.run(20 * time.Second)
		served := map[string]bool{}
		most := 0
		for _, n := range tr.nodes {
			if v, _ := n.core.View(); v != nil {
				served[fmt.Sprint(v.Term, v.Epoch)] = true
				most = max(most, len(v.Members))
			}
		}
		if len(served) > 1 || most != c.want {
			t.Errorf("%d nodes, the first %d on one side: %d clusters, the largest of %d, want one of %d", c.count, c.left, len(served), most, c.want)
		}
	}
}
