package sim

import (
	"fmt"
	"strings"

	"cohort/cluster/ownership"
	"cohort/packet"
)

// The oracle is one node with the same rules and the same pools. It meets the
// same conversations at the same instants, from clients that behave alike, and
// nothing ever happens to it. What it does, the cluster does: to the clients the
// two are one and the same firewall (DESIGN 8.2).

// Outcome is how a conversation ended.
type Outcome struct {
	District string
	Key      packet.FlowKey // as the initiator sends
	Done     bool
	Refused  Reasons        // why its first packet was dropped, each time it was
	Tuple    packet.FlowKey // as the responder saw it
	Warned   bool           // the responder has sent an ICMP error
	Errors   int            // ICMP errors that reached the initiator
	Excused  string         // faults explain why it failed
	ruling   ruling         // what the book says
}

// Reasons is a set of reasons.
type Reasons uint64

func (s Reasons) String() string {
	var names []string
	for r := range 64 {
		if s>>r&1 != 0 {
			names = append(names, ownership.Reason(r).String())
		}
	}
	return "[" + strings.Join(names, " ") + "]"
}

func reasons(list ...ownership.Reason) (s Reasons) {
	for _, r := range list {
		s |= 1 << r
	}
	return s
}

// weather is what a first packet is dropped for because of the state of the
// cluster, not because of what it asks for.
var weather = reasons(ownership.ReasonFenced, ownership.ReasonOwnerTimeout, ownership.ReasonLinkBacklog, ownership.ReasonForwardLoop, ownership.ReasonNoConnection, ownership.ReasonNATConflict)

// scarcity is what a pool is found empty for. While nodes are away their units
// are frozen, and a pool may have less than a host is allowed.
var scarcity = reasons(ownership.ReasonNATPorts, ownership.ReasonNATHost)

// Oracle plays the conversations of cfg against one node, which is compared
// with the book, and against the cluster, which is compared with it.
func Oracle(cfg Config) (one, many Result) {
	alone := cfg
	alone.Nodes, alone.Faults, alone.Link, alone.Trace = 1, nil, Link{}, nil
	one, many = Run(alone), Run(cfg)
	for i := range one.Outcomes {
		if s := one.Outcomes[i].againstBook(); s != "" {
			one.Violations = append(one.Violations, "one node: "+s)
		}
	}
	many.Violations = append(many.Violations, compare(&one, &many, len(cfg.Faults) == 0, cfg.Link == Link{})...)
	return one, many
}

// againstBook compares one node, to which nothing happens, with the rules. A
// conversation may fail because a pool has run out, and for nothing else.
func (o *Outcome) againstBook() string {
	may := reasons(o.ruling.refused) &^ reasons(ownership.ReasonNone)
	if o.ruling.pool != "" {
		may |= scarcity
	}
	switch {
	case o.Refused&^may != 0 || !o.Done && o.Refused == 0:
		return fmt.Sprintf("%s %v is refused for %v, the rules say %v", o.District, o.Key, o.Refused, may)
	case o.Warned != (o.Errors == 1):
		return fmt.Sprintf("%s %v gets %d ICMP errors", o.District, o.Key, o.Errors)
	case o.Done && o.ruling.refused != ownership.ReasonNone:
		return fmt.Sprintf("%s %v completes, the rules say %v", o.District, o.Key, o.ruling.refused)
	}
	return ""
}

// compare says where the cluster differs from one node. Without faults nothing is
// excused; on a perfect link nothing is late or lost, either.
func compare(one, many *Result, faultless, perfect bool) (bad []string) {
	say := func(format string, args ...any) { bad = append(bad, "oracle: "+fmt.Sprintf(format, args...)) }
	scarce := map[string]*[2]map[packet.FlowKey]bool{}
	for i := range one.Outcomes {
		o, m := &one.Outcomes[i], &many.Outcomes[i]
		real := m.Refused
		if !perfect || !faultless {
			real &^= weather
		}
		switch {
		case o.scarce():
			// Who comes first may differ, but not how many are served.
			s := scarce[o.ruling.pool]
			if s == nil {
				s = &[2]map[packet.FlowKey]bool{{}, {}}
				scarce[o.ruling.pool] = s
			}
			for j, x := range []*Outcome{o, m} {
				if x.Done {
					s[j][x.customer()] = true
				}
			}
			if want := o.runsOutFor(); real&^want != 0 && (faultless || real&^scarcity != 0) {
				say("%s %v is refused for %v; what runs out for one node is %v", o.District, o.Key, real, want)
			}
		case o.Done && !m.Done && m.Excused == "":
			say("one node completes %s %v, the cluster refuses it for %v", o.District, o.Key, m.Refused)
		case o.Done && real&^o.Refused != 0 && faultless:
			say("the cluster refuses %s %v for %v at first, one node does not", o.District, o.Key, real)
		case !o.Done && m.Done:
			say("one node refuses %s %v for %v, the cluster completes it", o.District, o.Key, o.Refused)
		case !o.Done && (real&^o.Refused != 0 || faultless && real != o.Refused):
			say("one node refuses %s %v for %v, the cluster for %v", o.District, o.Key, o.Refused, real)
		}
		if perfect && faultless && o.Done && m.Done && o.Errors != m.Errors {
			say("%s %v gets %d ICMP errors from one node, %d from the cluster", o.District, o.Key, o.Errors, m.Errors)
		}
	}
	for pool, s := range scarce {
		// With faults, who has lost what he had makes room for others.
		if n := [2]int{len(s[0]), len(s[1])}; faultless && n[0] != n[1] {
			say("pool %s serves %d with one node, %d with the cluster", pool, n[0], n[1])
		}
	}
	return bad
}

// scarce reports whether its pool has less than its customers ask for.
func (o *Outcome) scarce() bool { return o.ruling.pool == "direct" || o.ruling.pool == "limited" }

// customer is who takes a piece of a scarce pool: a host takes an address for
// all its conversations, and each conversation takes a port.
func (o *Outcome) customer() packet.FlowKey {
	if o.ruling.pool == "direct" {
		return packet.FlowKey{Src: o.Key.Src}
	}
	return o.Key
}

func (o *Outcome) runsOutFor() Reasons {
	if o.ruling.pool == "limited" {
		return reasons(ownership.ReasonNATHost)
	}
	return reasons(ownership.ReasonNATPorts)
}
