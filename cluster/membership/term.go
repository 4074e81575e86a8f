package membership

import (
	"fmt"
	"net/netip"

	"cohort/ccl/wire"
)

// A term is a round and the host part of the address of the control node that
// opened it: two nodes that open a term in the same round, on two sides of a
// partition, open two different terms. Nobody has to agree for that.
//
// Rounds and epochs do not start again when a whole cluster does, either: a node keeps
// its newest (Config.LastTerm). Else the node that ruled before, as it has the better
// priority, would open its first term again, and a view of the same number and the same
// tag as one that a straggler is still in: one that was cut off or stood still, for as
// long as it does not know better. It would take heartbeats, frames and messages of the
// one view for those of the other (EL5, FR13), and would not take the new view, which
// is not newer. Without the memory (a wiped disk) that remains possible.
//
// Epochs do not start again with a term: a later view has the higher epoch
// whoever made it. View.Tag mixes both numbers, so two views that can meet have
// different tags but for one chance in 2^32.
const (
	termHostBits = 12
	maxRound     = 1 << 19 // higher ones are refused, so that rounds cannot run out
	maxEpoch     = 1 << 31
)

// hostBits is the part of an address that tells the nodes of a CCL subnet apart.
func hostBits(a netip.Addr) uint32 {
	b := a.AsSlice()
	if len(b) < 2 {
		return 0
	}
	return (uint32(b[len(b)-2])<<8 | uint32(b[len(b)-1])) & (1<<termHostBits - 1)
}

// Round is the number of elections that led to a term, for people to read.
func Round(term uint32) uint32 { return term >> termHostBits }

// ViewName is how texts speak of a view: round.host/epoch.
func ViewName(term, epoch uint32) string {
	return fmt.Sprintf("%d.%d/%d", Round(term), term&(1<<termHostBits-1), epoch)
}

// Sane refuses numbers that no sequence of elections can reach.
func Sane(term, epoch uint32) bool { return Round(term) < maxRound && epoch < maxEpoch }

// note remembers that a view exists, so that this node's next one is newer.
func (m *Machine) note(term, epoch uint32) {
	m.maxTerm = max(m.maxTerm, term)
	m.maxEpoch = max(m.maxEpoch, epoch)
}

// openTerm returns a term above every one heard of, which no other node opens.
func (m *Machine) openTerm() uint32 {
	return (Round(m.maxTerm)+1)<<termHostBits | hostBits(m.self.VTEP)
}

// validView checks what a decoder cannot: that the view makes sense.
func validView(v *wire.View) bool {
	if !Sane(v.Term, v.Epoch) || v.Epoch == 0 || len(v.Members) >= wire.MaxNodes {
		return false
	}
	for i := range v.Members {
		a := &v.Members[i]
		if a.ID == 0 || a.ID >= wire.MaxNodes || a.Name == "" || a.Incarnation == 0 || !a.VTEP.IsValid() {
			return false
		}
		if i > 0 && v.Members[i-1].ID >= a.ID {
			return false
		}
		for j := range i {
			if b := &v.Members[j]; a.Name == b.Name || a.VTEP == b.VTEP {
				return false
			}
		}
	}
	return v.Member(v.Control) != nil
}
