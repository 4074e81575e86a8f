package topology

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"cohort/api"
)

// ErrNotFormed is returned by WaitFormed with what each node said last.
var ErrNotFormed = errors.New("the cluster has not formed")

// inSync reports whether a state is that of a member that takes part in
// everything (MG1), spelt as in the specification or with a hyphen.
func inSync(state string) bool { return state == "in sync" || state == "in-sync" }

// API returns the client of the node's daemon. It stays the same over
// restarts.
func (n *Node) API() *api.Client { return n.api }

// askTimeout bounds one question, so that a frozen daemon holds up nobody.
const askTimeout = 2 * time.Second

func (n *Node) info(ctx context.Context) (api.Info, error) {
	ctx, cancel := context.WithTimeout(ctx, askTimeout)
	defer cancel()
	return n.api.Info(ctx)
}

// agree reports whether all answers tell of the same formed cluster of n.
func agree(infos []api.Info, n int) bool {
	if len(infos) != n {
		return false
	}
	first := infos[0]
	for _, i := range infos {
		if i.Control == "" || i.Control != first.Control || i.Term != first.Term || i.Epoch != first.Epoch ||
			!inSync(i.State) || membersInSync(i) != n {
			return false
		}
	}
	return true
}

// membersInSync counts the members that take part.
func membersInSync(i api.Info) (n int) {
	for _, m := range i.Members {
		if inSync(m.State) {
			n++
		}
	}
	return n
}

// WaitFormed waits until n daemons run and every one of them says that the
// cluster has n members in sync, under the same control node and epoch.
func (t *Topology) WaitFormed(ctx context.Context, n int) error {
	var last []string
	err := Poll(ctx, func() (bool, error) {
		infos, said := t.ask(ctx)
		if ctx.Err() == nil {
			last = said
		}
		return agree(infos, n), nil
	})
	if err != nil {
		return fmt.Errorf("%w with %d nodes: %w\n%s", ErrNotFormed, n, err, strings.Join(last, "\n"))
	}
	return nil
}

// WaitRouted waits until both routers see every node steadily, so that traffic
// that begins now meets no next hop that is about to be withdrawn for what it
// did while it started.
func (t *Topology) WaitRouted(ctx context.Context) error {
	return errors.Join(t.Inside.Tracker().Steady(ctx), t.Outside.Tracker().Steady(ctx))
}

// ask collects the answers of all running daemons, and all answers in words.
func (t *Topology) ask(ctx context.Context) (infos []api.Info, said []string) {
	for _, n := range t.Nodes {
		if _, err := n.running(); err != nil {
			said = append(said, err.Error())
			continue
		}
		info, err := n.info(ctx)
		if err != nil {
			said = append(said, fmt.Sprintf("node %s: %v", n.Name, err))
			continue
		}
		infos = append(infos, info)
		said = append(said, fmt.Sprintf("node %s: %+v", n.Name, info))
	}
	return infos, said
}

// ControlNode returns the control node by the word of the running daemons, or
// an error if they do not agree on one that runs.
func (t *Topology) ControlNode(ctx context.Context) (*Node, error) {
	infos, said := t.ask(ctx)
	if len(infos) == 0 || !agree(infos, len(infos)) {
		return nil, fmt.Errorf("no agreed control node:\n%s", strings.Join(said, "\n"))
	}
	for _, n := range t.Nodes {
		if n.Name == infos[0].Control {
			return n, nil
		}
	}
	return nil, fmt.Errorf("control node %s is none of the topology", infos[0].Control)
}
