package api_test

import (
	"errors"
	"net/http/httptest"
	"net/netip"
	"testing"

	"github.com/google/go-cmp/cmp"

	"cohort/api"
	"cohort/api/apitest"
)

func TestNT11_PoolsArriveWithTheirUse(t *testing.T) {
	node := apitest.Example()
	c, _ := serve(t, node)
	want := append([]api.NATPool(nil), node.Pools...)
	// 20,100 of the 20,480 ports here and of one more block of 4,096.
	want[0].Use, want[0].Alarm = 81, 80
	// The only address here is taken, another is free.
	want[1].Use, want[1].Alarm = 50, 0
	check(t, "pools", c.NATPools, want)
	for name, blocks := range node.Blocks {
		got, err := c.NATBlocks(t.Context(), name)
		if diff := cmp.Diff(blocks, got, compareAddrs); diff != "" || err != nil {
			t.Errorf("blocks of %s: %v %s", name, err, diff)
		}
	}
	if got, err := c.NATBlocks(t.Context(), "other"); len(got) != 0 || err != nil {
		t.Errorf("blocks of an unknown pool: %v, %v", got, err)
	}
}

func TestNT11_AlarmBeforeExhaustion(t *testing.T) {
	for _, c := range []struct {
		name       string
		blockSize  int
		here       api.NATHere
		free       int // in the cluster
		use, alarm int
	}{
		{"unused", 512, api.NATHere{Held: 2, Free: 2, Ports: 1024}, 4, 0, 0},
		{"below", 512, api.NATHere{Held: 2, Ports: 1000, PortsUsed: 799}, 0, 79, 0},
		{"high", 512, api.NATHere{Held: 2, Ports: 1000, PortsUsed: 800}, 0, 80, api.AlarmHigh},
		{"below full", 512, api.NATHere{Held: 2, Ports: 1000, PortsUsed: 949}, 0, 94, api.AlarmHigh},
		{"full", 512, api.NATHere{Held: 2, Ports: 1000, PortsUsed: 950}, 0, 95, api.AlarmFull},
		{"all", 512, api.NATHere{Held: 2, Ports: 1024, PortsUsed: 1024}, 0, 100, api.AlarmFull},
		{"one block more can be leased", 512, api.NATHere{Held: 1, Ports: 512, PortsUsed: 512}, 1, 50, 0},
		{"the free block is this node's own", 512, api.NATHere{Held: 2, Free: 1, Ports: 1024, PortsUsed: 512}, 1, 50, 0},
		{"nothing held, something to lease", 512, api.NATHere{}, 3, 0, 0},
		{"nothing to be had", 512, api.NATHere{}, 0, 100, api.AlarmFull},
		{"addresses", 0, api.NATHere{Held: 4, Ports: 4, PortsUsed: 4}, 1, 80, api.AlarmHigh},
		{"the others' announcement is old", 512, api.NATHere{Held: 3, Free: 2, Ports: 1536, PortsUsed: 512}, 1, 33, 0},
	} {
		node := &apitest.Node{Pools: []api.NATPool{{BlockSize: c.blockSize, Here: c.here, Blocks: api.NATCount{Free: c.free}, Alarm: 7}}}
		got, err := api.NATPools(t.Context(), node)
		if err != nil || got[0].Use != c.use || got[0].Alarm != c.alarm {
			t.Errorf("%s: use %d, alarm %d, %v, want %d and %d", c.name, got[0].Use, got[0].Alarm, err, c.use, c.alarm)
		}
	}
}

