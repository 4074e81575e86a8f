package fragments

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"testing"
	"time"

	"cohort/cluster/list"
	"cohort/cluster/ownership"
	"cohort/packet"
)

const second = int64(time.Second)

// bench is a table, a judge that does as it is told, and what came out.
type bench struct {
	*testing.T
	*Table
	now     int64
	handle  ownership.Handle
	verdict func(*ownership.Packet) ownership.Verdict
	judged  []ownership.Packet
	out     map[ownership.Handle]ownership.Verdict // released, or answered at once
	order   []ownership.Handle                     // in which they were
}

func newBench(t *testing.T, cfg Config) *bench {
	b := &bench{T: t, now: 1000 * second, out: map[ownership.Handle]ownership.Verdict{}}
	b.verdict = func(*ownership.Packet) ownership.Verdict { return ownership.Verdict{Op: ownership.OpForward} }
	cfg.Judge = func(p *ownership.Packet) ownership.Verdict {
		b.judged = append(b.judged, *p)
		return b.verdict(p)
	}
	cfg.Release = b.ended
	b.Table = New(cfg)
	return b
}

func (b *bench) ended(h ownership.Handle, v ownership.Verdict) {
	if _, twice := b.out[h]; twice {
		b.Fatalf("fragment %d ended twice", h)
	}
	b.out[h] = v
	b.order = append(b.order, h)
}

var key = Key{Src: packet.Addr{10, 0, 0, 1}, Dst: packet.Addr{192, 0, 2, 1}, ID: 7, Proto: packet.ProtoUDP}

// take gives the table bytes from to to of a datagram and returns the handle.
func (b *bench) take(k Key, from, to int, more bool) ownership.Handle {
	b.handle++
	p := ownership.Packet{Key: packet.FlowKey{Src: k.Src, Dst: k.Dst, Proto: k.Proto}, Kind: ownership.KindFragment, Handle: b.handle, Fragment: true}
	if from == 0 {
		p.Kind, p.Key.SrcPort, p.Key.DstPort = ownership.KindUDP, 1000+k.ID, 53
	}
	h := b.handle
	if v := b.Take(b.now, Part{Key: k, Offset: from, Len: to - from, More: more}, &p); v.Op != ownership.OpHold {
		b.ended(h, v)
	}
	b.check()
	return h
}

// check compares the counts with what they count.
func (b *bench) check() {
	b.Helper()
	records, held := 0, 0
	for _, q := range []*list.List[datagram]{&b.holding, &b.idle} {
		until := int64(0)
		for d := q.First(); d != nil; d = d.age.Next() {
			if d.in != q || (len(d.held) > 0) != (q == &b.holding) || d.until < until || b.of[d.key] != d {
				b.Fatalf("%v is in the wrong place", d.key)
			}
			until, records, held = d.until, records+1, held+len(d.held)
			if d.age.Next() == nil && q.Last() != d {
				b.Fatal("a queue's end is not its end")
			}
		}
	}
	n := 0
	for a, s := range b.sources {
		of := 0
		for d := s.all.First(); d != nil; d = d.ofSource.Next() {
			of++
			if d.key.sender() != a || d.source != s {
				b.Fatalf("%v has a datagram of %v", a, d.key)
			}
		}
		if of != s.n || of == 0 {
			b.Fatalf("%v counts %d datagrams of %d", a, s.n, of)
		}
		n += s.held
	}
	if records != b.Len() || held != b.Held() || n != held {
		b.Fatalf("%d records of %d, %d fragments held of %d, %d by sources", b.Len(), records, b.Held(), held, n)
	}
}

func (b *bench) want(h ownership.Handle, op ownership.Op, r ownership.Reason) {
	b.Helper()
	if v, ok := b.out[h]; !ok || v.Op != op || v.Reason != r {
		b.Errorf("fragment %d: %+v (ended: %v), want op %d, %v", h, v, ok, op, r)
	}
}

func (b *bench) waits(hs ...ownership.Handle) {
	b.Helper()
	for _, h := range hs {
		if v, ok := b.out[h]; ok {
			b.Errorf("fragment %d does not wait: %+v", h, v)
		}
	}
}

