package node

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"reflect"
	"strings"
	"testing"
	"time"

	"cohort/api"
	"cohort/cluster/ownership"
	"cohort/packet"
)

func (n *testNode) pools() []api.NATPool {
	n.c.t.Helper()
	pools, err := provider{n.Node}.NATPools(context.Background())
	if err != nil {
		n.c.t.Fatal(err)
	}
	return pools
}

func (n *testNode) blocks(pool string) []api.NATBlock {
	n.c.t.Helper()
	list, err := provider{n.Node}.NATBlocks(context.Background(), pool)
	if err != nil {
		n.c.t.Fatal(err)
	}
	return list
}

func TestNT11_PoolsShowWhoHasWhat(t *testing.T) {
	c := newTestCluster(t, 3)
	held, names := 0, []string{"fw-a", "fw-b", "fw-c"}
	for i, n := range c.nodes {
		pools := n.pools()
		if len(pools) != 3 || pools[0].Name != "egress" || pools[1].Name != "voice" || pools[2].Name != "whole" {
			t.Fatalf("pools are %+v", pools)
		}
		p, whole := pools[0], pools[2]
		if p.Type != api.PoolPorts || p.BlockSize != 512 || p.Blocks.Total != 126 || p.Blocks.Held != 126 || p.Blocks.Frozen+p.Blocks.Limbo != 0 {
			t.Errorf("%s: pool %+v", names[i], p)
		}
		if whole.Type != api.PoolAddresses || whole.BlockSize != 0 || whole.Blocks.Total != 2 || len(whole.Addresses) != 2 || whole.Here.Ports != whole.Here.Held {
			t.Errorf("%s: pool %+v", names[i], whole)
		}
		if p.Here.Held != 42 || p.Here.Free != 42 || p.Here.Ports != 42*512 || p.Here.PortsUsed != 0 {
			t.Errorf("%s has %+v, want 42 idle blocks of 512 ports", names[i], p.Here)
		}
		held += p.Here.Held
		// Its own blocks, and those that it has the stubs of.
		backed := 0
		for _, b := range n.blocks("egress") {
			switch {
			case b.Holder != names[i] && b.Backup == names[i]:
				backed++
				fallthrough
			case b.Holder == names[i]:
				if b.Uses != 0 || b.State != api.BlockIdle {
					t.Errorf("%s: block %+v, want idle", names[i], b)
				}
			default:
				if b.Uses != -1 || b.State != api.BlockHeld {
					t.Errorf("%s: block %+v, want held and not known", names[i], b)
				}
			}
			if b.Target != b.Holder || b.Backup == b.Holder || b.Last-b.First != 511 {
				t.Errorf("%s: block %+v", names[i], b)
			}
		}
		if p.Blocks.Free != 42+backed || backed == 0 {
			t.Errorf("%s: %d free blocks, want its own and the %d that it backs", names[i], p.Blocks.Free, backed)
		}
		for j, s := range p.Addresses[0].Nodes {
			want := api.NATShare{Node: names[j], Blocks: 42, Used: -1, Free: -1}
			if i == j {
				want.Used, want.Free = 0, 42
			}
			if s != want {
				t.Errorf("%s: share %+v, want %+v", names[i], s, want)
			}
		}
	}
	if held != 126 {
		t.Errorf("all nodes together hold %d of 126 blocks", held)
	}
	if list := c.nodes[0].blocks("other"); list != nil {
		t.Errorf("blocks of an unknown pool: %v", list)
	}
}

func TestNT11_UseIsShown(t *testing.T) {
	c := newTestCluster(t, 3)
	for i := range 5 {
		c.send(0, udp(packet.Addr{10, 1, 0, 5}, uint16(5000+1000*i)))
	}
	used, open := 0, 0
	for _, n := range c.nodes {
		h := n.pools()[0].Here
		used += h.PortsUsed
		open += h.Held - h.Free
	}
	if used != 5 || open < 1 || open > 5 {
		t.Errorf("%d ports in use in %d blocks, want 5", used, open)
	}
	busy := 0
	for _, b := range c.nodes[0].blocks("egress") {
		if b.Holder == "fw-a" && b.State == api.BlockHeld {
			busy += b.Uses
		}
	}
	if busy != c.nodes[0].pools()[0].Here.PortsUsed {
		t.Errorf("blocks of fw-a have %d ports in use, the pool %d", busy, c.nodes[0].pools()[0].Here.PortsUsed)
	}
}

