package policy

import "math/bits"

// A set of rules is a bit per rule number, 64 rules a word.
type dense []uint64

func newDense(rules int) dense { return make(dense, (rules+64)/64) }

func (d dense) add(rule uint16)    { d[rule/64] |= 1 << (rule % 64) }
func (d dense) remove(rule uint16) { d[rule/64] &^= 1 << (rule % 64) }

// sparse keeps only the words of a set that are not zero, and finds a word by
// counting the bits in front of it.
type sparse struct {
	blocks []block
	words  []uint64
}

// block covers 64 words.
type block struct {
	present uint64 // bit per word that is kept
	base    uint32 // place of the first one in words
}

// shrink copies a dense set.
func shrink(d dense) sparse {
	s := sparse{blocks: make([]block, (len(d)+63)/64)}
	for w, bits := range d {
		b := &s.blocks[w/64]
		if w%64 == 0 {
			b.base = uint32(len(s.words))
		}
		if bits != 0 {
			b.present |= 1 << (w % 64)
			s.words = append(s.words, bits)
		}
	}
	return s
}

// word returns the w-th word of the set.
func (s *sparse) word(w int) uint64 {
	b := &s.blocks[w>>6]
	bit := uint64(1) << (w & 63)
	if b.present&bit == 0 {
		return 0
	}
	return s.words[int(b.base)+bits.OnesCount64(b.present&(bit-1))]
}