// Whatever the order, all go under the ports of the first, and nothing before it.
func TestFR10_AnyOrder(t *testing.T) {
	for seed := range uint64(200) {
		b := newBench(t, Config{})
		r := rand.New(rand.NewPCG(seed, 1))
		n := 2 + r.IntN(6)
		var late []ownership.Handle
		came := false
		for _, i := range r.Perm(n) {
			h := b.take(key, 80*i, 80*i+80, i < n-1)
			came = came || i == 0
			if !came {
				late = append(late, h)
			}
			if _, ended := b.out[h]; ended != came {
				t.Fatalf("fragment %d of %d ended: %v; the first has come: %v", i, n, ended, came)
			}
		}
		if len(b.out) != n || b.Len() != 0 {
			t.Fatalf("%d of %d fragments ended, %d records are left", len(b.out), n, b.Len())
		}
		if s := b.Stats(); s != (Stats{Datagrams: 1, Complete: 1, Held: uint64(len(late))}) {
			t.Fatalf("%+v, %d had to wait", s, len(late))
		}
		for _, p := range b.judged {
			if p.Key.SrcPort != 1007 || p.Key.DstPort != 53 {
				t.Fatalf("judged as %v", p.Key)
			}
		}
		if k := b.judged[0].Kind; k != ownership.KindUDP {
			t.Fatalf("the first that is judged is of kind %d", k)
		}
		if at := slices.Index(b.order, b.judged[0].Handle); at != 0 || !slices.Equal(b.order[1:1+len(late)], late) {
			t.Fatalf("out in the order %v, those that waited came as %v", b.order, late)
		}
	}
}

// While a director is asked about the first, the others wait; what it says is for all.
func TestFR10_TheFateOfTheFirstIsThatOfAll(t *testing.T) {
	for _, c := range []struct {
		v  ownership.Verdict
		op ownership.Op
	}{
		{ownership.Verdict{Op: ownership.OpForward, Slot: 3}, ownership.OpForward},
		{ownership.Verdict{Op: ownership.OpLabel, Node: 2}, ownership.OpLabel},
		{drop(ownership.ReasonPolicyDenied), ownership.OpDrop},
	} {
		b := newBench(t, Config{})
		b.verdict = func(*ownership.Packet) ownership.Verdict { return ownership.Verdict{Op: ownership.OpHold} }
		early := b.take(key, 80, 160, true)
		first := b.take(key, 0, 80, true)
		late := b.take(key, 160, 240, true)
		b.waits(early, first, late)
		b.verdict = func(*ownership.Packet) ownership.Verdict { return c.v }
		b.ended(first, c.v) // as the role logic does
		b.Released(b.now, first, c.v)
		last := b.take(key, 240, 250, false)
		for _, h := range []ownership.Handle{early, late, last} {
			b.want(h, c.op, c.v.Reason)
		}
		if b.Len() != 0 || b.Held() != 0 {
			t.Errorf("%d records are left", b.Len())
		}
		if c.op == ownership.OpDrop && len(b.judged) != 1 {
			t.Errorf("%d fragments were judged of a datagram whose first was refused", len(b.judged))
		}
	}
}

// The director may be this node: then the first is released inside Take.
func TestFR10_ReleasedWithinTheCall(t *testing.T) {
	b := newBench(t, Config{})
	early := b.take(key, 80, 160, false)
	b.verdict = func(p *ownership.Packet) ownership.Verdict {
		if p.Kind == ownership.KindFragment {
			return ownership.Verdict{Op: ownership.OpForward}
		}
		b.ended(p.Handle, ownership.Verdict{Op: ownership.OpForward})
		b.Released(b.now, p.Handle, ownership.Verdict{Op: ownership.OpForward})
		return ownership.Verdict{Op: ownership.OpHold}
	}
	first := b.take(key, 0, 80, true)
	b.want(first, ownership.OpForward, 0)
	b.want(early, ownership.OpForward, 0)
	if b.Len() != 0 {
		t.Error("the record is still there")
	}
}

