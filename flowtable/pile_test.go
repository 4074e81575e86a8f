package flowtable

import (
	"slices"
	"testing"

	"pgregory.net/rapid"
)

// TestPileIsAStack compares it with a slice, over the borders of chunks.
func TestPileIsAStack(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		var p, other pile
		var spare [][]uint32
		var want, rest []uint32
		next := uint32(1)
		for range rapid.IntRange(1, 12).Draw(t, "steps") {
			n := rapid.IntRange(0, 3*pileChunk/2).Draw(t, "n")
			switch rapid.IntRange(0, 3).Draw(t, "step") {
			case 0:
				for range n {
					p.push(next, &spare)
					want = append(want, next)
					next++
				}
			case 1:
				for range n {
					other.push(next, &spare)
					rest = append(rest, next)
					next++
				}
			case 2:
				for range min(n, len(want)+1) {
					got, ok := p.pop(&spare)
					if ok != (len(want) > 0) {
						t.Fatalf("pop: %v with %d left", ok, len(want))
					}
					if !ok {
						break
					}
					i := slices.Index(want, got)
					if i < 0 {
						t.Fatalf("pop: %d was not there", got)
					}
					want[i] = want[len(want)-1]
					want = want[:len(want)-1]
				}
			case 3:
				p.take(&other, &spare)
				want, rest = append(want, rest...), rest[:0]
			}
			if p.len() != len(want) || other.len() != len(rest) {
				t.Fatalf("%d and %d, want %d and %d", p.len(), other.len(), len(want), len(rest))
			}
		}
	})
}

// TestPileNeverMovesMuch: what a pile holds stays where it is as it grows, and moves
// to another pile by chunks.
func TestPileNeverMovesMuch(t *testing.T) {
	var p, other pile
	var spare [][]uint32
	for i := range uint32(8 * pileChunk) {
		p.push(i, &spare)
	}
	first := &p.full[0][0]
	for i := range uint32(8 * pileChunk) {
		p.push(i, &spare)
		other.push(i, &spare)
	}
	theirs := &other.full[0][0]
	p.take(&other, &spare)
	if &p.full[0][0] != first || !slices.ContainsFunc(p.full, func(c []uint32) bool { return &c[0] == theirs }) {
		t.Error("numbers were copied")
	}
}
