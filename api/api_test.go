package api_test

import (
	"context"
	"errors"
	"io"
	"net"
	"net/http"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"go.uber.org/goleak"

	"cohort/api"
	"cohort/api/apitest"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

var compareAddrs = cmp.Options{
	cmp.Comparer(func(a, b netip.Addr) bool { return a == b }),
	cmp.Comparer(func(a, b netip.AddrPort) bool { return a == b }),
	cmp.Comparer(func(a, b netip.Prefix) bool { return a == b }),
}

// serve runs a server for p on a socket of its own until the test ends.
func serve(t *testing.T, p api.Provider) (*api.Client, string) {
	t.Helper()
	path := filepath.Join(t.TempDir(), "run", "fw.sock")
	l, err := api.Listen(path)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- api.NewServer(p, nil).Run(ctx, l) }()
	c := api.NewClient(path)
	t.Cleanup(func() {
		c.Close()
		cancel()
		if err := <-done; err != nil {
			t.Errorf("server: %v", err)
		}
		if _, err := os.Lstat(path); !errors.Is(err, os.ErrNotExist) {
			t.Errorf("the socket is left behind: %v", err)
		}
	})
	return c, path
}

func check[T any](t *testing.T, what string, ask func(context.Context) (T, error), want T) {
	t.Helper()
	got, err := ask(t.Context())
	if err != nil {
		t.Errorf("%s: %v", what, err)
		return
	}
	if diff := cmp.Diff(want, got, compareAddrs); diff != "" {
		t.Errorf("%s: %s", what, diff)
	}
}

func TestMG1_AnswersArriveAsGiven(t *testing.T) {
	node := apitest.Example()
	c, _ := serve(t, node)
	check(t, "info", c.Info, node.Cluster)
	check(t, "history", c.History, node.Past)
	check(t, "health", c.Health, node.Condition)
	check(t, "interfaces", c.Interfaces, node.Links)
	check(t, "counters", c.Counters, node.Counts)
	check(t, "tables", c.Tables, node.Fill)
	check(t, "exposure", c.Exposure, node.Exposed)
	all, _, err := collect(c.Conns, t, api.ConnFilter{})
	if diff := cmp.Diff(node.Held, all, compareAddrs); diff != "" || err != nil {
		t.Errorf("connections: %v %s", err, diff)
	}
}

// collect returns what a stream shows.
func collect[F, V any](ask func(context.Context, F, int, func(*V) error) (api.End, error), t *testing.T, f F) (all []V, end api.End, err error) {
	t.Helper()
	end, err = ask(t.Context(), f, 0, func(v *V) error {
		all = append(all, *v)
		return nil
	})
	return all, end, err
}

