package bpf

import "fmt"

// Outcome is how a packet left an XDP program: the index into the counters map,
// and for a Punt the Reason in struct punt. reasons.h is the list.
type Outcome uint8

// NumOutcomes is the size of the counters map. Numbers without a name are
// reserved.
const NumOutcomes = 128

// Kind is what an Outcome did to the packet.
type Kind uint8

// Kinds of outcomes.
const (
	KindNone    Kind = iota // a reserved number
	KindPass                // to the host
	KindForward             // sent on
	KindPunt                // to Go
	KindDrop
)

// String returns the kind's name in lower case.
func (k Kind) String() string {
	return [...]string{"none", "pass", "forward", "punt", "drop"}[min(k, KindDrop)]
}

// Kind returns what o did to the packet.
func (o Outcome) Kind() Kind {
	switch {
	case !o.Known():
		return KindNone
	case o < 16:
		return KindPass
	case o < 32:
		return KindForward
	case o < 80:
		return KindPunt
	}
	return KindDrop
}

// Known reports whether o has a name.
func (o Outcome) Known() bool { return int(o) < len(outcomes) && outcomes[o].name != "" }

// String returns the name with its kind, such as "drop_wrong_vni": the label of
// metrics and the word in command output.
func (o Outcome) String() string {
	if !o.Known() {
		return fmt.Sprintf("outcome_%d", uint8(o))
	}
	return outcomes[o].name
}

// Description returns one sentence for a person; empty for a reserved number.
func (o Outcome) Description() string {
	if !o.Known() {
		return ""
	}
	return outcomes[o].description
}

// Outcomes returns all that have a name, in the order of their numbers.
func Outcomes() []Outcome {
	var all []Outcome
	for o := Outcome(0); o < NumOutcomes; o++ {
		if o.Known() {
			all = append(all, o)
		}
	}
	return all
}
