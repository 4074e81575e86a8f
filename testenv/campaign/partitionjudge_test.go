package campaign

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"net/netip"
	"slices"
	"testing"
	"time"

	"cohort/api"
	"cohort/packet"
	"cohort/testenv/topology"
)

// fate counts what became of new connections of one kind.
type fate struct{ begun, done int }

func (f fate) String() string { return fmt.Sprintf("%d / %d", f.begun, f.done) }

// fates are those of a phase: all, and of them those whose two directions met
// one side, and two.
type fates struct{ all, one, two fate }

func (f *fates) add(ok, apart bool) {
	kinds := [2]*fate{&f.all, &f.one}
	if apart {
		kinds[1] = &f.two
	}
	for _, k := range kinds {
		k.begun++
		if ok {
			k.done++
		}
	}
}

// end stops the load, waits until nothing is left of it, and judges.
func (p *partition) end(t *testing.T, name string) {
	t.Helper()
	openings := p.openers.Finish()
	var udp Tally
	for _, s := range p.streams {
		one := s.Finish(time.Second)
		udp.Sent, udp.LostThere, udp.LostBack, udp.Moves = udp.Sent+one.Sent, udp.LostThere+one.LostThere, udp.LostBack+one.LostBack, udp.Moves+one.Moves
	}
	empty, left := p.empty(t)
	looks, rivals, err := p.rivals.Stop()
	if err != nil {
		t.Error(err)
	}
	missed, err := p.paths.Close()
	lost, bad := p.tap.Close()
	if err := errors.Join(err, bad); err != nil || missed+lost > 0 {
		t.Fatalf("taps lost %d frames: %v", missed+lost, err)
	}
	calm, detecting, cut, healing := p.judge(t, openings)

	r := NewResult("partition-"+name, *command)
	var apart, whole, fair, stalls, returned []time.Duration
	talks, lostTalks, samples, foreign, flaps, kept, zombie := 0, 0, 0, 0, 0, 0, uint64(0)
	for _, c := range p.rounds {
		apart, whole, fair = append(apart, c.apart.Sub(c.begin)), append(whole, c.whole.Sub(c.heal)), append(fair, c.fair.Sub(c.whole))
		talks, lostTalks, samples, foreign = talks+c.talks, lostTalks+c.lost, samples+c.samples, foreign+len(c.foreign)
		stalls = append(stalls, c.stalls...)
		returned, kept = append(returned, c.returned), max(kept, c.kept)
		zombie, flaps = zombie+c.zombie, flaps+c.flaps
		if len(c.foreign) > 0 {
			t.Errorf("a side took blocks: %v", c.foreign[:min(5, len(c.foreign))])
		}
	}
	abroad := 0
	if p.way != flapping { // between two cuts blocks pass to the other side, and rightly so
		abroad = p.abroad(t)
	}
	r.Add("cuts of the control link ("+name+"), each of "+cutFor().String()+", hold time "+partitionHold.String(), len(p.rounds), "")
	doubles := p.doubles(openings)
	r.Add("tuples with two living connections at once", doubles, "0")
	if p.spray || p.way == flapping {
		// Sprayed, a SYN that is repeated may meet both sides and leave with two ports,
		// of which one is given up after the heal. A node that the others removed just
		// before the heal is fenced, as if it had died: of what it began in the cut
		// nobody has a copy, and the port is another's after hold-down.
		r.Add("tuples that the server had not forgotten when they were used again", p.tuples.Duplicates, "")
	} else {
		doubles = p.tuples.Duplicates // nothing needs to be forgiven
	}
	r.Add("looks into the tables of all nodes / tuples that owners had for two connections", fmt.Sprintf("%d / %d", looks, len(rivals)), "0 of the second")
	r.Add("new connections in a block that was not their side's", abroad, "0")
	r.Add("looks at the blocks of all nodes during cuts / blocks that a side had and had not before", fmt.Sprintf("%d / %d", samples, foreign), "0 of the second")
	switch p.way {
	case mute:
		r.Add("packets that the node forwarded after it was fenced", zombie, "0")
		if zombie > 0 {
			t.Errorf("a node that nobody hears forwarded %d packets after it was fenced", zombie)
		}
	case flapping:
		r.Add("cuts and heals of the flapping link, in all rounds", flaps, "")
	}
	r.Add("until each side is a cluster of its own (one way: the others have a view without the node), min / median / p99 / max", Distribute(apart), "")
	r.Add("from the heal to one view and one control node", Distribute(whole), "")
	r.Add("from there to fair blocks, one holder each, but for blocks in use", Distribute(fair), "")
	r.Add("from the end of the round's connections, while others begin, to fair blocks but for those of the UDP flows / most of these", fmt.Sprintf("%v / %d", Distribute(returned), kept), "")
	r.Add("established TCP connections at the cuts / lost", fmt.Sprintf("%d / %d", talks, lostTalks), "0 of the second")
	r.Add("longest wait of each of them", Distribute(stalls), "")
	r.Add("packets of established UDP flows sent / lost there / lost back", fmt.Sprintf("%d / %d / %d", udp.Sent, udp.LostThere, udp.LostBack), "")
	r.Add("times that such a flow came from another port than before: its owner and copy were beyond the cut", udp.Moves, "")
	for _, of := range []struct {
		what string
		f    [2]fates
	}{{"without a cut", calm}, {"while a cut is not noticed yet", detecting}, {"in the cut", cut}, {"while it heals, from " + openFor.String() + " before on", healing}} {
		for i, protocol := range []string{"TCP connections", "UDP exchanges"} {
			f := of.f[i]
			r.Add(fmt.Sprintf("new %s %s: begun / complete", protocol, of.what), f.all, "")
			if of.what == "in the cut" {
				if !p.spray {
					r.Add("... both directions at one side", f.one, "equal")
					r.Add("... directions at different sides", f.two, "")
				}
			}
		}
	}
	r.Add("entries left at the end: owned / copies / forwards / stubs", left, "0 / 0 / 0 / 0")
	r.Add("tables and ports empty after the load has ended", empty.Round(100*time.Millisecond), "")
	finish(t, r)
	if len(rivals) > 0 {
		t.Errorf("%d tuples had two connections in the nodes' tables: %q", len(rivals), rivals[:min(10, len(rivals))])
	}
	if doubles > 0 {
		t.Errorf("%d tuples had two connections at once", doubles)
	}
}

