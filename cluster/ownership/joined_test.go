package ownership

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"

	"cohort/ccl/wire"
	"cohort/flowtable"
	"cohort/packet"
	"cohort/policy"
)

// joiningCluster is a cluster whose nodes choose ports so that copy and stub meet, and
// that counts what is sent.
func joiningCluster(t testing.TB, d policy.Durability, ids ...wire.NodeID) (c *cluster, sent map[wire.Type]int) {
	c = newBareCluster(t)
	c.nat = true
	sent = map[wire.Type]int{}
	for _, id := range ids {
		n := c.boot(id)
		n.fake.joins = true
		n.core.cfg.Policy = durable{*n, d}
		n.core.cfg.Trace = func(from, _ wire.NodeID, m wire.Message) {
			if from == id {
				sent[m.Type()]++
			}
		}
	}
	c.apply(1, 1, ids...)
	c.run(50 * ms)
	clear(sent)
	return c, sent
}

// joinedAt fails unless a connection has one entry beside its owner's, which both keys
// lead to and which names the owner, and returns where.
func (c *cluster) joinedAt(k, reply packet.FlowKey) (holder wire.NodeID) {
	c.t.Helper()
	owner := c.oneOwner(k)
	gen := c.flow(owner, k).Gen
	for id, n := range c.nodes {
		if n.dead || id == owner {
			continue
		}
		e, copied := n.copies.Get(k)
		s, known := n.core.stub(reply)
		if !copied && !known {
			continue
		}
		if !copied || e != s || holder != 0 || wire.NodeID(e.Owner()) != owner || e.Gen() != gen || n.stubs.Len() != 0 || n.fake.uses[reply] != 1 {
			c.t.Fatalf("node %d has of %v: copy %v %+v, stub %v %+v, %d uses; node %d has a joined copy", id, k, copied, e, known, s, n.fake.uses[reply], holder)
		}
		holder = id
	}
	if holder == 0 {
		c.t.Fatalf("nobody has a copy of %v", k)
	}
	return holder
}

// Where one node keeps both, a connection costs one entry and one message less: no bind
// is sent, and one close ends both. With durability sync nothing is waited for in vain.
func TestNT4_FR3_OneEntryAndNoBindWhereOneNodeKeepsBoth(t *testing.T) {
	for _, ids := range [][]wire.NodeID{{1, 2}, {1, 2, 3, 4}} {
		for _, proto := range []uint8{packet.ProtoUDP, packet.ProtoTCP} {
			for _, d := range []policy.Durability{policy.Async, policy.Sync} {
				t.Run(fmt.Sprintf("%d nodes, protocol %d, durability %d", len(ids), proto, d), func(t *testing.T) {
					c, sent := joiningCluster(t, d, ids...)
					directed := map[bool]int{}
					for port := byte(1); port <= 20; port++ {
						k := inside(port, proto)
						owner := ids[int(port)%len(ids)]
						began := c.now
						owner, v := c.at(owner, talk(k, k.Reverse())[0])
						wantForward(t, v)
						if c.now-began > 20*ms {
							t.Fatalf("the first packet waited for %d ms", (c.now-began)/ms)
						}
						c.run(20 * ms)
						reply := c.reply(k)
						c.joinedAt(k, reply)
						directed[c.nodes[owner].core.director(k) == owner]++
						for _, p := range talk(k, reply)[1:] {
							_, v = c.at(owner, p)
							wantForward(t, v)
							c.run(5 * ms)
						}
						holder := c.joinedAt(k, reply)
						at, v := c.at(holder, talk(k, reply)[3])
						if wantForward(t, v); at != owner {
							t.Fatalf("node %d forwards what node %d owns", at, owner)
						}
						if sent[wire.TypeBind] != 0 {
							t.Fatalf("%d binds", sent[wire.TypeBind])
						}
						clear(sent)
						n := c.nodes[owner]
						n.core.closeFlow(n.table.Lookup(k).Slot())
						if sent[wire.TypeClose] != 1 {
							t.Fatalf("%d closes", sent[wire.TypeClose])
						}
						c.run(5 * ms)
						if e, known := c.nodes[holder].core.stub(reply); !known || e.Flags()&wire.ConnTomb == 0 || c.nodes[holder].copies.Len() != 0 {
							t.Fatalf("after the close, node %d has a tomb: %v, and %d copies", holder, known, c.nodes[holder].copies.Len())
						}
						c.run(14_000 * ms)
						c.wantNoUse()
					}
					for _, n := range c.nodes {
						if n.core.Stats().Exposed != 0 {
							t.Errorf("node %d exposed %d packets", n.id, n.core.Stats().Exposed)
						}
					}
					if directed[true] == 0 || directed[false] == 0 {
						t.Errorf("owners that direct: %v; want both kinds", directed)
					}
				})
			}
		}
	}
}

