package fragments

import (
	"cohort/cluster/list"
	"cohort/cluster/ownership"
)

// holder returns the oldest datagram, but for d, of which something is held.
func (t *Table) holder(d *datagram) *datagram {
	o := t.holding.First()
	if o != nil && o == d {
		return d.age.Next()
	}
	return o
}

// holder returns the source's oldest datagram, but for d, of which something is held.
func (s *source) holder(d *datagram) *datagram {
	o := s.all.First()
	for o != nil && (o == d || len(o.held) == 0) {
		o = o.ofSource.Next()
	}
	return o
}

// move puts a datagram into a queue, where its life begins again. That happens twice at
// most: when the first of it is held, and when its fate is known.
func (t *Table) move(now int64, d *datagram, to *list.List[datagram]) {
	d.in.Remove(&d.age)
	d.in, d.until = to, now+int64(t.cfg.Life)
	to.Push(&d.age, d)
}

// open makes a record, and room for it.
func (t *Table) open(now int64, k Key) *datagram {
	s := t.sources[k.sender()]
	switch {
	case s != nil && s.n >= t.cfg.SourceShare:
		t.evict(s.all.First())
		s = t.sources[k.sender()]
	case len(t.of) >= t.cfg.MaxDatagrams:
		t.evict(t.oldest())
		s = t.sources[k.sender()]
	}
	if s == nil {
		s = t.addSource(k)
	}
	d := t.spare()
	*d = datagram{key: k, until: now + int64(t.cfg.Life), in: &t.idle, source: s, spans: d.spans[:0], held: d.held[:0]}
	s.all.Push(&d.ofSource, d)
	s.n++
	t.of[k] = d
	t.stats.Datagrams++
	t.idle.Push(&d.age, d)
	return d
}

// oldest returns the record that would end first.
func (t *Table) oldest() *datagram {
	a, b := t.holding.First(), t.idle.First()
	if a == nil || b != nil && b.until < a.until {
		return b
	}
	return a
}

func (t *Table) addSource(k Key) *source {
	var s *source
	if n := len(t.unused); n > 0 {
		s, t.unused = t.unused[n-1], t.unused[:n-1]
	} else {
		s = new(source)
	}
	*s = source{sender: k.sender()}
	t.sources[s.sender] = s
	return s
}

func (t *Table) spare() *datagram {
	if n := len(t.free); n > 0 {
		d := t.free[n-1]
		t.free = t.free[:n-1]
		return d
	}
	return &datagram{}
}

// evict ends a datagram for the sake of others; nil is none.
func (t *Table) evict(d *datagram) {
	if d != nil {
		t.end(d, ownership.ReasonFragmentLimit)
	}
}

func (t *Table) closeIfComplete(d *datagram) {
	if d.complete() && t.of[d.key] == d {
		t.stats.Complete++
		t.end(d, ownership.ReasonNone) // nothing is held
	}
}

// end forgets a datagram and drops what is held of it. Its first fragment, if the role
// logic has that, goes on alone.
func (t *Table) end(d *datagram, why ownership.Reason) {
	if d.state == asked {
		delete(t.asked, d.first)
	}
	d.in.Remove(&d.age)
	delete(t.of, d.key)
	held, s := d.held, d.source
	t.unhold(d)
	t.leave(d, s)
	for i := range held {
		t.cfg.Release(held[i].Handle, drop(why))
	}
	t.free = append(t.free, d)
}

// unhold lets go of what is held, which the caller ends.
func (t *Table) unhold(d *datagram) {
	t.held -= len(d.held)
	d.source.held -= len(d.held)
	d.held = d.held[:0]
}

// leave takes a datagram from its source's list.
func (t *Table) leave(d *datagram, s *source) {
	s.all.Remove(&d.ofSource)
	if s.n--; s.n == 0 {
		delete(t.sources, s.sender)
		t.unused = append(t.unused, s)
	}
}