func TestFR10_OverlapsEndTheDatagram(t *testing.T) {
	type bytes struct {
		from, to int
		more     bool
	}
	for name, c := range map[string]struct {
		before []bytes
		bad    bytes
	}{
		"teardrop":                        {[]bytes{{0, 80, true}}, bytes{72, 80, false}},
		"the ports once more":             {[]bytes{{0, 80, true}}, bytes{8, 96, true}},
		"around another":                  {[]bytes{{80, 160, true}}, bytes{0, 240, true}},
		"first, of another length":        {[]bytes{{0, 80, true}}, bytes{0, 88, true}},
		"the same bytes, but the last":    {[]bytes{{80, 160, true}}, bytes{80, 160, false}},
		"the same bytes, not the last":    {[]bytes{{80, 160, false}}, bytes{80, 160, true}},
		"two ends":                        {[]bytes{{80, 160, false}}, bytes{160, 240, false}},
		"behind the end":                  {[]bytes{{80, 160, false}}, bytes{160, 240, true}},
		"an end before what has come":     {[]bytes{{160, 240, true}}, bytes{80, 160, false}},
		"by one byte, while a rest waits": {[]bytes{{80, 160, true}, {240, 320, true}}, bytes{152, 168, true}},
	} {
		b := newBench(t, Config{})
		var waiting []ownership.Handle
		for _, p := range c.before {
			h := b.take(key, p.from, p.to, p.more)
			if p.from != 0 {
				waiting = append(waiting, h)
			}
		}
		bad := b.take(key, c.bad.from, c.bad.to, c.bad.more)
		after := b.take(key, 800, 808, true)
		for _, h := range append(waiting, bad, after) {
			v := b.out[h]
			if v.Op != ownership.OpDrop || v.Reason != ownership.ReasonFragmentOverlap {
				t.Errorf("%s: fragment %d: %+v", name, h, v)
			}
		}
		first := b.take(key, 0, 8, true)
		b.want(first, ownership.OpDrop, ownership.ReasonFragmentOverlap)
		if b.now += 16 * second; b.Held() != 0 {
			t.Errorf("%s: something is held", name)
		}
		b.Tick(b.now)
		b.want(b.take(key, 0, 80, true), ownership.OpForward, 0)
	}
}

// An overlap while a director is asked about the first: that goes on alone, and the
// others do not follow.
func TestFR10_OverlapWhileAsked(t *testing.T) {
	b := newBench(t, Config{})
	b.verdict = func(*ownership.Packet) ownership.Verdict { return ownership.Verdict{Op: ownership.OpHold} }
	first, second := b.take(key, 0, 80, true), b.take(key, 80, 160, true)
	third := b.take(key, 88, 96, true)
	b.want(second, ownership.OpDrop, ownership.ReasonFragmentOverlap)
	b.want(third, ownership.OpDrop, ownership.ReasonFragmentOverlap)
	b.Released(b.now, first, ownership.Verdict{Op: ownership.OpForward})
	b.want(b.take(key, 160, 240, false), ownership.OpDrop, ownership.ReasonFragmentOverlap)
}

func TestFR10_DuplicatesGoAlone(t *testing.T) {
	b := newBench(t, Config{})
	held := b.take(key, 80, 160, true)
	b.want(b.take(key, 80, 160, true), ownership.OpDrop, ownership.ReasonFragmentDuplicate)
	b.waits(held)
	b.want(b.take(key, 0, 80, true), ownership.OpForward, 0)
	b.want(held, ownership.OpForward, 0)
	b.want(b.take(key, 0, 80, true), ownership.OpDrop, ownership.ReasonFragmentDuplicate)
	b.want(b.take(key, 160, 161, false), ownership.OpForward, 0)
}

// RFC 4963: an identification that comes again at once is another datagram.
func TestFR10_IdentificationsComeAgain(t *testing.T) {
	b := newBench(t, Config{})
	for i := range 5 {
		for _, h := range []ownership.Handle{b.take(key, 80*(i+1), 90*(i+1), false), b.take(key, 0, 80*(i+1), true)} {
			b.want(h, ownership.OpForward, 0)
		}
	}
	// Other protocols and addresses with the same one are others.
	other := key
	other.Proto = packet.ProtoTCP
	waits := b.take(other, 80, 88, true)
	other = key
	other.Dst[3]++
	waits2 := b.take(other, 80, 88, true)
	b.take(key, 0, 80, true)
	b.waits(waits, waits2)
}

// What comes from elsewhere under a sender's address is not part of what that sends, and
// takes none of its room.
func TestFR10_AForgedSourceEndsNothing(t *testing.T) {
	forged := key
	forged.In++
	b := newBench(t, Config{SourceShare: 2, SourceHeld: 2})
	b.verdict = func(*ownership.Packet) ownership.Verdict { return drop(ownership.ReasonReversePath) }
	b.want(b.take(forged, 0, 80, true), ownership.OpDrop, ownership.ReasonReversePath)
	b.verdict = func(*ownership.Packet) ownership.Verdict { return ownership.Verdict{Op: ownership.OpForward} }
	early := b.take(key, 80, 160, true)
	b.want(b.take(forged, 88, 168, false), ownership.OpDrop, ownership.ReasonReversePath)
	for n := range 8 {
		other := forged
		other.ID += uint16(n + 1)
		b.take(other, 80, 160, true)
	}
	b.waits(early)
	for _, h := range []ownership.Handle{b.take(key, 0, 80, true), early, b.take(key, 160, 240, false)} {
		b.want(h, ownership.OpForward, 0)
	}
}

