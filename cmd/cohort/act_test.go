package main

import (
	"context"
	"strings"
	"testing"

	"cohort/api"
	"cohort/api/apitest"
)

// told is a node that does what it is told.
type told struct {
	*apitest.Node
	said []string
	says api.Acted
}

func (n *told) Act(_ context.Context, verb, node string) (api.Acted, error) {
	n.said = append(n.said, strings.TrimSpace(verb+" "+node))
	return n.says, nil
}

// Verbs that destroy ask first, and for the right word.
func TestEL10_VerbsThatDestroyAskFirst(t *testing.T) {
	n := &told{Node: apitest.Example(), says: api.Acted{State: "disabled", Done: true}}
	socket := serve(t, n)
	for _, c := range []struct{ args, typed, did, says, fails string }{
		{"leave", "y\n", "leave", "fw-b leaves the cluster. It gives", ""},
		{"leave", "", "", "Type y to go on", "nothing was typed, nothing is done; scripts write cohort leave --yes"},
		{"leave --yes", "", "leave", "fw-b is out until it is told to join, or its daemon starts again\n", ""},
		{"drain --yes", "", "drain", "fw-b is out; cohort enable", ""},
		{"drain fw-a", "y\n", "drain fw-a", "fw-a leaves the cluster, also after a restart. It gives", ""},
		{"disable", "n\n", "", "also after a restart", `"n" is not y: nothing is done`},
		{"disable", "y\n", "disable", "fw-b is disabled; cohort enable", ""},
		{"remove fw-a", "fw-b\n", "", "fw-a is taken out of the cluster, and stays out.", `"fw-b" is not fw-a: nothing is done`},
		{"remove fw-a", "fw-a\n", "remove fw-a", "fw-a is out; cohort enable or cohort join there bring it back\n", ""},
		{"remove fw-a", "", "", "", "scripts write cohort remove --yes fw-a"},
		{"break", "y\n", "", "All nodes of the cluster are disabled.", `"y" is not edge: nothing is done`},
		{"break", "edge\n", "break", "the cluster is no more; cohort enable on each node, or", ""},
		{"promote fw-a", "", "promote fw-a", "the control node is nobody\n", ""},
		{"enable", "", "enable", "fw-b is in sync, the control node is nobody\n", ""},
		{"join", "", "join", "", ""},
		{"create", "", "create", "", ""},
		{"promote", "", "", "", "promote needs one node; write cohort promote fw-b"},
		{"leave fw-a", "", "", "", "takes no argument"},
	} {
		n.said = nil
		got, err := typing(t, c.typed, append(strings.Fields(c.args), "--socket", socket)...)
		if did := strings.Join(n.said, ", "); did != c.did || !strings.Contains(got, c.says) || strings.Contains(got, "%!") {
			t.Errorf("%s, typed %q: did %q, said %q", c.args, c.typed, did, got)
		}
		if (err == nil) != (c.fails == "") || err != nil && !strings.Contains(err.Error(), c.fails) {
			t.Errorf("%s, typed %q: %v, want %q", c.args, c.typed, err, c.fails)
		}
	}
	n.says = api.Acted{State: "disabled", Done: true, Left: 7}
	if got, err := typing(t, "", "leave", "--yes", "--socket", socket); err != nil || !strings.HasPrefix(got, "time was over: 7 connections had not moved") {
		t.Errorf("a node that went with connections: %q, %v", got, err)
	}
	n.says = api.Acted{State: "in sync", Left: 7}
	if _, err := typing(t, "", "leave", "--yes", "--socket", socket); err == nil || !strings.Contains(err.Error(), "fw-b is in sync and has 7 connections") {
		t.Errorf("a node that still drains: %v", err)
	}
	n.says = api.Acted{State: "joining"}
	if _, err := typing(t, "", "enable", "--socket", socket); err == nil || !strings.Contains(err.Error(), "not done yet: fw-b is joining, the control node is nobody") {
		t.Errorf("an effect that is not there: %v", err)
	}
	n.says = api.Acted{State: "disabled", Unsaved: true, Left: 7}
	if _, err := typing(t, "", "disable", "--yes", "--socket", socket); err == nil || !strings.Contains(err.Error(), "fw-b is disabled, but that is not on its disk") {
		t.Errorf("an effect that a loss of power would undo: %v", err)
	}
}
