package main

import (
	"bytes"
	"strings"
	"testing"

	"cohort/api/apitest"
)

// typing runs the command line with something typed.
func typing(t *testing.T, typed string, args ...string) (string, error) {
	t.Helper()
	var out bytes.Buffer
	root := newRoot(&out)
	root.SetArgs(args)
	root.SetErr(&out)
	root.SetIn(strings.NewReader(typed))
	err := root.ExecuteContext(t.Context())
	return out.String(), err
}

func TestForgetAsksFirst(t *testing.T) {
	node := apitest.Example()
	socket := serve(t, node)
	for typed, want := range map[string]string{
		"":       "nothing was typed, nothing is done; scripts write cohort forget --yes fw-d",
		"yes\n":  `"yes" is not fw-d: nothing is done`,
		"fw-dd":  `"fw-dd" is not fw-d: nothing is done`,
		"fw-d  ": "",
	} {
		node.Forgot = 0
		got, err := typing(t, typed, "forget", "fw-d", "--socket", socket)
		if !strings.HasPrefix(got, "4 blocks of translation are frozen, 4 of them last held by fw-d.\nBy forgetting fw-d you promise:\n") {
			t.Errorf("%q: %s", typed, got)
		}
		if want == "" {
			if err != nil || node.Forgot != 1 || !strings.HasSuffix(got, "fw-d is forgotten. 4 blocks thaw; connections that use them keep their ports.\n") {
				t.Errorf("%q: %v, %d times, %s", typed, err, node.Forgot, got)
			}
		} else if err == nil || err.Error() != want || node.Forgot != 0 {
			t.Errorf("%q: %v, want %s; forgotten %d times", typed, err, want, node.Forgot)
		}
	}
}

func TestForgetInScripts(t *testing.T) {
	node := apitest.Example()
	socket := serve(t, node)
	node.Absent, node.Unaware = []string{"fw-e"}, []string{"fw-b"}
	got, err := typing(t, "", "forget", "--yes", "fw-d", "--socket", socket)
	if want := "fw-d is forgotten. Blocks stay frozen: fw-e missing as well. Not confirmed yet by fw-b, who will learn it; nothing thaws before.\n"; got != want || err != nil {
		t.Errorf("%q, %v", got, err)
	}
	node.Absent, node.Unaware = nil, nil
	if got, err = typing(t, "", "forget", "fw-d", "--socket", socket); got != "fw-d was forgotten before.\n" || err != nil {
		t.Errorf("again: %q, %v", got, err)
	}
	for args, want := range map[string]string{
		"forget":            "forget needs one node; write cohort forget fw-d",
		"forget fw-d fw-e":  "forget needs one node; write cohort forget fw-d",
		"forget --yes fw-a": "fw-a is a member",
		"forget fw-a":       "fw-a is a member",
	} {
		got, err := typing(t, "fw-a\n", append(strings.Fields(args), "--socket", socket)...)
		if err == nil || err.Error() != want || got != "" {
			t.Errorf("%s: %q, %v, want %s", args, got, err, want)
		}
	}
}