// A joined copy comes apart where the two keys lead to different nodes, and is one entry
// again where they meet; and whoever takes over from it keeps the translation.
func TestNT4_AJoinedCopyComesApartAndTogether(t *testing.T) {
	apart, together := 0, 0
	for port := byte(1); port < 30; port++ {
		c, _ := joiningCluster(t, policy.Async, 1, 2, 3, 4)
		k := inside(port, packet.ProtoUDP)
		_, v := c.at(1, udp(k))
		wantForward(t, v)
		c.run(20 * ms)
		reply := c.reply(k)
		first := c.joinedAt(k, reply)
		c.kill(first)
		var left []wire.NodeID
		for id := wire.NodeID(1); id <= 4; id++ {
			if id != first {
				left = append(left, id)
			}
		}
		c.apply(1, 2, left...)
		c.run(8000 * ms)
		owner := c.oneOwner(k)
		copied, bound := c.nodes[owner].core.backup(k, owner), c.nodes[owner].core.backup(reply, owner)
		if copied == bound {
			together++
			if at := c.joinedAt(k, reply); at != copied {
				t.Fatalf("joined at node %d, want %d", at, copied)
			}
		} else {
			apart++
			e, kept := c.nodes[copied].copies.Get(k)
			s, known := c.nodes[bound].core.stub(reply)
			if !kept || !known || wire.NodeID(e.Owner()) != owner || wire.NodeID(s.Owner()) != owner || c.nodes[copied].copies.JoinedLen() != 0 {
				t.Fatalf("copy %+v at node %d, stub %+v at node %d, owner %d", e, copied, s, bound, owner)
			}
		}
		c.wantUsedOnce(reply, owner, bound)
		c.kill(owner)
		left = slices.DeleteFunc(left, func(id wire.NodeID) bool { return id == owner })
		c.apply(1, 3, left...)
		c.run(100 * ms)
		_, v = c.at(left[0], udp(reply))
		if wantForward(t, v); c.reply(k) != reply {
			t.Fatalf("it goes on as %v, want %v", c.reply(k), reply)
		}
	}
	if apart == 0 || together == 0 {
		t.Errorf("%d came apart, %d met again: want both", apart, together)
	}
}

// An owner needs no stub, whatever became of the copy: the key is in use by its flow.
func TestNT4_AJoinedCopyWithoutItsStubIsACopy(t *testing.T) {
	c, _ := joiningCluster(t, policy.Async, 1, 2)
	k := inside(1, packet.ProtoUDP)
	owner, v := c.at(1, udp(k))
	wantForward(t, v)
	c.run(20 * ms)
	reply := c.reply(k)
	n := c.nodes[3-owner]
	c.joinedAt(k, reply)
	n.core.clearStub(reply)
	if _, copied := n.copies.Get(k); !copied || n.core.bound(reply) || n.fake.uses[reply] != 0 {
		t.Errorf("copy %v, stub %v, %d uses", copied, n.core.bound(reply), n.fake.uses[reply])
	}
}