// doubles counts the tuples that were given to a second connection while the
// client of the first still had its socket.
func (p *partition) doubles(openings []Opening) (n int) {
	by := make(map[netip.AddrPort][]*Opening)
	for i := range openings {
		if o := &openings[i]; o.Protocol == "tcp" {
			by[o.Source] = append(by[o.Source], o)
		}
	}
	for _, d := range p.tuples.Doubles {
		if d.Key.Proto == packet.ProtoUDP {
			if p.exchangedAtOnce(d.Key, openings) {
				n++
			}
			continue
		}
		first, seen := p.paths.TCP(d.First)
		second, again := p.paths.TCP(d.Second)
		alive := true // as far as is known
		for _, o := range by[first.Source] {
			if seen && again && !o.Began.After(first.Began) && o.Ended.Add(openFor).After(first.Began) {
				alive = o.Ended.After(second.Began)
			}
		}
		if alive {
			n++
		}
	}
	return n
}

// exchangedAtOnce reports whether a UDP tuple had two exchanges whose clients had their
// sockets at the same time. Anything else than two exchanges counts as such.
func (p *partition) exchangedAtOnce(k packet.FlowKey, openings []Opening) bool {
	var of []*Opening
	for i := range openings {
		o := &openings[i]
		if o.Protocol != "udp" || k.DstPort != exchangePort {
			continue
		}
		if path, seen := p.paths.Of(o); seen && path.Mapped == k.SrcPort {
			of = append(of, o)
		}
	}
	slices.SortFunc(of, func(a, b *Opening) int { return a.Began.Compare(b.Began) })
	for i := 1; i < len(of); i++ {
		if of[i-1].Ended.After(of[i].Began) {
			return true
		}
	}
	return len(of) < 2
}