func TestNT5_BlocksOfADeadNodeAreShownFrozen(t *testing.T) {
	c := newTestCluster(t, 3)
	c.nodes[2].alive = false
	c.until("fw-c is removed", func() bool { return c.nodes[0].members() == 2 && c.nodes[1].members() == 2 })
	c.run(time.Second)
	p := c.nodes[0].pools()[0]
	if b := p.Blocks; b.Held != 84 || b.Frozen != 42 || b.Total != b.Held+b.Frozen+b.Limbo {
		t.Errorf("blocks %+v, want 42 frozen", b)
	}
	if got, want := p.Addresses[0].Nodes[2], (api.NATShare{Node: "fw-c", Blocks: 42, Frozen: 42}); got != want {
		t.Errorf("share %+v, want %+v", got, want)
	}
	frozen := 0
	v, _ := c.nodes[0].core.View()
	for unit, b := range c.nodes[0].blocks("egress") {
		if b.State != api.BlockFrozen {
			continue
		}
		frozen++
		director := memberName(v, c.nodes[0].core.Units().Director(unit))
		if b.Holder != "fw-c" || b.Backup != director || b.Target == "fw-c" {
			t.Errorf("block %+v, want that fw-c held it and others direct it", b)
		}
		if known := b.Backup == "fw-a"; known != (b.Uses == 0) {
			t.Errorf("block %+v: its director knows its uses, and nobody else", b)
		}
	}
	if frozen != 42 {
		t.Errorf("%d frozen blocks, want 42", frozen)
	}
}

func (n *testNode) members() int {
	v, _ := n.core.View()
	if v == nil {
		return 0
	}
	return len(v.Members)
}

func TestNT11_RefusalsAreShownByReason(t *testing.T) {
	c := newTestCluster(t, 1)
	c.nodes[0].drops.owner[ownership.ReasonNATPorts] = 7
	c.nodes[0].drops.owner[ownership.ReasonNoRoute] = 9
	pools := c.nodes[0].pools()
	seen := map[string]uint64{}
	for _, r := range pools[0].Here.Refused {
		seen[r.Reason] = r.Count
	}
	if n, ok := seen["nat_no_xlate"]; seen["nat_ports"] != 7 || len(seen) < 5 || !ok || n != 0 {
		t.Errorf("refused: %v", seen)
	}
	if _, there := seen["no_route"]; there || pools[1].Here.Refused != nil {
		t.Errorf("refused: %v, and %v by the second pool", seen, pools[1].Here.Refused)
	}
}

func TestNoPoolsWithoutNAT(t *testing.T) {
	p := provider{&Node{}}
	_, err := p.NATPools(context.Background())
	_, err2 := p.NATBlocks(context.Background(), "egress")
	err3 := p.Xlates(context.Background(), api.XlateFilter{}, nil)
	for _, err := range []error{err, err2, err3} {
		if !errors.Is(err, api.ErrNoNAT) {
			t.Errorf("error %v, want ErrNoNAT", err)
		}
	}
}

// lines are the translations of a node as short text.
func (n *testNode) lines(f api.XlateFilter) (list []string) {
	n.c.t.Helper()
	err := provider{n.Node}.Xlates(context.Background(), f, func(x *api.Xlate) bool {
		list = append(list, fmt.Sprintf("%s %s %s %v %v %v %s/%s", x.Type, x.Roles, x.Protocol, x.Real, mask(x.Mapped), x.Remote, x.Pool, x.Rule))
		return true
	})
	if err != nil {
		n.c.t.Fatal(err)
	}
	return list
}

// mask hides a port that was chosen at random.
func mask(a netip.AddrPort) string {
	if a.Port() < 1024 {
		return a.String()
	}
	return a.Addr().String()
}

// by gathers lines of all nodes that some role has.
func (c *testCluster) by(role rune) (list []string) {
	for _, n := range c.nodes {
		list = append(list, n.lines(api.XlateFilter{ConnFilter: api.ConnFilter{Role: role}})...)
	}
	return list
}

