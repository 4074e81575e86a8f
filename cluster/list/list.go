// Package list keeps elements in the order in which they came, for the tables of the
// cores that end what is oldest: a doubly linked list whose links are part of its
// elements. It never allocates, and an element may be in several lists, by a link each.
//
// A List belongs to one goroutine. It checks nothing: an element is pushed by a link
// that is in no list, and removed from the list that it was pushed to.
package list

// List is a list of *T. Its zero value is empty. It must not be copied.
type List[T any] struct{ first, last *Link[T] }

// Link is an element's place in one list. An element may be moved or overwritten
// only when it is in none.
type Link[T any] struct {
	of         *T
	prev, next *Link[T]
}

// First returns the oldest element, nil when there is none.
func (l *List[T]) First() *T { return l.first.element() }

// Last returns the youngest element, nil when there is none.
func (l *List[T]) Last() *T { return l.last.element() }

// Push puts e, whose link is at, behind all others.
func (l *List[T]) Push(at *Link[T], e *T) {
	*at = Link[T]{of: e, prev: l.last}
	if l.last != nil {
		l.last.next = at
	} else {
		l.first = at
	}
	l.last = at
}

// Remove takes out the element whose link is at. The link still says which was the
// next, for who is on a walk.
func (l *List[T]) Remove(at *Link[T]) {
	if at.prev != nil {
		at.prev.next = at.next
	} else {
		l.first = at.next
	}
	if at.next != nil {
		at.next.prev = at.prev
	} else {
		l.last = at.prev
	}
}

// Next returns the element that came after this one, nil for the youngest.
func (at *Link[T]) Next() *T { return at.next.element() }

func (at *Link[T]) element() *T {
	if at == nil {
		return nil
	}
	return at.of
}
