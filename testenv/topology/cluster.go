package topology

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os/exec"
	"strings"
)

// ErrNotFormed is returned by WaitFormed with what each node said last.
var ErrNotFormed = errors.New("the cluster has not formed")

// Info is the part of `cohort show cluster info -o json` that tests decide by.
type Info struct {
	Epoch   uint64   `json:"epoch"`
	Members []Member `json:"members"`
}

// Member is one row of it.
type Member struct {
	Name  string `json:"name"`
	Role  string `json:"role"`  // control or data
	State string `json:"state"` // in sync, joining, disabled or pending
}

// Show runs `cohort show ARGS -o json` against the node's daemon.
func (n *Node) Show(ctx context.Context, args ...string) ([]byte, error) {
	argv := append([]string{"--socket", n.Socket, "show"}, args...)
	cmd := exec.Command(n.topo.cfg.CLI, append(argv, "-o", "json")...)
	var out, errOut bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &errOut
	ns := n.Namespace()
	if ns == nil {
		return nil, fmt.Errorf("node %s: show: it is off", n.Name)
	}
	if err := ns.Run(ctx, cmd); err != nil {
		return nil, fmt.Errorf("node %s: show %s: %w: %s", n.Name, strings.Join(args, " "), err, strings.TrimSpace(errOut.String()))
	}
	return out.Bytes(), nil
}

// Info asks the node's daemon for the cluster as it sees it.
func (n *Node) Info(ctx context.Context) (Info, error) {
	var info Info
	b, err := n.Show(ctx, "cluster", "info")
	if err != nil {
		return info, err
	}
	if err := json.Unmarshal(b, &info); err != nil {
		return info, fmt.Errorf("node %s: show cluster info: %w", n.Name, err)
	}
	return info, nil
}

// control returns the name of the control node and how many members are in
// sync; "" if there is not exactly one control node.
func (i Info) control() (name string, inSync int) {
	controls := 0
	for _, m := range i.Members {
		if strings.EqualFold(m.State, "in sync") {
			inSync++
		}
		if strings.EqualFold(m.Role, "control") {
			controls++
			name = m.Name
		}
	}
	if controls != 1 {
		name = ""
	}
	return name, inSync
}

// Control returns the name of the control node, or "" if there is not exactly
// one.
func (i Info) Control() string { name, _ := i.control(); return name }

// agree reports whether all answers tell of the same formed cluster of n.
func agree(infos []Info, n int) bool {
	if len(infos) != n {
		return false
	}
	for _, i := range infos {
		control, inSync := i.control()
		if inSync != n || len(i.Members) < n || control == "" ||
			control != infos[0].Control() || i.Epoch != infos[0].Epoch {
			return false
		}
	}
	return true
}

// WaitFormed waits until n daemons run and every one of them says that the
// cluster has n members in sync, under the same control node and epoch.
func (t *Topology) WaitFormed(ctx context.Context, n int) error {
	var last []string
	err := poll(ctx, func() (bool, error) {
		var infos []Info
		last = last[:0]
		for _, node := range t.Nodes {
			if _, err := node.running(); err != nil {
				continue
			}
			info, err := node.Info(ctx)
			if err != nil {
				last = append(last, err.Error())
				continue
			}
			infos = append(infos, info)
			last = append(last, fmt.Sprintf("%s: %+v", node.Name, info))
		}
		return agree(infos, n), nil
	})
	if err != nil {
		return fmt.Errorf("%w with %d nodes: %w\n%s", ErrNotFormed, n, err, strings.Join(last, "\n"))
	}
	return nil
}