func TestFR10_TimeEndsWhatIsNotComplete(t *testing.T) {
	b := newBench(t, Config{})
	held := b.take(key, 80, 160, true)
	b.now += 15*second - 1
	b.Tick(b.now)
	b.waits(held)
	more := b.take(key, 160, 240, true) // which does not renew it
	b.now++
	b.Tick(b.now)
	b.want(held, ownership.OpDrop, ownership.ReasonFragmentTimeout)
	b.want(more, ownership.OpDrop, ownership.ReasonFragmentTimeout)
	b.take(key, 0, 80, true)
	if b.now += 15 * second; b.Len() != 1 {
		t.Fatal("no record of a first fragment")
	}
	b.Tick(b.now)
	b.waits(b.take(key, 80, 160, true)) // nothing is known of the first any more
}

// Who sends fragments that never become complete ends its own, and others' only if it
// has many addresses; what is young always finds room.
func TestFR10_AFloodEndsWhatIsOld(t *testing.T) {
	id := func(k Key, n int) Key { k.ID = uint16(n); return k }
	source := func(n int) Key { k := key; k.Src = packet.Addr{10, 1, byte(n >> 8), byte(n)}; return k }
	t.Run("one source, records", func(t *testing.T) {
		b := newBench(t, Config{SourceShare: 4})
		other := b.take(source(1), 80, 160, true)
		first := b.take(id(key, 0), 80, 160, true)
		for n := 1; n < 20; n++ {
			b.take(id(key, n), 80, 160, true)
		}
		b.want(first, ownership.OpDrop, ownership.ReasonFragmentLimit)
		b.waits(other, b.handle)
		if b.Len() != 5 {
			t.Errorf("%d records", b.Len())
		}
	})
	t.Run("one source, held", func(t *testing.T) {
		b := newBench(t, Config{SourceHeld: 4})
		other := b.take(source(1), 80, 160, true)
		for n := range 20 {
			b.take(id(key, n/2), 80+80*(n%2), 160+80*(n%2), true)
		}
		b.waits(other, b.handle)
		if b.Held() != 5 {
			t.Errorf("%d held", b.Held())
		}
	})
	t.Run("many sources", func(t *testing.T) {
		b := newBench(t, Config{MaxHeld: 8, MaxDatagrams: 16})
		for n := range 100 {
			b.take(source(n), 80, 160, true)
		}
		waits := b.take(key, 80, 160, false)
		for n := range 6 {
			b.take(source(n), 80, 160, true)
		}
		b.want(b.take(key, 0, 80, true), ownership.OpForward, 0)
		b.want(waits, ownership.OpForward, 0)
		for n := range 100 {
			b.take(source(n), 0, 80, true)
		}
		if b.Len() != 16 || b.Held() != 0 {
			t.Errorf("%d records, %d held", b.Len(), b.Held())
		}
	})
	t.Run("many sources, held", func(t *testing.T) {
		b := newBench(t, Config{MaxHeld: 8})
		old := b.take(source(0), 80, 160, true)
		for n := range 20 {
			b.take(source(n+1), 80, 160, true)
		}
		b.want(old, ownership.OpDrop, ownership.ReasonFragmentLimit)
		b.waits(b.handle)
		if b.Held() != 8 {
			t.Errorf("%d held", b.Held())
		}
	})
	t.Run("one datagram", func(t *testing.T) {
		b := newBench(t, Config{SourceHeld: 8, MaxParts: 12})
		for n := 1; n <= 8; n++ {
			b.waits(b.take(key, 80*n, 80*n+80, true))
		}
		b.want(b.take(key, 80*9, 80*10, true), ownership.OpDrop, ownership.ReasonFragmentLimit)
		b.take(key, 0, 80, true)
		b.take(key, 800, 880, true)
		b.want(b.take(key, 880, 960, true), ownership.OpForward, 0)
		b.want(b.take(key, 960, 1040, true), ownership.OpDrop, ownership.ReasonFragmentLimit)
	})
}

func TestFR10_AViewTakesDatagramsAway(t *testing.T) {
	b := newBench(t, Config{})
	other := key
	other.ID++
	goes, stays := b.take(key, 80, 160, true), b.take(other, 80, 160, true)
	b.Keep(func(k Key) bool { return k != key })
	b.check()
	b.want(goes, ownership.OpDrop, ownership.ReasonFragmentMoved)
	b.waits(stays)
	b.Reset()
	b.check()
	b.want(stays, ownership.OpDrop, ownership.ReasonFenced)
	if b.Len() != 0 {
		t.Error("a fenced node has records")
	}
}

