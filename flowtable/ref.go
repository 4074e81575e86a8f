package flowtable

// Ref names one direction of one slot, as the index stores it:
// kind<<31 | slot<<1 | direction. The zero Ref is "none" because slot 0 is
// never used. The index leads to the delegation of a forward slot that has one,
// with a direction of 1; no Ref that the table gives away does.
type Ref uint32

const (
	refForward = 1 << 31 // REF_FORWARD in bpf/layout.h

	// MaxSlots bounds the length of either slot array: 30 bits of a Ref.
	MaxSlots = 1 << 30
)

func flowRef(slot uint32, dir int) Ref { return Ref(slot<<1 | uint32(dir)) }

func forwardRef(slot uint32) Ref { return Ref(refForward | slot<<1) }

func delegatedRef(slot uint32) Ref { return Ref(refForward | slot<<1 | 1) }

// IsForward reports whether the slot is a ForwardSlot rather than a FlowSlot.
func (r Ref) IsForward() bool { return r&refForward != 0 }

// Slot returns the slot number within its array; 0 for no slot.
func (r Ref) Slot() uint32 { return uint32(r&^refForward) >> 1 }

// Dir returns the direction whose key was found: 0 from the initiator, 1 from
// the responder. A forward slot knows one direction and always returns 0.
func (r Ref) Dir() int { return int(r & 1) }