// conns returns the sources of the connections that a filter lets through.
func conns(t *testing.T, c *api.Client, f api.ConnFilter, limit int) (sources []string, end api.End) {
	t.Helper()
	end, err := c.Conns(t.Context(), f, limit, func(x *api.Conn) error {
		sources = append(sources, x.Source.String())
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return sources, end
}

func TestMG1_ConnsAreFiltered(t *testing.T) {
	c, _ := serve(t, apitest.Example())
	for _, x := range []struct {
		name   string
		filter api.ConnFilter
		want   []string
	}{
		{"all", api.ConnFilter{}, []string{"10.1.0.77:50123", "10.1.0.77:40000", "10.1.0.78:50999", "192.0.2.80:443"}},
		{"address, either side", api.ConnFilter{Address: netip.MustParsePrefix("10.1.0.79/32")}, []string{"192.0.2.80:443"}},
		{"network", api.ConnFilter{Address: netip.MustParsePrefix("10.1.0.76/31")}, []string{"10.1.0.77:50123", "10.1.0.77:40000"}},
		{"mapped address", api.ConnFilter{Address: netip.MustParsePrefix("203.0.113.10/32")}, []string{"10.1.0.77:50123", "10.1.0.78:50999"}},
		{"port", api.ConnFilter{Port: 53}, []string{"10.1.0.77:40000"}},
		{"mapped port", api.ConnFilter{Port: 8443}, []string{"10.1.0.78:50999"}},
		{"protocol", api.ConnFilter{Protocol: "udp"}, []string{"10.1.0.77:40000"}},
		{"owner", api.ConnFilter{Role: api.Owner}, []string{"10.1.0.77:50123", "10.1.0.77:40000"}},
		{"director", api.ConnFilter{Role: api.Director}, []string{"10.1.0.77:40000", "10.1.0.78:50999"}},
		{"backup", api.ConnFilter{Role: api.Backup}, []string{"10.1.0.78:50999"}},
		{"forwarder", api.ConnFilter{Role: api.Forwarder}, []string{"192.0.2.80:443"}},
		{"all at once", api.ConnFilter{Address: netip.MustParsePrefix("192.0.2.0/24"), Port: 443, Protocol: "tcp", Role: api.Owner}, []string{"10.1.0.77:50123"}},
		{"none", api.ConnFilter{Port: 9}, nil},
	} {
		got, end := conns(t, c, x.filter, 0)
		if diff := cmp.Diff(x.want, got); diff != "" || end != (api.End{Shown: len(x.want)}) {
			t.Errorf("%s: %+v %s", x.name, end, diff)
		}
		n, err := c.CountConns(t.Context(), x.filter)
		if err != nil || n.Total != len(x.want) {
			t.Errorf("%s: counted %+v, %v", x.name, n, err)
		}
	}
	n, err := c.CountConns(t.Context(), api.ConnFilter{})
	if want := (api.ConnCount{Total: 4, Owner: 2, Director: 2, Backup: 1, Forwarder: 1}); n != want || err != nil {
		t.Errorf("count %+v, %v, want %+v", n, err, want)
	}
}

func TestConnsStopAtTheLimit(t *testing.T) {
	c, _ := serve(t, apitest.Example())
	for limit, want := range map[int]api.End{1: {Shown: 1, More: true}, 3: {Shown: 3, More: true}, 4: {Shown: 4}, 5: {Shown: 4}} {
		if got, end := conns(t, c, api.ConnFilter{}, limit); len(got) != want.Shown || end != want {
			t.Errorf("limit %d: %d connections, %+v, want %+v", limit, len(got), end, want)
		}
	}
	stop := errors.New("enough")
	if _, err := c.Conns(t.Context(), api.ConnFilter{}, 0, func(*api.Conn) error { return stop }); !errors.Is(err, stop) {
		t.Errorf("the visitor's error became %v", err)
	}
}

// endless gives connections until nobody wants more, and tells how many.
type endless struct {
	*apitest.Node
	given chan int
}

func (e endless) Conns(ctx context.Context, _ api.ConnFilter, visit func(*api.Conn) bool) error {
	n := 0
	for ctx.Err() == nil && visit(&e.Held[0]) {
		n++
	}
	e.given <- n
	return ctx.Err()
}

// A reader that goes away ends the walk: connections are streamed, not
// collected first.
func TestConnsAreStreamed(t *testing.T) {
	e := endless{apitest.Example(), make(chan int, 1)}
	c, _ := serve(t, e)
	seen := 0
	stop := errors.New("enough")
	_, err := c.Conns(t.Context(), api.ConnFilter{}, 0, func(*api.Conn) error {
		if seen++; seen == 10_000 {
			return stop
		}
		return nil
	})
	if !errors.Is(err, stop) {
		t.Fatal(err)
	}
	select {
	case n := <-e.given:
		if n < 10_000 {
			t.Errorf("%d were given but %d seen", n, seen)
		}
	case <-time.After(10 * time.Second):
		t.Error("the walk goes on without a reader")
	}
}

func TestNodeErrorsReachTheReader(t *testing.T) {
	node := apitest.Example()
	node.Err = errors.New("the node is starting")
	c, path := serve(t, node)
	want := "ask cohortd at " + path + ": the node is starting"
	_, infoErr := c.Info(t.Context())
	_, countErr := c.CountConns(t.Context(), api.ConnFilter{})
	seen := 0
	_, connsErr := c.Conns(t.Context(), api.ConnFilter{}, 0, func(*api.Conn) error { seen++; return nil })
	for what, err := range map[string]error{"info": infoErr, "count": countErr, "conns": connsErr} {
		if err == nil || err.Error() != want {
			t.Errorf("%s: %v, want %s", what, err, want)
		}
	}
	if seen != 4 {
		t.Errorf("%d connections came before the error, want 4", seen)
	}
}

func TestRequestsAreStrict(t *testing.T) {
	_, path := serve(t, apitest.Example())
	h := http.Client{Transport: &http.Transport{
		DisableKeepAlives: true,
		DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
			var d net.Dialer
			return d.DialContext(ctx, "unix", path)
		},
	}}
	for _, c := range []struct {
		method, url string
		status      int
		want        string
	}{
		{"GET", "/v1/cluster/inof", 404, `{"error":"there is no \"/v1/cluster/inof\""}`},
		{"POST", "/v1/cluster/info", 405, `{"error":"POST is not allowed; this is read with GET"}`},
		{"POST", "/v1/cluster/forgt", 405, `{"error":"POST is not allowed; this is read with GET"}`},
		{"PUT", "/v1/cluster/forget?node=fw-d", 405, `{"error":"PUT is not allowed; GET looks, POST does it"}`},
		{"POST", "/v1/cluster/forget", 400, `{"error":"name one node; write node=NAME"}`},
		{"POST", "/v1/cluster/forget?node=", 400, `{"error":"name one node; write node=NAME"}`},
		{"POST", "/v1/cluster/forget?node=a&node=b", 400, `{"error":"name one node; write node=NAME"}`},
		{"POST", "/v1/cluster/forget?nod=a", 400, `{"error":"unknown parameter \"nod\"; known is node"}`},
		{"POST", "/v1/cluster/forget?node=fw-a", 409, `{"error":"fw-a is a member"}`},
		{"GET", "/v1/cluster/info?x=1", 400, `{"error":"unknown parameter \"x\"; there is none here"}`},
		{"GET", "/v1/conns?adress=10.1.0.1", 400, `{"error":"unknown parameter \"adress\"; known are address, port, protocol, role, limit"}`},
		{"GET", "/v1/conns?port=80&port=81", 400, `{"error":"parameter port is given 2 times; give it once"}`},
		{"GET", "/v1/conns?port=0", 400, `{"error":"port \"0\" is not a number from 1 to 65535"}`},
		{"GET", "/v1/conns?address=x", 400, `{"error":"address \"x\" is neither an address nor a network; write 10.1.0.5 or 10.1.0.0/16"}`},
		{"GET", "/v1/conns?protocol=x", 400, `{"error":"protocol \"x\" is not tcp, udp, icmp or a number from 0 to 255"}`},
		{"GET", "/v1/conns/count?role=x", 400, `{"error":"role \"x\" is not owner, director, backup, forwarder or stub"}`},
		{"GET", "/v1/nat/pools?pool=x", 400, `{"error":"unknown parameter \"pool\"; there is none here"}`},
		{"GET", "/v1/nat/blocks?pol=x", 400, `{"error":"unknown parameter \"pol\"; known is pool"}`},
		{"GET", "/v1/nat/blocks", 400, `{"error":"name one pool; write pool=NAME"}`},
		{"GET", "/v1/nat/blocks?pool=a&pool=b", 400, `{"error":"name one pool; write pool=NAME"}`},
		{"GET", "/v1/nat/xlates?lokal=true", 400, `{"error":"unknown parameter \"lokal\"; known are address, port, protocol, role, limit, pool, local"}`},
		{"GET", "/v1/nat/xlates?local=yes", 400, `{"error":"local \"yes\" is not true or false"}`},
		{"GET", "/v1/nat/xlates?port=0", 400, `{"error":"port \"0\" is not a number from 1 to 65535"}`},
		{"GET", "/v1/conns?limit=-1", 400, `{"error":"limit \"-1\" is not a number; write limit=100"}`},
	} {
		req, err := http.NewRequestWithContext(t.Context(), c.method, "http://x"+c.url, nil)
		if err != nil {
			t.Fatal(err)
		}
		resp, err := h.Do(req)
		if err != nil {
			t.Fatal(err)
		}
		body, _ := io.ReadAll(resp.Body)
		resp.Body.Close()
		if got := strings.TrimSpace(string(body)); resp.StatusCode != c.status || got != c.want {
			t.Errorf("%s %s: %d %s, want %d %s", c.method, c.url, resp.StatusCode, got, c.status, c.want)
		}
	}
}

func TestClientSaysWhatToDo(t *testing.T) {
	dir := t.TempDir()
	absent := filepath.Join(dir, "absent.sock")
	dead := filepath.Join(dir, "dead.sock")
	l, err := net.ListenUnix("unix", &net.UnixAddr{Name: dead, Net: "unix"})
	if err != nil {
		t.Fatal(err)
	}
	l.SetUnlinkOnClose(false)
	l.Close()
	for path, want := range map[string]string{
		absent: "there is no socket " + absent + ": is cohortd running? (--socket names another)",
		dead:   "nobody serves the socket " + dead + ": is cohortd running?",
	} {
		if _, err := api.NewClient(path).Info(t.Context()); err == nil || err.Error() != want {
			t.Errorf("%v, want %s", err, want)
		}
	}
}

func TestListenReplacesOnlyDeadSockets(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "fw.sock")

	dead, err := net.ListenUnix("unix", &net.UnixAddr{Name: path, Net: "unix"})
	if err != nil {
		t.Fatal(err)
	}
	dead.SetUnlinkOnClose(false)
	dead.Close()

	l, err := api.Listen(path)
	if err != nil {
		t.Fatalf("a dead daemon's socket is in the way: %v", err)
	}
	if info, err := os.Stat(path); err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("mode %v, %v, want 0600", info.Mode(), err)
	}
	if _, err := api.Listen(path); !errors.Is(err, api.ErrInUse) {
		t.Errorf("a second daemon got the socket: %v", err)
	}

	// A successor has replaced the socket: closing the old one leaves it.
	if err := os.Remove(path); err != nil {
		t.Fatal(err)
	}
	successor, err := api.Listen(path)
	if err != nil {
		t.Fatal(err)
	}
	l.Close()
	l.Close()
	if _, err := os.Stat(path); err != nil {
		t.Errorf("closing removed the successor's socket: %v", err)
	}
	successor.Close()
	if _, err := os.Stat(path); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("the socket is left behind: %v", err)
	}

	file := filepath.Join(dir, "file")
	if err := os.WriteFile(file, []byte("precious"), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := api.Listen(file); err == nil || !strings.Contains(err.Error(), "is not a socket") {
		t.Errorf("listening on a file: %v", err)
	}
	if text, err := os.ReadFile(file); string(text) != "precious" {
		t.Errorf("the file is %q, %v", text, err)
	}
	left, err := filepath.Glob(path + ".*")
	if err != nil || len(left) != 0 {
		t.Errorf("drafts are left: %v, %v", left, err)
	}
}
