package node

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"cohort/api"
	"cohort/cluster/blocks"
	"cohort/node/core"
)

const (
	forgetEvery = 20 * time.Millisecond
	forgetWait  = 5 * time.Second // for members to confirm
)

// Forgettable implements api.NATProvider.
func (p provider) Forgettable(ctx context.Context, node string) (api.Forgotten, error) {
	n := p.n
	if n.stubs == nil {
		return api.Forgotten{}, api.ErrNoNAT
	}
	f := api.Forgotten{Node: node}
	var err error
	var s blocks.Status
	for first := 0; ; first += len(s.Units) {
		if inLoop := n.inLoop(ctx, func(now int64) {
			f.Already, err = n.core.Forgettable(now, node)
			s = n.core.Units().StatusOf(first, statusBatch)
		}); inLoop != nil {
			return f, inLoop
		}
		if err != nil {
			return f, refusal(node, err, s.Missing)
		}
		for i := range s.Units {
			if u := &s.Units[i]; u.Holder == 0 && u.State != blocks.Limbo {
				f.Frozen++
				if u.Last == node {
					f.Held++
				}
			}
		}
		if len(s.Units) == 0 {
			break
		}
	}
	f.WaitsFor = slices.DeleteFunc(s.Missing, func(name string) bool { return name == node })
	return f, nil
}

// Forget implements api.NATProvider. It is said again until everybody knows:
// what a member that saw the node last tells meanwhile would undo it.
func (p provider) Forget(ctx context.Context, node string) (api.Forgotten, error) {
	f, err := p.Forgettable(ctx, node)
	if err != nil {
		return f, err
	}
	ctx, cancel := context.WithTimeout(ctx, forgetWait)
	defer cancel()
	tick := time.NewTicker(forgetEvery)
	defer tick.Stop()
	for {
		mine := ""
		if inLoop := p.n.inLoop(ctx, func(now int64) {
			if err = p.n.core.Forget(now, node); err == nil {
				f.Unaware, mine = p.n.core.Units().Unaware(), p.n.core.Name()
			}
		}); inLoop != nil {
			return f, inLoop
		}
		if err != nil {
			return f, refusal(node, err, nil)
		}
		if len(f.Unaware) == 0 {
			return f, nil
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			if slices.Contains(f.Unaware, mine) {
				return f, fmt.Errorf("it is not certain that %s is forgotten: this node could not write it to its disk, see its log; say it again", node)
			}
			return f, nil
		}
	}
}

// refusal is the line for an operator.
func refusal(node string, err error, missing []string) error {
	var lives core.AliveError
	switch {
	case errors.Is(err, blocks.ErrNoView):
		return api.Refusal("this node is no member of the cluster at present; ask one that is")
	case errors.Is(err, blocks.ErrMember):
		return api.Refusal(node + " is a member of the present view; a node must be over to be forgotten: end its daemon, and wait until it is removed")
	case errors.As(err, &lives):
		return api.Refusal(fmt.Sprintf("%s lives: it was heard %v ago; end its daemon first", node, lives.Ago.Round(time.Millisecond)))
	case errors.Is(err, blocks.ErrUnknown):
		why := "no node of the name " + node + " was ever a member; "
		if len(missing) == 0 {
			return api.Refusal(why + "none is missing")
		}
		return api.Refusal(why + "missing: " + strings.Join(missing, ", "))
	}
	return err
}
