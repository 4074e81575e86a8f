package fragments

import (
	"time"

	"cohort/cluster/list"
	"cohort/cluster/ownership"
	"cohort/packet"
)

// Key is what the fragments of a datagram have in common (RFC 791, 3.2), and the logical
// interface where they enter the cluster: one with a forged source that comes from
// elsewhere is a datagram of its own, whose first the role logic refuses
// (ownership.ReasonReversePath), and ends nothing of the true sender's.
type Key struct {
	Src, Dst packet.Addr
	ID       uint16
	Proto    uint8
	In       uint8
}

// Place is the key by which the members are ranked: the first is the fragment owner of
// the datagram. SPEC has no protocol in it.
func (k Key) Place() packet.FlowKey {
	return packet.FlowKey{Src: k.Src, Dst: k.Dst, SrcPort: k.ID}
}

// Part is one fragment: its datagram, and the bytes of that which it has. What
// packet.ParseFragment accepts is well formed.
type Part struct {
	Key    Key
	Offset int // bytes; 0 is the first fragment
	Len    int // bytes, at least 1
	More   bool
}

// Config is fixed for the life of a Table. Zero values of bounds take the defaults.
type Config struct {
	// Judge decides about a fragment whose ports are known, as ownership.Core.Packet.
	Judge func(p *ownership.Packet) ownership.Verdict
	// Release ends OpHold of a fragment, as ownership.Output.Release.
	Release func(h ownership.Handle, v ownership.Verdict)

	Life         time.Duration // of a record that does not become complete (15 s, RFC 791)
	MaxDatagrams int           // records (4096)
	SourceShare  int           // records of one source (256)
	MaxHeld      int           // fragments held (1024)
	SourceHeld   int           // of one source (256)
	MaxParts     int           // of one datagram (128)
}

func (c *Config) defaults() {
	set := func(p *int, v int) {
		if *p == 0 {
			*p = v
		}
	}
	if c.Life == 0 {
		c.Life = 15 * time.Second
	}
	set(&c.MaxDatagrams, 4096)
	set(&c.SourceShare, 256)
	set(&c.MaxHeld, 1024)
	set(&c.SourceHeld, 256)
	set(&c.MaxParts, 128)
}

// Stats counts what happened since New.
type Stats struct {
	Datagrams uint64 // records made
	Complete  uint64 // ... that ended with the last byte of their datagram
	Held      uint64 // fragments that had to wait for the first of theirs
}

// Table is what a node knows of the datagrams whose fragment owner it is.
type Table struct {
	cfg     Config
	of      map[Key]*datagram
	sources map[sender]*source
	asked   map[ownership.Handle]*datagram // by the first fragment, which the role logic has
	holding list.List[datagram]            // something of them is held, the next to end first
	idle    list.List[datagram]            // nothing is, likewise
	held    int
	stats   Stats
	free    []*datagram
	unused  []*source
}

// New makes an empty table. Judge and Release must be set.
func New(cfg Config) *Table {
	cfg.defaults()
	return &Table{cfg: cfg, of: map[Key]*datagram{}, sources: map[sender]*source{}, asked: map[ownership.Handle]*datagram{}}
}

// Len is the number of datagrams of which there is a record, Held that of the fragments
// that wait for the first of theirs.
func (t *Table) Len() int  { return len(t.of) }
func (t *Table) Held() int { return t.held }

// Stats returns the counters.
func (t *Table) Stats() Stats { return t.stats }

// Take decides about a fragment. p.Key has the ports if it is the first, whose Kind is
// that of a whole packet; else it is completed by those of the first. OpHold means that
// the handle comes back through Release, maybe before Take returns.
func (t *Table) Take(now int64, part Part, p *ownership.Packet) ownership.Verdict {
	d := t.of[part.Key]
	if d == nil {
		d = t.open(now, part.Key)
	}
	if r := d.add(part, t.cfg.MaxParts); r != ownership.ReasonNone {
		if r == ownership.ReasonFragmentOverlap {
			t.poison(now, d)
		}
		return drop(r)
	}
	switch {
	case d.state == refused:
		t.closeIfComplete(d)
		return drop(d.why)
	case d.state == known:
		p.Key.SrcPort, p.Key.DstPort = d.srcPort, d.dstPort
		t.closeIfComplete(d)
		return t.cfg.Judge(p)
	case part.Offset != 0:
		return t.hold(now, d, p)
	}
	return t.first(now, d, p)
}

