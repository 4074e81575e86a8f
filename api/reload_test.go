package api_test

import (
	"context"
	"fmt"
	"net"
	"net/http"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"cohort/api"
	"cohort/api/apitest"
)

// reloader is a node that reloads, or refuses with an error.
type reloader struct {
	*apitest.Node
	says api.Reload
	err  error
	read int
}

func (r *reloader) Reload(context.Context) (api.Reload, error) {
	r.read++
	return r.says, r.err
}

// A reload is done with POST and with nothing else, and what the node says of a
// file that it refuses arrives whole.
func TestNT7_ReloadIsAsked(t *testing.T) {
	n := &reloader{Node: apitest.Example(), says: api.Reload{Config: "1a2b3c4d", State: api.ReloadPrepared, Waiting: []string{"fw-b"}}}
	c, path := serve(t, n)
	got, err := c.Reload(t.Context())
	if d := cmp.Diff(n.says, got); err != nil || d != "" {
		t.Fatalf("%v\n%s", err, d)
	}
	n.err = fmt.Errorf("cluster.yaml:3: trust 200 is outside 0-100: %w", api.ErrRefused)
	if _, err := c.Reload(t.Context()); err == nil || !strings.Contains(err.Error(), n.err.Error()) {
		t.Fatalf("the refusal arrives as %v", err)
	}
	for method, where := range map[string]string{http.MethodGet: "/v1/reload", http.MethodPost: "/v1/counters"} {
		var d net.Dialer
		h := http.Client{Transport: &http.Transport{DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) { return d.DialContext(ctx, "unix", path) }}}
		req, _ := http.NewRequest(method, "http://cohortd"+where, nil)
		resp, err := h.Do(req)
		if err != nil {
			t.Fatal(err)
		}
		resp.Body.Close()
		if resp.StatusCode != http.StatusMethodNotAllowed || n.read != 2 {
			t.Errorf("%s %s: %s, read %d times", method, where, resp.Status, n.read)
		}
		h.CloseIdleConnections()
	}
	if c, _ := serve(t, apitest.Example()); c == nil {
		t.Fatal("no client")
	} else if _, err := c.Reload(t.Context()); err == nil {
		t.Error("a node that cannot reload says that it has")
	}
}