// Any fragments, judged in any way and at any time: each ends once, bounds hold, and
// nothing goes before the first of its datagram, nor two of it that overlap.
func FuzzTable(f *testing.F) {
	r := rand.New(rand.NewPCG(1, 1))
	for range 20 {
		script := make([]byte, 200)
		for i := range script {
			script[i] = byte(r.UintN(256))
		}
		f.Add(script)
	}
	f.Fuzz(func(t *testing.T, script []byte) {
		b := newBench(t, Config{MaxHeld: 10, SourceHeld: 6, MaxDatagrams: 8, SourceShare: 4, MaxParts: 6})
		var asked []ownership.Handle
		next := byte(0)
		b.verdict = func(p *ownership.Packet) ownership.Verdict {
			if p.Key.SrcPort == 0 {
				t.Fatal("judged without ports")
			}
			switch {
			case p.Kind == ownership.KindFragment:
			case next%4 == 1:
				asked = append(asked, p.Handle)
				return ownership.Verdict{Op: ownership.OpHold}
			case next%4 == 2:
				return drop(ownership.ReasonPolicyDenied)
			}
			return ownership.Verdict{Op: ownership.OpForward}
		}
		answer := func(n int) {
			h := asked[n]
			asked = slices.Delete(asked, n, n+1)
			v := ownership.Verdict{Op: ownership.OpForward}
			b.ended(h, v)
			b.Released(b.now, h, v)
		}
		for ; len(script) >= 4; script = script[4:] {
			next = script[3]
			k := key
			k.Src[3], k.In, k.ID = script[0]&1, script[0]>>1&1, uint16(script[0]>>2&3)
			switch script[0] >> 5 {
			case 0:
				b.now += int64(script[1]) * second / 10
				b.Tick(b.now)
			case 1:
				if len(asked) > 0 {
					answer(int(script[1]) % len(asked))
				}
			case 2:
				if script[1]&7 == 0 {
					b.Keep(func(k Key) bool { return k.ID&1 == 0 })
				}
			default:
				from := 8 * int(script[1]&15)
				b.take(k, from, from+8+int(script[2]&31), script[2]&0x40 != 0)
			}
			b.check()
			if b.Held() > 10 || b.Len() > 8 {
				t.Fatalf("%d held, %d records", b.Held(), b.Len())
			}
		}
		for len(asked) > 0 {
			answer(0)
		}
		b.now += 31 * second
		b.Tick(b.now)
		b.Tick(b.now)
		if b.Len() != 0 || len(b.out) != int(b.handle) || len(b.asked)+len(b.sources) != 0 {
			t.Fatalf("%d records are left, %d of %d fragments have ended", b.Len(), len(b.out), b.handle)
		}
	})
}

func TestFR10_NothingIsAllocated(t *testing.T) {
	table := New(Config{
		Judge:   func(*ownership.Packet) ownership.Verdict { return ownership.Verdict{Op: ownership.OpForward} },
		Release: func(ownership.Handle, ownership.Verdict) {},
	})
	p := ownership.Packet{}
	k := key
	run := func() {
		k.ID++
		table.Take(1, Part{Key: k, Offset: 80, Len: 80}, &p)
		table.Take(1, Part{Key: k, Len: 80, More: true}, &p)
	}
	if n := testing.AllocsPerRun(1000, run); n != 0 {
		t.Errorf("%v allocations for a datagram", n)
	}
	if table.Len() != 0 {
		t.Error("records are left")
	}
}

func BenchmarkDatagram(b *testing.B) {
	table := New(Config{
		Judge:   func(*ownership.Packet) ownership.Verdict { return ownership.Verdict{Op: ownership.OpForward} },
		Release: func(ownership.Handle, ownership.Verdict) {},
	})
	for _, order := range []string{"in order", "reversed"} {
		b.Run(fmt.Sprint(order), func(b *testing.B) {
			b.ReportAllocs()
			p, k := ownership.Packet{}, key
			for b.Loop() {
				k.ID++
				first, last := Part{Key: k, Len: 80, More: true}, Part{Key: k, Offset: 80, Len: 80}
				if order == "reversed" {
					first, last = last, first
				}
				table.Take(1, first, &p)
				table.Take(1, last, &p)
			}
		})
	}
}