// Of nodes that join, one gets the copy and another the second key; or one of them only
// moves. What was both goes, or stays as what it still is, and no key is left in use.
func TestNT4_FR12_AJoinedCopyFollowsBothKeys(t *testing.T) {
	moved := map[string]int{}
	for port := byte(1); port < 40; port++ {
		c := newBareCluster(t)
		c.nat = true
		all := []wire.NodeID{1, 2, 3, 4}
		for _, id := range all {
			c.boot(id).fake.next = 1023 + 4096*uint16(port%15) // another unit each time
		}
		c.apply(1, 1, 1, 2)
		c.run(50 * ms)
		k := inside(port, packet.ProtoUDP)
		_, v := c.at(1, udp(k))
		wantForward(t, v)
		c.run(20 * ms)
		reply := c.reply(k)
		owner, was := c.oneOwner(k), c.joinedAt(k, reply)
		c.apply(1, 2, all...)
		c.run(20_000 * ms)
		copied, bound := c.nodes[owner].core.backup(k, owner), c.nodes[owner].core.backup(reply, owner)
		switch {
		case copied == bound:
			moved["together"]++
			if at := c.joinedAt(k, reply); at != copied {
				t.Fatalf("joined at node %d, want %d", at, copied)
			}
		case copied == was:
			moved["stub"]++
		case bound == was:
			moved["copy"]++
		default:
			moved["both"]++
		}
		c.wantStub(reply, bound, owner)
		c.wantUsedOnce(reply, owner, bound)
		for id, n := range c.nodes {
			if _, ok := n.copies.Get(k); ok != (id == copied) {
				t.Fatalf("node %d has a copy: %v, want it at %d only", id, ok, copied)
			}
		}
	}
	for _, what := range []string{"together", "stub", "copy", "both"} {
		if moved[what] == 0 {
			t.Errorf("never moved: %s; %v", what, moved)
		}
	}
}

// wantUsedOnce fails unless a key is in use once at each of two nodes, and nowhere else.
func (c *cluster) wantUsedOnce(reply packet.FlowKey, at ...wire.NodeID) {
	c.t.Helper()
	for id, n := range c.nodes {
		want := 0
		for _, a := range at {
			if a == id {
				want = 1
			}
		}
		if got := n.fake.uses[reply]; !n.dead && got != want {
			c.t.Fatalf("node %d counts %d uses of %v, want %d", id, got, reply, want)
		}
	}
}

// That a copy and a stub are one entry is a matter of memory: whatever happens, the same
// messages are sent, the same packets pass and the same keys are in use as when they are
// never joined. Two things differ: orphans are handed over in the order in which the tables
// are walked, and a second key once, with the time of its copy, and not for both.
func TestNT4_NothingTellsWhetherCopyAndStubAreOneEntry(t *testing.T) {
	joined := 0
	for seed := range uint64(24) {
		one, n := playTwice(t, seed, nil)
		two, none := playTwice(t, seed, func(c *Core) { c.joinFn = func(packet.FlowKey) bool { return false } })
		if joined += n; none != 0 {
			t.Fatalf("seed %d: %d copies are joined where none should be", seed, none)
		}
		wantSame(t, seed, one, two)
	}
	if joined == 0 {
		t.Error("nothing was ever joined")
	}
}

// wantSame compares what playTwice has seen.
func wantSame(t *testing.T, seed uint64, one, two []string) {
	t.Helper()
	for i := range min(len(one), len(two)) {
		if one[i] != two[i] {
			t.Fatalf("seed %d, event %d: %s; otherwise: %s", seed, i, one[i], two[i])
		}
	}
	if len(one) != len(two) {
		t.Fatalf("seed %d: %d events, otherwise %d", seed, len(one), len(two))
	}
}

