package seal

// windowBits is how far behind the newest counter a datagram may arrive.
const windowBits = 2048

const windowWords = windowBits/64 + 1 // one word is being cleared (RFC 6479)

// window remembers which of the latest counters have been seen (RFC 6479).
type window struct {
	last uint64 // highest counter seen
	bits [windowWords]uint64
}

// startAt makes every counter up to n seen.
func (w *window) startAt(n uint64) {
	w.last = n
	for i := range w.bits {
		w.bits[i] = ^uint64(0)
	}
	// Bits above n in its own word belong to counters to come.
	w.bits[n/64%windowWords] = 1<<(n%64+1) - 1
}

// seen reports whether n must be refused.
func (w *window) seen(n uint64) bool {
	if n > w.last {
		return false
	}
	if w.last-n >= windowBits {
		return true
	}
	return w.bits[n/64%windowWords]&(1<<(n%64)) != 0
}

// mark remembers n, which seen has let pass.
func (w *window) mark(n uint64) {
	if n > w.last {
		from, to := w.last/64, n/64
		if to-from > windowWords {
			from = to - windowWords
		}
		for i := from + 1; i <= to; i++ {
			w.bits[i%windowWords] = 0
		}
		w.last = n
	}
	w.bits[n/64%windowWords] |= 1 << (n % 64)
}
