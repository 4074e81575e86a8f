package topology

import (
	"context"
	"errors"
	"net/netip"
	"slices"
	"testing"
	"time"

	"cohort/testenv/icmp"
)

func TestTracker_RemovesAPoweredOffNodeAndReturnsIt(t *testing.T) {
	for _, mode := range []struct {
		name  string
		spray bool
	}{{"ECMP", false}, {"spray", true}} {
		t.Run(mode.name, func(t *testing.T) {
			top := start(t, Config{Mode: Forwarders, Spray: mode.spray, Track: patient})
			server := udpEcho(t, top.Servers[0])
			ctx := within(t, 90*time.Second)
			node := top.Nodes[1]
			outage, err := node.PowerOff()
			if err != nil {
				t.Fatal(err)
			}
			t.Logf("power off took %v", outage.End.Sub(outage.Begin))
			for _, r := range []*Router{top.Inside, top.Outside} {
				at, err := r.Tracker().Wait(ctx, 1, false)
				if err != nil {
					t.Fatal(err)
				}
				if !at.After(outage.Begin) {
					t.Errorf("withdrawn %v before the outage", outage.Begin.Sub(at))
				}
				if slices.Contains(r.Live(), 2) {
					t.Errorf("live hops %v with node 2 off", r.Live())
				}
			}
			// Every new flow works at once: none is sent to the dead node.
			for range 32 {
				c, err := top.Clients[0].Namespace.DialUDP(server)
				if err != nil {
					t.Fatal(err)
				}
				exchange(t, c, ctx)
				c.Close()
			}
			if _, err := node.PowerOff(); err == nil {
				t.Error("a node was powered off twice")
			}
			if err := node.PowerOn(); err != nil {
				t.Fatal(err)
			}
			for _, r := range []*Router{top.Inside, top.Outside} {
				if _, err := r.Tracker().Wait(ctx, 1, true); err != nil {
					t.Fatal(err)
				}
			}
			if _, err := node.Namespace().Netlink().LinkByName(CCLIface); err != nil {
				t.Errorf("after power on: %v", err)
			}
			used := func() (bool, error) {
				sent, err := top.Inside.Sent()
				if err != nil {
					return false, err
				}
				c, err := top.Clients[0].Namespace.DialUDP(server)
				if err != nil {
					return false, err
				}
				defer c.Close()
				for range 20 {
					exchange(t, c, ctx)
				}
				after, err := top.Inside.Sent()
				if err != nil {
					return false, err
				}
				return growth(sent, after)[1] >= 10 || mode.spray, nil
			}
			if err := Poll(ctx, used); err != nil {
				t.Errorf("no flow meets the returned node: %v", err)
			}
		})
	}
}

// ping reports whether an address answers from a namespace within a second.
func ping(t *testing.T, from *Node, to netip.Addr, id uint16) bool {
	t.Helper()
	c, err := icmp.Open(from.Namespace(), id)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	c.SetReadDeadline(time.Now().Add(time.Second))
	if err := c.Send(to, 1, nil); err != nil {
		return false
	}
	_, err = c.Read()
	return err == nil
}

func TestCutCCL_CutsOneDirectionAndMends(t *testing.T) {
	top := start(t, Config{Nodes: 2, Mode: Bare, Track: patient})
	a, b := top.Nodes[0], top.Nodes[1]
	reachable := func() bool {
		for range 10 {
			if ping(t, a, b.CCL, 1) {
				return true
			}
		}
		return false
	}
	if !reachable() {
		t.Fatal("the link does not work before the cut")
	}
	for _, d := range []Direction{FromNode, ToNode, Both} {
		if err := a.CutCCL(d); err != nil {
			t.Fatal(err)
		}
		if ping(t, a, b.CCL, 2) {
			t.Errorf("direction %d is cut, yet a ping came back", d)
		}
		if err := errors.Join(a.CutCCL(d), a.MendCCL(d), a.MendCCL(d)); err != nil {
			t.Errorf("direction %d: cutting and mending twice: %v", d, err)
		}
		if !reachable() {
			t.Errorf("direction %d was mended, yet no ping comes back", d)
		}
	}
}

func TestSplitCCL_KeepsEachSideWholeAndTheSidesApart(t *testing.T) {
	top := start(t, Config{Nodes: 4, Mode: Bare, Track: patient})
	a, b, c, d := top.Nodes[0], top.Nodes[1], top.Nodes[2], top.Nodes[3]
	reach := func(from, to *Node) bool {
		for range 10 {
			if ping(t, from, to.CCL, 3) {
				return true
			}
		}
		return false
	}
	for _, split := range []struct {
		far             []*Node
		together, apart [][2]*Node
	}{
		{[]*Node{c, d}, [][2]*Node{{a, b}, {c, d}}, [][2]*Node{{a, c}, {d, b}}},
		{[]*Node{a}, [][2]*Node{{b, c}, {d, b}}, [][2]*Node{{a, b}}}, // from one split to another
		{[]*Node{a}, [][2]*Node{{c, d}}, [][2]*Node{{d, a}}},         // and again
		{nil, [][2]*Node{{a, d}, {b, c}}, nil},
	} {
		if err := top.SplitCCL(split.far...); err != nil {
			t.Fatal(err)
		}
		for _, p := range split.together {
			if !reach(p[0], p[1]) {
				t.Errorf("%s does not reach %s on its own side", p[0].Name, p[1].Name)
			}
		}
		for _, p := range split.apart {
			if ping(t, p[0], p[1].CCL, 4) {
				t.Errorf("%s reaches %s across the split", p[0].Name, p[1].Name)
			}
		}
	}
	if err := top.JoinCCL(); err != nil || !reach(a, c) {
		t.Errorf("joined, yet no ping crosses: %v", err)
	}
}

func TestLinkDown_TakesTheCarrierAndBringsItBack(t *testing.T) {
	top := start(t, Config{Nodes: 1, Mode: Bare, Track: patient})
	n := top.Nodes[0]
	carrier := func(want bool) {
		t.Helper()
		err := Poll(within(t, 10*time.Second), func() (bool, error) {
			l, err := n.Namespace().Netlink().LinkByName(OutsideIface)
			if err != nil {
				return false, err
			}
			const lowerUp = 1 << 16 // IFF_LOWER_UP
			return (l.Attrs().RawFlags&lowerUp != 0) == want, nil
		})
		if err != nil {
			t.Errorf("carrier is not %v: %v", want, err)
		}
	}
	carrier(true)
	if err := n.LinkDown(OutsideIface); err != nil {
		t.Fatal(err)
	}
	carrier(false)
	if err := n.LinkUp(OutsideIface); err != nil {
		t.Fatal(err)
	}
	carrier(true)
	if err := n.LinkDown("nope"); err == nil {
		t.Error("an unknown interface was taken down")
	}
}

func TestPoll_EndsWithItsContext(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if err := Poll(ctx, func() (bool, error) { return false, nil }); !errors.Is(err, context.Canceled) {
		t.Errorf("poll = %v, want canceled", err)
	}
}