// playTwice plays random packets, views, cuts, losses and closes, and returns what
// could be seen. change is applied to every core; nil: nothing.
func playTwice(t *testing.T, seed uint64, change func(*Core)) (log []string, joined int) {
	rng := rand.New(rand.NewPCG(seed, 9))
	c := newBareCluster(t)
	c.nat = true
	all := []wire.NodeID{1, 2, 3, 4}[:2+seed%3]
	for _, id := range all {
		n := c.boot(id)
		n.fake.joins, n.fake.open, n.fake.most = seed%4 != 0, true, 6
		if change != nil {
			change(n.core)
		}
		n.core.cfg.AgeEvery = n.core.cfg.TickEvery // copies and stubs are aged in one instant
		if seed%3 == 0 {
			n.core.cfg.Policy = durable{*n, policy.Sync}
		}
		n.core.cfg.Trace = func(from, to wire.NodeID, m wire.Message) {
			if b, ok := m.(*wire.Bind); ok {
				untimed := *b
				untimed.Timeout, m = 0, &untimed
			}
			if from == id {
				log = append(log, fmt.Sprintf("%d: %d to %d: %T %+v", c.now, from, to, m, m))
			}
		}
	}
	h := c.hail(rng, all)
	for range 300 {
		at := h.anyNode()
		p := h.fromInside()
		if rng.IntN(8) >= 5 {
			var ok bool
			if p, ok = h.answer(); !ok {
				continue
			}
		}
		h.throw(at, p, func(at wire.NodeID, v Verdict) {
			log = append(log, fmt.Sprintf("%d: node %d: %v %+v", c.now, at, p.Key, v))
		})
		switch r := rng.IntN(80); {
		case r < 2:
			c.refus[h.anyNode()] = true
		case r < 8:
			clear(c.refus)
		case r < 11:
			h.newView()
		case r == 11:
			c.run(int64(rng.IntN(8000)) * ms)
		case r == 12:
			c.nodes[at].core.PeerReset()
		case r < 16:
			c.nodes[at].table.ScanFlows(0, 1<<20, func(slot uint32, f *flowtable.FlowSlot) bool {
				if f.Flags&flowtable.FlowProvisional == 0 && f.Key[0].SrcPort%3 == 0 {
					c.nodes[at].core.closeFlow(slot)
				}
				return true
			})
		}
		c.run(int64(rng.IntN(4)) * ms / 4)
		for _, id := range all {
			n := c.nodes[id]
			log = append(log, fmt.Sprintf("%d: node %d: %d copies, %d stubs, uses %v, %d copies full", c.now, id, n.copies.Len(), n.stubs.Len()+n.copies.JoinedLen(), n.fake.uses, n.core.Stats().CopiesFull))
			joined += n.copies.JoinedLen()
			n.table.ScanFlows(0, 1<<20, func(slot uint32, f *flowtable.FlowSlot) bool {
				log = append(log, fmt.Sprintf("%d: node %d: %v: generation %d, flags %x, second key at %d, state %d", c.now, id, f.Key, f.Gen, f.Flags, f.Stub, f.State))
				return true
			})
		}
	}
	return sorted(log), joined
}

// sorted is what happened in each instant, in one order, and nothing twice.
func sorted(log []string) (list []string) {
	at := func(s string) string { return s[:strings.IndexByte(s, ':')] }
	for from := 0; from < len(log); {
		to := from + 1
		for to < len(log) && at(log[to]) == at(log[from]) {
			to++
		}
		slices.Sort(log[from:to])
		list = append(list, slices.Compact(log[from:to])...)
		from = to
	}
	return list
}

// What a claim binds is stored before the claimant knows. If it has given up when the
// grant arrives, it closes both keys, or the second one would stay for ever (FR15).
func TestFR15_AGrantThatIsTooLateLeavesNoSecondKey(t *testing.T) {
	for director := wire.NodeID(2); director <= 3; director++ {
		c, sent := joiningCluster(t, policy.Async, 1, 2, 3)
		k := inside(1, packet.ProtoUDP)
		for c.order().Director(k) != director {
			k.SrcPort++
		}
		c.delay = func() int64 { return 2500 * ms }
		c.at(1, udp(k))
		c.run(3000 * ms)
		kept := 0
		for _, n := range c.nodes {
			kept += n.core.dir.JoinedLen()
		}
		if sent[wire.TypeGrant]+sent[wire.TypeGranted] == 0 || kept == 0 {
			t.Fatalf("%v sent, %d joined copies: nothing is tested", sent, kept)
		}
		c.delay = func() int64 { return 100_000 }
		c.run(60_000 * ms)
		for id, n := range c.nodes {
			if n.copies.Len()+n.stubs.Len()+len(n.fake.uses) > 0 {
				t.Errorf("director %d: node %d has %d copies, %d stubs and uses %v of what nobody owns", director, id, n.copies.Len(), n.stubs.Len(), n.fake.uses)
			}
		}
	}
}
