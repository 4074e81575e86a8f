package lab

import (
	"context"
	"fmt"
	"io"
	"maps"
	"slices"
	"text/tabwriter"
	"time"

	"cohort/api"
)

// WriteStatus prints a lab for people: its parts, and the members of the
// cluster with role and state as each node sees itself and the cluster.
func (s *State) WriteStatus(ctx context.Context, w io.Writer) error {
	life := string(s.Phase)
	if !s.Keeper.Alive() {
		life = "crashed (clear up with: cohort-lab down)"
	}
	fmt.Fprintf(w, "lab %s: %s, MTU %d, %s%s\n", s.Name, life, s.MTU, s.spreading(), s.overIPv6())
	if s.Error != "" {
		fmt.Fprintln(w, s.Error)
	}
	t := tabwriter.NewWriter(w, 0, 4, 2, ' ', 0)
	if s.Daemons {
		fmt.Fprintln(t, "\nNODE\tSTATE\tEPOCH\tCONTROL\tMEMBERS\tLOG")
		for _, n := range s.Nodes {
			fmt.Fprintln(t, n.Name+"\t"+ask(ctx, n.Socket)+"\t"+n.Log)
		}
	}
	fmt.Fprintln(t, "\nNAME\tNAMESPACE")
	for _, role := range slices.Sorted(maps.Keys(s.Namespaces)) {
		fmt.Fprintf(t, "%s\t%s\n", role, s.Namespaces[role])
	}
	return t.Flush()
}

func (s *State) spreading() string {
	if s.Spray {
		return "every packet through a random node"
	}
	return "ECMP by address and port"
}

func (s *State) overIPv6() string {
	if s.CCLOverIPv6 {
		return ", control link over IPv6"
	}
	return ""
}

// ask returns four columns about one node.
func ask(ctx context.Context, socket string) string {
	ctx, cancel := context.WithTimeout(ctx, 2*time.Second)
	defer cancel()
	c := api.NewClient(socket)
	defer c.Close()
	info, err := c.Info(ctx)
	if err != nil {
		return "no answer\t-\t-\t-"
	}
	members := ""
	for i, m := range info.Members {
		if i > 0 {
			members += " "
		}
		members += fmt.Sprintf("%s(%s, %s)", m.Name, m.Role, m.State)
	}
	return fmt.Sprintf("%s\t%d\t%s\t%s", info.State, info.Epoch, orDash(info.Control), orDash(members))
}

func orDash(s string) string {
	if s == "" {
		return "-"
	}
	return s
}