func TestXlatesAreFiltered(t *testing.T) {
	node := apitest.Example()
	c, _ := serve(t, node)
	const first, voice, direct, web = "10.1.0.77:50123", "10.1.0.77:40001", "10.2.0.9:0", "10.1.8.80:443"
	for _, x := range []struct {
		name   string
		filter api.XlateFilter
		want   []string
	}{
		{"all", api.XlateFilter{}, []string{first, voice, direct, web}},
		{"real address", api.XlateFilter{ConnFilter: api.ConnFilter{Address: netip.MustParsePrefix("10.2.0.0/16")}}, []string{direct}},
		{"mapped address", api.XlateFilter{ConnFilter: api.ConnFilter{Address: netip.MustParsePrefix("203.0.113.10/32")}}, []string{first, voice}},
		{"remote address", api.XlateFilter{ConnFilter: api.ConnFilter{Address: netip.MustParsePrefix("192.0.2.0/24")}}, []string{first, web}},
		{"mapped port", api.XlateFilter{ConnFilter: api.ConnFilter{Port: 6001}}, []string{voice}},
		{"protocol, and mappings of all protocols", api.XlateFilter{ConnFilter: api.ConnFilter{Protocol: "udp"}}, []string{voice, direct}},
		{"role", api.XlateFilter{ConnFilter: api.ConnFilter{Role: api.Stub}}, []string{web}},
		{"pool", api.XlateFilter{Pool: "egress"}, []string{first, voice}},
		{"local", api.XlateFilter{Local: true}, []string{first, voice}},
		{"all at once", api.XlateFilter{ConnFilter: api.ConnFilter{Port: 50123, Protocol: "tcp", Role: api.Owner}, Pool: "egress", Local: true}, []string{first}},
		{"none", api.XlateFilter{Pool: "direct", Local: true}, nil},
	} {
		all, end, err := collect(c.Xlates, t, x.filter)
		var got []string
		for _, one := range all {
			got = append(got, one.Real.String())
		}
		if diff := cmp.Diff(x.want, got); diff != "" || err != nil || end != (api.End{Shown: len(x.want)}) {
			t.Errorf("%s: %v %+v %s", x.name, err, end, diff)
		}
	}
	all, _, err := collect(c.Xlates, t, api.XlateFilter{})
	if diff := cmp.Diff(node.Xlated, all, compareAddrs); diff != "" || err != nil {
		t.Errorf("%v %s", err, diff)
	}
	end, err := c.Xlates(t.Context(), api.XlateFilter{}, 3, func(*api.Xlate) error { return nil })
	if want := (api.End{Shown: 3, More: true}); end != want || err != nil {
		t.Errorf("limit 3: %+v, %v", end, err)
	}
}

// A node that was built without NAT and one whose configuration has none say
// the same; any other error reaches the reader as it is.
func TestNodeWithoutNATSaysSo(t *testing.T) {
	without := apitest.Example()
	without.Pools, without.Xlated, without.Err = nil, nil, api.ErrNoNAT
	starting := &apitest.Node{Err: errors.New("the node is starting")}
	for what, x := range map[string]struct {
		from   api.Provider
		want   string
		status int
	}{
		"no NATProvider": {struct{ api.Provider }{apitest.Example()}, "nat is not configured", 404},
		"ErrNoNAT":       {without, "nat is not configured", 404},
		"another error":  {starting, "the node is starting", 503},
	} {
		for _, url := range []string{"/v1/nat/pools", "/v1/nat/blocks?pool=egress", "/v1/nat/xlates"} {
			w := httptest.NewRecorder()
			api.NewServer(x.from, nil).ServeHTTP(w, httptest.NewRequestWithContext(t.Context(), "GET", url, nil))
			if w.Code != x.status || w.Header().Get("Content-Type") != "application/json" {
				t.Errorf("%s, %s: status %d, %v, want %d", what, url, w.Code, w.Header(), x.status)
			}
		}
		c, path := serve(t, x.from)
		_, pools := c.NATPools(t.Context())
		_, blocks := c.NATBlocks(t.Context(), "egress")
		_, xlates := c.Xlates(t.Context(), api.XlateFilter{}, 0, func(*api.Xlate) error { return nil })
		for call, err := range map[string]error{"pools": pools, "blocks": blocks, "xlates": xlates} {
			if want := "ask cohortd at " + path + ": " + x.want; err == nil || err.Error() != want {
				t.Errorf("%s, %s: %v, want %s", what, call, err, want)
			}
		}
	}
}

// An error after the first lines ends the stream, and is not lost.
func TestXlatesErrorAfterTheFirst(t *testing.T) {
	node := apitest.Example()
	node.Err = errors.New("the node is stopping")
	c, path := serve(t, node)
	all, _, err := collect(c.Xlates, t, api.XlateFilter{})
	if want := "ask cohortd at " + path + ": the node is stopping"; err == nil || err.Error() != want || len(all) != len(node.Xlated) {
		t.Errorf("%d translations and %v, want %d and %s", len(all), err, len(node.Xlated), want)
	}
}
