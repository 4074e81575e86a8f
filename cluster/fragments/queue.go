package fragments

import "cohort/cluster/ownership"

// queue is a list of datagrams by age. All live equally long from when they are put in,
// so the first is the next to end.
type queue struct{ first, last *datagram }

func (q *queue) push(d *datagram) {
	if d.prev, d.next = q.last, nil; q.last != nil {
		q.last.next = d
	} else {
		q.first = d
	}
	q.last = d
}

func (q *queue) remove(d *datagram) {
	if d.prev != nil {
		d.prev.next = d.next
	} else {
		q.first = d.next
	}
	if d.next != nil {
		d.next.prev = d.prev
	} else {
		q.last = d.prev
	}
}

// other returns the oldest but for d.
func (q *queue) other(d *datagram) *datagram {
	if q.first == d && d != nil {
		return d.next
	}
	return q.first
}

// holder returns the source's oldest datagram, but for d, of which something is held.
func (s *source) holder(d *datagram) *datagram {
	o := s.first
	for o != nil && (o == d || len(o.held) == 0) {
		o = o.younger
	}
	return o
}

// move puts a datagram into a queue, where its life begins again. That happens twice at
// most: when the first of it is held, and when its fate is known.
func (t *Table) move(now int64, d *datagram, to *queue) {
	d.in.remove(d)
	d.in, d.until = to, now+int64(t.cfg.Life)
	to.push(d)
}

// open makes a record, and room for it.
func (t *Table) open(now int64, k Key) *datagram {
	s := t.sources[k.sender()]
	switch {
	case s != nil && s.n >= t.cfg.SourceShare:
		t.evict(s.first)
		s = t.sources[k.sender()]
	case len(t.of) >= t.cfg.MaxDatagrams:
		t.evict(t.oldest())
		s = t.sources[k.sender()]
	}
	if s == nil {
		s = t.addSource(k)
	}
	d := t.spare()
	*d = datagram{key: k, until: now + int64(t.cfg.Life), in: &t.idle, source: s, older: s.last, spans: d.spans[:0], held: d.held[:0]}
	if s.last != nil {
		s.last.younger = d
	} else {
		s.first = d
	}
	s.last = d
	s.n++
	t.of[k] = d
	t.stats.Datagrams++
	t.idle.push(d)
	return d
}

// oldest returns the record that would end first.
func (t *Table) oldest() *datagram {
	a, b := t.holding.first, t.idle.first
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
	d.in.remove(d)
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
	if d.older != nil {
		d.older.younger = d.younger
	} else {
		s.first = d.younger
	}
	if d.younger != nil {
		d.younger.older = d.older
	} else {
		s.last = d.older
	}
	if s.n--; s.n == 0 {
		delete(t.sources, s.sender)
		t.unused = append(t.unused, s)
	}
}
