package flowtable

// pileChunk is how many numbers stay where they are: 64 KiB. The first chunk grows to
// that, so that a small table has a small one.
const pileChunk = 1 << 14

// pile is a stack of slot numbers that grows by chunks. A slice would move all it
// holds each time that it grows, and with millions of connections that takes longer
// than a packet may wait.
type pile struct {
	full [][]uint32 // chunks that are full, oldest first
	top  []uint32   // the one that is being filled; nil at first
}

func (p *pile) len() int { return len(p.full)*pileChunk + len(p.top) }

// push adds a number; chunks come from spare as long as there are any.
func (p *pile) push(slot uint32, spare *[][]uint32) {
	if len(p.top) == pileChunk {
		p.full = append(p.full, p.top)
		if n := len(*spare); n > 0 {
			p.top, *spare = (*spare)[n-1], (*spare)[:n-1]
		} else {
			p.top = make([]uint32, 0, pileChunk)
		}
	}
	p.top = append(p.top, slot)
}

// pop takes the newest number; false when there is none. Empty chunks go to spare.
func (p *pile) pop(spare *[][]uint32) (uint32, bool) {
	if len(p.top) == 0 {
		n := len(p.full)
		if n == 0 {
			return 0, false
		}
		if p.top != nil {
			*spare = append(*spare, p.top)
		}
		p.top, p.full = p.full[n-1], p.full[:n-1]
	}
	n := len(p.top) - 1
	slot := p.top[n]
	p.top = p.top[:n]
	return slot, true
}

// take moves all that other holds to p. It moves whole chunks, and at most one number
// by number.
func (p *pile) take(other *pile, spare *[][]uint32) {
	p.full = append(p.full, other.full...)
	other.full = other.full[:0]
	for _, slot := range other.top {
		p.push(slot, spare)
	}
	other.top = other.top[:0]
}