func TestNT11_XlatesSayWhatIsTranslated(t *testing.T) {
	stranger := packet.FlowKey{Src: packet.Addr{192, 0, 2, 7}, SrcPort: 99, Dst: packet.Addr{203, 0, 113, 11}, Proto: packet.ProtoUDP}
	for _, f := range []struct {
		what   string
		keys   []packet.FlowKey
		owner  []string
		others int // copies and stubs
	}{
		{"a port of a pool", []packet.FlowKey{udp(packet.Addr{10, 1, 0, 5}, 5000)},
			[]string{"connection udp 10.1.0.5:5000 203.0.113.10 192.0.2.1:53 egress/out"}, 2},
		{"a static mapping, from inside", []packet.FlowKey{udp(packet.Addr{10, 1, 8, 80}, 53)},
			[]string{"connection udp 10.1.8.80:53 203.0.113.80:53 192.0.2.1:53 /web"}, 2},
		{"a static mapping, from outside", []packet.FlowKey{{Src: packet.Addr{192, 0, 2, 7}, SrcPort: 99, Dst: packet.Addr{203, 0, 113, 80}, DstPort: 53, Proto: packet.ProtoUDP}},
			[]string{"connection udp 10.1.8.80:53 203.0.113.80:53 192.0.2.7:99 /web"}, 2},
		{"a mapping of a port, and its connection", []packet.FlowKey{udp(packet.Addr{10, 2, 0, 9}, 5060)},
			[]string{
				"mapping udp 10.2.0.9:5060 203.0.113.11 invalid AddrPort voice/sip",
				"connection udp 10.2.0.9:5060 203.0.113.11 192.0.2.1:53 voice/sip",
			}, 4},
		{"a mapping that a stranger uses", []packet.FlowKey{udp(packet.Addr{10, 2, 0, 9}, 5060), stranger},
			[]string{
				"mapping udp 10.2.0.9:5060 203.0.113.11 invalid AddrPort voice/sip",
				"connection udp 10.2.0.9:5060 203.0.113.11 192.0.2.1:53 voice/sip",
				"connection udp 10.2.0.9:5060 203.0.113.11 192.0.2.7:99 voice/sip",
			}, 6},
		{"a whole address", []packet.FlowKey{udp(packet.Addr{10, 3, 0, 9}, 7)},
			[]string{
				"mapping any 10.3.0.9:0 203.0.113.1x:0 invalid AddrPort whole/own",
				"connection udp 10.3.0.9:7 203.0.113.1x:7 192.0.2.1:53 whole/own",
			}, 4},
	} {
		t.Run(f.what, func(t *testing.T) {
			c := newTestCluster(t, 3)
			c.t = t
			for _, k := range f.keys {
				if k == stranger {
					k.DstPort = c.mappedPort()
				}
				c.send(0, k)
			}
			want := map[string]int{}
			for _, line := range f.owner {
				want[line]++
			}
			for _, line := range c.by(api.Owner) {
				want[ownerless(line)]--
			}
			for line, n := range want {
				if n != 0 {
					t.Errorf("owners show %d times less than expected: %s", n, line)
				}
			}
			others := 0
			for _, n := range c.nodes {
				all, own := n.lines(api.XlateFilter{}), n.lines(api.XlateFilter{Local: true})
				others += len(all) - len(own)
			}
			if others < f.others/2 || others > f.others {
				t.Errorf("others show %d: %q and %q", others, c.by(api.Backup), c.by(api.Stub))
			}
		})
	}
}

// mappedPort is that of the only mapping.
func (c *testCluster) mappedPort() (port uint16) {
	for _, n := range c.nodes {
		_ = provider{n.Node}.Xlates(context.Background(), api.XlateFilter{Local: true}, func(x *api.Xlate) bool {
			if x.Type == api.XlateMapping {
				port = x.Mapped.Port()
			}
			return true
		})
	}
	return port
}

// ownerless removes the roles of a line, and which address of a pool it was.
func ownerless(line string) string {
	f := strings.SplitN(line, " ", 3)
	f[2] = strings.NewReplacer("203.0.113.12", "203.0.113.1x", "203.0.113.13", "203.0.113.1x").Replace(f[2])
	return f[0] + " " + f[2]
}