// first judges the first fragment.
func (t *Table) first(now int64, d *datagram, p *ownership.Packet) ownership.Verdict {
	h := p.Handle
	d.state, d.srcPort, d.dstPort, d.first = asked, p.Key.SrcPort, p.Key.DstPort, h
	t.asked[h] = d
	v := t.cfg.Judge(p)
	if v.Op == ownership.OpHold || t.asked[h] != d {
		return v
	}
	if len(d.held) == 0 {
		t.settle(now, d, v)
		return v
	}
	t.cfg.Release(h, v) // before those that wait for it
	t.settle(now, d, v)
	return ownership.Verdict{Op: ownership.OpHold}
}

// Released hears of every packet that the role logic has released, right after that: if
// it was a first fragment, the others follow it.
func (t *Table) Released(now int64, h ownership.Handle, v ownership.Verdict) {
	if len(t.asked) == 0 {
		return
	}
	if d := t.asked[h]; d != nil {
		t.settle(now, d, v)
	}
}

// settle makes what became of the first fragment the fate of the datagram.
func (t *Table) settle(now int64, d *datagram, v ownership.Verdict) {
	delete(t.asked, d.first)
	d.state = known
	if v.Op == ownership.OpDrop {
		d.state, d.why = refused, v.Reason
	}
	t.flush(now, d)
	t.closeIfComplete(d)
}

// flush ends the wait of what is held of a datagram whose fate is known.
func (t *Table) flush(now int64, d *datagram) {
	held := d.held
	t.unhold(d)
	t.move(now, d, &t.idle)
	for i := range held {
		p := &held[i]
		v := drop(d.why)
		if d.state == known {
			p.Key.SrcPort, p.Key.DstPort = d.srcPort, d.dstPort
			if v = t.cfg.Judge(p); v.Op == ownership.OpHold {
				continue
			}
		}
		t.cfg.Release(p.Handle, v)
	}
}

// hold keeps a fragment until the first has come and been judged.
func (t *Table) hold(now int64, d *datagram, p *ownership.Packet) ownership.Verdict {
	if d.source.held >= t.cfg.SourceHeld {
		t.evict(d.source.holder(d))
	}
	if t.held >= t.cfg.MaxHeld {
		t.evict(t.holder(d))
	}
	if t.held >= t.cfg.MaxHeld || d.source.held >= t.cfg.SourceHeld {
		return drop(ownership.ReasonFragmentLimit) // it is all of this datagram
	}
	if len(d.held) == 0 {
		t.move(now, d, &t.holding)
	}
	d.held = append(d.held, *p)
	d.source.held++
	t.held++
	t.stats.Held++
	return ownership.Verdict{Op: ownership.OpHold}
}

// poison ends a datagram with overlapping fragments: nothing of it passes any more.
func (t *Table) poison(now int64, d *datagram) {
	if d.state == poisoned {
		return
	}
	if d.state == asked {
		delete(t.asked, d.first)
	}
	d.state, d.why = poisoned, ownership.ReasonFragmentOverlap
	t.flush(now, d)
}

// Tick ends what has lived for too long. Call it every 10 to 100 ms.
func (t *Table) Tick(now int64) {
	for _, q := range []*list.List[datagram]{&t.holding, &t.idle} {
		for d := q.First(); d != nil && d.until <= now; d = q.First() {
			t.end(d, ownership.ReasonFragmentTimeout)
		}
	}
}

// Keep ends all datagrams that another node is to see from now on: those of which mine
// says no.
func (t *Table) Keep(mine func(Key) bool) {
	for _, q := range []*list.List[datagram]{&t.holding, &t.idle} {
		for d := q.First(); d != nil; {
			next := d.age.Next()
			if !mine(d.key) {
				t.end(d, ownership.ReasonFragmentMoved)
			}
			d = next
		}
	}
}

// Reset ends all: the node is fenced.
func (t *Table) Reset() {
	for _, q := range []*list.List[datagram]{&t.holding, &t.idle} {
		for q.First() != nil {
			t.end(q.First(), ownership.ReasonFenced)
		}
	}
}

func drop(r ownership.Reason) ownership.Verdict {
	return ownership.Verdict{Op: ownership.OpDrop, Reason: r}
}