// explain tells all that is known when something has failed.
func (p *partition) explain(t *testing.T) {
	if !t.Failed() {
		return
	}
	p.tap.Close()
	_, rivals, _ := p.rivals.Stop()
	t.Logf("rivals: %q", rivals)
	t.Logf("told: %q", p.tuples.Told)
	for _, d := range p.tuples.Doubles[:min(20, len(p.tuples.Doubles))] {
		first, _ := p.paths.TCP(d.First)
		second, _ := p.paths.TCP(d.Second)
		t.Logf("%v: %v, and %v", d.Key, first, second)
	}
	for i, r := range p.rounds {
		t.Logf("round %d: cut %v, apart %v, heal %v, one cluster %v", i+1, clock(r.begin), clock(r.apart), clock(r.heal), clock(r.whole))
	}
}

func clock(t time.Time) string { return t.Format("04:05.000") }

// judge counts the openings by phase.
func (p *partition) judge(t *testing.T, openings []Opening) (calm, detecting, cut, healing [2]fates) {
	t.Helper()
	told := 0
	for i := range openings {
		o := &openings[i]
		kind := 0
		if o.Protocol == "udp" {
			kind = 1
		}
		path, seen := p.paths.Of(o)
		var r *cutRound
		for _, c := range p.rounds {
			if o.Ended.After(c.begin) && o.Began.Before(c.fair) {
				r = c
			}
		}
		if r == nil {
			calm[kind].add(o.Err == nil, false)
			if o.Err != nil && !p.spray {
				t.Errorf("%s from %v without a cut: %v; %+v", o.Protocol, o.Source, o.Err, path)
			}
			continue
		}
		apart := seen && path.Out != 0 && path.Back != 0 && r.side(p.l.Nodes[path.Out-1]) != r.side(p.l.Nodes[path.Back-1])
		switch {
		case o.Began.Before(r.apart):
			detecting[kind].add(o.Err == nil, apart)
		case o.Began.Add(openFor).After(r.heal):
			healing[kind].add(o.Err == nil, apart)
		default:
			cut[kind].add(o.Err == nil, apart)
			// Sprayed packets meet both sides, and where the link is not cut both ways
			// and for good, there is no side that serves all the time.
			if o.Err != nil && !apart && !p.spray && p.way == bothWays {
				if told++; told <= 20 {
					t.Errorf("%s from %v, at one side of a cut: %v; %v, %+v", o.Protocol, o.Source, o.Err, o.Ended.Sub(o.Began), path)
				}
			}
		}
	}
	return calm, detecting, cut, healing
}

// abroad counts the connections that began in a cut with a port of a block that
// belonged to the other side.
func (p *partition) abroad(t *testing.T) (n int) {
	t.Helper()
	p.paths.Each(func(x Path) {
		if x.Out == 0 {
			return
		}
		for _, r := range p.rounds {
			if x.Began.Before(r.begin) || x.Began.After(r.heal) {
				continue
			}
			by := p.l.Nodes[x.Out-1]
			if was := r.owner[x.Mapped-x.Mapped%512]; was == nil || r.side(was) != r.side(by) {
				if n++; n <= 5 {
					t.Errorf("in a cut %s gave out port %d, whose block was %s's: %+v", by.Name, x.Mapped, nameOf(was), x)
				}
			}
		}
	})
	return n
}

// empty waits until all tables and all ports are, and returns how long that
// took and what is left.
func (p *partition) empty(t *testing.T) (after time.Duration, left string) {
	t.Helper()
	ctx, cancel := context.WithTimeout(p.l.ctx, 60*time.Second)
	defer cancel()
	begin := time.Now()
	var f api.Tables
	var used []string
	err := topology.Poll(ctx, func() (bool, error) {
		f = p.l.fill(t)
		if !*full {
			f.Forwards = 0 // they take half a minute
		}
		if f.Owned+f.Copies+f.Forwards+f.Stubs > 0 {
			return false, nil
		}
		h, err := TakeHolders(ctx, p.l.Topology, "egress")
		if used = h.InUse(); len(used) == 0 {
			if why := h.Unfair(); why != "" { // nothing keeps a block from where it should be any more
				used = []string{why}
			}
		}
		return err == nil && len(used) == 0, nil
	})
	if err != nil {
		t.Errorf("not empty %v after the last packet: %+v, %v", time.Since(begin), f, used)
		left := p.l.census(t)
		for _, k := range slices.Collect(maps.Keys(left))[:min(len(left), 20)] {
			t.Log(left.Describe(k))
		}
	}
	return time.Since(begin), fmt.Sprintf("%d / %d / %d / %d", f.Owned, f.Copies, f.Forwards, f.Stubs)
}