func TestNT11_StatesOfABlock(t *testing.T) {
	for _, c := range []struct {
		unit  unitCopy
		state string
		share api.NATShare
		want  api.NATPool // counts only
	}{
		{unitCopy{holder: 1, target: 1, here: true, known: true, idle: true}, api.BlockIdle, api.NATShare{Node: "a", Blocks: 1, Free: 1},
			api.NATPool{Blocks: api.NATCount{Held: 1, Free: 1}, Here: api.NATHere{Held: 1, Free: 1, Ports: 64}}},
		{unitCopy{holder: 1, target: 1, here: true, known: true, used: 9}, api.BlockHeld, api.NATShare{Node: "a", Blocks: 1, Used: 1},
			api.NATPool{Blocks: api.NATCount{Held: 1}, Here: api.NATHere{Held: 1, Ports: 64, PortsUsed: 9}}},
		{unitCopy{holder: 1, target: 2, here: true, known: true, idle: true}, api.BlockLeased, api.NATShare{Node: "a", Blocks: 1, Free: 1},
			api.NATPool{Blocks: api.NATCount{Held: 1, Free: 1}, Here: api.NATHere{Held: 1, Free: 1, Ports: 64}}},
		{unitCopy{holder: 2, target: 2}, api.BlockHeld, api.NATShare{Node: "b", Blocks: 1, Used: -1, Free: -1},
			api.NATPool{Blocks: api.NATCount{Held: 1}}},
		{unitCopy{holder: 2, target: 2, known: true, idle: true}, api.BlockIdle, api.NATShare{Node: "b", Blocks: 1, Free: 1},
			api.NATPool{Blocks: api.NATCount{Held: 1, Free: 1}}},
		{unitCopy{holder: 1, target: 1, known: true, idle: true}, api.BlockIdle, api.NATShare{Node: "a", Blocks: 1, Free: 1}, // not settled yet
			api.NATPool{Blocks: api.NATCount{Held: 1, Free: 1}}},
		{unitCopy{target: 1, last: "gone", known: true, used: 3}, api.BlockFrozen, api.NATShare{Node: "gone", Blocks: 1, Frozen: 1},
			api.NATPool{Blocks: api.NATCount{Frozen: 1}}},
		{unitCopy{target: 1, known: true, idle: true}, api.BlockFrozen, api.NATShare{},
			api.NATPool{Blocks: api.NATCount{Frozen: 1}}},
		{unitCopy{target: 1, last: "giver", limbo: true, known: true, idle: true}, api.BlockLimbo, api.NATShare{},
			api.NATPool{Blocks: api.NATCount{Limbo: 1}}},
	} {
		if got := c.unit.state(); got != c.state {
			t.Errorf("%+v is %s, want %s", c.unit, got, c.state)
		}
		var p api.NATPool
		c.unit.count(&p, 64)
		if !reflect.DeepEqual(p, c.want) {
			t.Errorf("%+v counts %+v, want %+v", c.unit, p, c.want)
		}
		w, shares := unitWalk{}, map[string]*api.NATShare{}
		w.names[1], w.names[2] = "a", "b"
		w.share(&c.unit, shares)
		var got api.NATShare
		for _, s := range shares {
			got = *s
		}
		if got != c.share {
			t.Errorf("%+v gives share %+v, want %+v", c.unit, got, c.share)
		}
	}
}

// One block that is not known makes the node's sums unknown, whichever comes
// first.
func TestNT11_UnknownStaysUnknown(t *testing.T) {
	known, unknown := unitCopy{holder: 1, known: true, idle: true}, unitCopy{holder: 1}
	for _, order := range [][]unitCopy{{known, unknown, known}, {unknown, known, known}} {
		w, shares := unitWalk{}, map[string]*api.NATShare{}
		w.names[1] = "a"
		for i := range order {
			w.share(&order[i], shares)
		}
		if want := (api.NATShare{Node: "a", Blocks: 3, Used: -1, Free: -1}); *shares["a"] != want {
			t.Errorf("share %+v, want %+v", *shares["a"], want)
		}
	}
}
