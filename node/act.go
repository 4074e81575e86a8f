package node

import (
	"context"
	"errors"
	"time"

	"cohort/api"
	"cohort/ccl/wire"
	"cohort/cluster/health"
	"cohort/cluster/membership"
	"cohort/node/core"
)

const (
	actEvery = 20 * time.Millisecond
	actWait  = 10 * time.Second // for a verb's effect

	leaveWait = 30 * time.Second // for a node's connections to move before it leaves
)

// Act implements api.Actor.
func (p provider) Act(ctx context.Context, verb, node string) (api.Acted, error) {
	n := p.n
	var err error
	if inLoop := n.inLoop(ctx, func(now int64) { err = n.act(now, verb, node) }); inLoop != nil {
		return api.Acted{}, inLoop
	}
	if err != nil {
		return api.Acted{}, refuseVerb(verb, node, err)
	}
	ctx, cancel := context.WithTimeout(ctx, actWait+drainsFor(verb))
	defer cancel()
	tick := time.NewTicker(actEvery)
	defer tick.Stop()
	var unsaved <-chan time.Time // no longer than that for the disk alone
	for {
		var a api.Acted
		if err := n.inLoop(ctx, func(now int64) { a = n.acted(now, verb, node) }); err != nil {
			return a, err
		}
		if a.Done {
			return a, nil
		}
		if a.Unsaved && unsaved == nil {
			unsaved = time.After(actWait)
		}
		select {
		case <-tick.C:
		case <-unsaved:
			return a, nil
		case <-ctx.Done():
			return a, nil
		}
	}
}

// drainsFor is how long a verb waits for connections to move at most.
func drainsFor(verb string) time.Duration {
	switch verb {
	case api.VerbDrain:
		return core.Patience
	case api.VerbLeave, api.VerbDisable:
		return leaveWait
	}
	return 0
}

// act carries a verb out.
func (n *Node) act(now int64, verb, node string) error {
	m := n.core.Member()
	switch verb {
	case api.VerbCreate:
		return n.core.Enable(now, membership.Create)
	case api.VerbJoin:
		return n.core.Enable(now, membership.Join)
	case api.VerbEnable:
		return n.core.Enable(now, membership.Auto)
	case api.VerbDrain:
		if node != "" && node != n.core.Name() {
			return m.AskDrain(now, node)
		}
		return n.core.Drain(now, drainsFor(verb), "drained: an operator said so")
	case api.VerbLeave:
		err := n.core.Drain(now, drainsFor(verb), "left: an operator said so")
		n.passing = n.passing || err == nil
		return err
	case api.VerbDisable:
		if n.passing { // it left before, or is about to: now it stays out
			n.passing = false
			return nil
		}
		return n.core.Drain(now, drainsFor(verb), "disabled by an operator")
	case api.VerbBreak:
		return m.Break(now)
	case api.VerbRemove:
		return m.Expel(now, node)
	}
	return m.Promote(now, node)
}

// acted reports whether a verb's effect is there. One on this node is not before a
// restart would keep it.
func (n *Node) acted(now int64, verb, node string) api.Acted {
	s := n.core.Member().Status(now)
	a := api.Acted{State: membership.StateName(s.State)}
	if s.View != nil {
		a.Control = memberName(s.View, s.View.Control)
	}
	switch {
	case verb == api.VerbCreate || verb == api.VerbJoin || verb == api.VerbEnable:
		a.Done = s.State == wire.StateInSync
	case verb == api.VerbRemove, verb == api.VerbDrain && node != "" && node != n.core.Name():
		a.Done = s.View.Named(node) == nil
	case verb == api.VerbPromote:
		a.Done = a.Control == node
	default:
		a.Done = n.core.Ladder().Phase == health.Disabled
		if drainsFor(verb) > 0 {
			a.Left, _ = n.core.Draining()
		}
	}
	if a.Done && verb != api.VerbPromote && (node == "" || node == n.core.Name()) {
		n.keepIntent()
		a.Unsaved = !n.intent.settled()
		a.Done = !a.Unsaved
	}
	return a
}

// refuseVerb is the line for an operator.
func refuseVerb(verb, node string, err error) error {
	why := map[error]string{
		core.ErrClustering:      "this node is clustering already",
		core.ErrDisabled:        "this node is out already",
		core.ErrDraining:        "this node is on its way out already",
		membership.ErrNotMember: "this node is no member of the cluster at present; ask one that is",
		membership.ErrUnknown:   "there is no member " + node,
		membership.ErrControl:   node + " is the control node already",
		membership.ErrLast:      node + " is the last member; cohort break ends the cluster",
	}
	for is, text := range why {
		if errors.Is(err, is) {
			return api.Refusal(verb + ": " + text)
		}
	}
	return err
}

// keepIntent writes down whether an operator took this node out, here or at
// another node: a daemon that starts again stays out, or goes on with going.
func (n *Node) keepIntent() {
	s := n.core.Ladder()
	out := s.Phase == health.Disabled && s.Cause == wire.CauseOperator
	expelled := n.core.Expelled()
	if _, leaving := n.core.Draining(); expelled != "" || !out && !leaving {
		n.passing = false
	}
	want := intent{}
	switch why := n.core.Leaving(); {
	case n.passing:
	case out:
		want = intent{Disabled: true, Why: s.Why}
	case expelled != "": // before it is out: then the others take it for done
		want = intent{Disabled: true, Why: expelled}
	case why != "":
		want = intent{Leaving: true, Why: why}
	}
	n.intent.put(want)
}

// intentKept implements core.Config.Kept. Who leaves for this life only has nothing to
// keep, unless it is taken out meanwhile.
func (n *Node) intentKept(why string) bool {
	return n.passing && n.core.Expelled() == "" || n.intent.keeps(why)
}
