package api_test

import (
	"context"
	"errors"
	"strings"
	"testing"

	"cohort/api"
	"cohort/api/apitest"
)

// told is a node that remembers what it was told.
type told struct {
	*apitest.Node
	said []string
	err  error
}

func (n *told) Act(_ context.Context, verb, node string) (api.Acted, error) {
	n.said = append(n.said, strings.TrimSpace(verb+" "+node))
	return api.Acted{State: "disabled", Done: true}, n.err
}

func TestEL10_VerbsArriveAsSaid(t *testing.T) {
	n := &told{Node: apitest.Example()}
	c, _ := serve(t, n)
	for _, verb := range api.Verbs {
		node := ""
		if api.Remote(verb) {
			node = "fw-c"
		}
		if a, err := c.Act(t.Context(), verb, node); err != nil || a.State != "disabled" || !a.Done {
			t.Errorf("%s: %+v, %v", verb, a, err)
		}
	}
	if got := strings.Join(n.said, ", "); got != "create, join, enable, drain, leave, disable, break, remove fw-c, promote fw-c" {
		t.Errorf("told %s", got)
	}
	for _, bad := range [][2]string{{"explode", ""}, {"disable", "fw-c"}, {"promote", ""}, {"leave", "fw-c"}} {
		if _, err := c.Act(t.Context(), bad[0], bad[1]); err == nil {
			t.Errorf("%v is taken", bad)
		}
	}
	if len(n.said) != len(api.Verbs) {
		t.Errorf("told %q", n.said)
	}
	n.err = api.Refusal("it is the control node already")
	var no api.Refusal
	if _, err := c.Act(t.Context(), "promote", "fw-a"); !errors.As(err, &no) || no != n.err {
		t.Errorf("a refusal arrives as %v", err)
	}
	if c, _ := serve(t, apitest.Example()); c == nil {
		t.Fatal("no client")
	} else if _, err := c.Act(t.Context(), "leave", ""); err == nil {
		t.Error("a node that cannot be told obeys")
	}
}
