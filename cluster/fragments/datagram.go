package fragments

import (
	"cohort/cluster/list"
	"cohort/cluster/ownership"
	"cohort/packet"
)

// state is what is known of a datagram's fate.
type state uint8

const (
	waiting  state = iota // its first fragment has not come
	asked                 // the role logic has the first and has not answered
	known                 // the first went on
	refused               // the first was dropped
	poisoned              // its fragments overlap
)

// span is the part of a datagram that one fragment has, in bytes: from ... to-1. to may
// be 65,515.
type span struct{ from, to uint16 }

// datagram is the record of one that is not complete.
type datagram struct {
	key     Key
	state   state
	why     ownership.Reason // refused, poisoned
	first   ownership.Handle // asked
	srcPort uint16           // of the first fragment
	dstPort uint16
	until   int64

	spans []span
	got   int // bytes of them
	end   int // bytes of the whole datagram, 0 = not known
	max   int // the furthest byte seen, + 1
	held  []ownership.Packet

	source   *source
	in       *list.List[datagram] // of the table's
	age      list.Link[datagram]  // in that
	ofSource list.Link[datagram]  // in its source's
}

// sender is a source address and the interface where its datagrams enter.
type sender struct {
	addr packet.Addr
	in   uint8
}

func (k Key) sender() sender { return sender{k.Src, k.In} }

// source bounds what one sender may take.
type source struct {
	sender
	n, held int
	all     list.List[datagram] // by age
}

// add notes a fragment. ReasonFragmentOverlap ends the datagram; any other reason is
// about this fragment alone.
func (d *datagram) add(p Part, maxParts int) ownership.Reason {
	from, to := p.Offset, p.Offset+p.Len
	if d.state == poisoned {
		return ownership.ReasonFragmentOverlap
	}
	for _, s := range d.spans {
		if int(s.from) == from && int(s.to) == to && (d.end == to) == !p.More {
			return ownership.ReasonFragmentDuplicate
		}
		if from < int(s.to) && int(s.from) < to {
			return ownership.ReasonFragmentOverlap
		}
	}
	if !p.More && (d.end != 0 || d.max > to) || d.end != 0 && to > d.end {
		return ownership.ReasonFragmentOverlap
	}
	if len(d.spans) >= maxParts {
		return ownership.ReasonFragmentLimit
	}
	d.spans = append(d.spans, span{uint16(from), uint16(to)})
	d.got, d.max = d.got+p.Len, max(d.max, to)
	if !p.More {
		d.end = to
	}
	return ownership.ReasonNone
}

// complete reports whether all bytes have come: spans never overlap.
func (d *datagram) complete() bool { return d.end != 0 && d.got == d.end }
