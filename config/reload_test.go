package config

import (
	"reflect"
	"strings"
	"testing"
)

const reloadBase = `
interfaces:
  inside: {device: in0, trust: 100, cluster_address: 10.1.0.254/24, pool: 10.1.0.1-10.1.0.16}
  outside: {device: out0, trust: 0, cluster_address: 198.51.100.254/24, pool: 198.51.100.1-198.51.100.16}
policy:
  rules:
    - {name: web, from: outside, to: inside, destination: 10.1.8.80, protocol: tcp, ports: [80], action: allow}
nat:
  pools:
    egress: {addresses: 203.0.113.10}
  rules:
    - {name: out, type: dynamic-pat, from: inside, to: outside, source: 10.0.0.0/8, pool: egress}
timeouts: {udp: 2m}
health: {hold_time: 3s}
limits: {connections: 4096}
`

// Policy and nat may change while a node runs and have a checksum; everything
// else is refused by name, in one line that says what to do.
func TestNT7_OnlyPolicyAndNATReload(t *testing.T) {
	base, err := ParseCluster("cluster.yaml", []byte(reloadBase))
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		old, new string
		changes  bool   // of the checksum
		refused  string // the key that is named
	}{
		{"trust: 0,", "trust: 0, ", false, ""},
		{"timeouts: {udp: 2m}", "# a comment\ntimeouts: {udp: 2m}", false, ""},
		{"ports: [80]", "ports: [80, 443]", true, ""},
		{"{addresses: 203.0.113.10}", "{addresses: 203.0.113.10, block_size: 256}", true, ""},
		{"{addresses: 203.0.113.10}", "{addresses: 203.0.113.10-203.0.113.11}", true, ""},
		{"source: 10.0.0.0/8", "source: 10.1.0.0/16", true, ""},
		{"nat:\n", "nat:\n  hold_down: 1m\n", true, ""},
		{"udp: 2m", "udp: 3m", false, "timeouts"},
		{"hold_time: 3s", "hold_time: 4s", false, "health"},
		{"connections: 4096", "connections: 8192", false, "limits"},
		{"timeouts: {", "forwarding: owner-only\ntimeouts: {", false, "forwarding"},
		{"timeouts: {", "tcp: {sequence_randomization: false}\ntimeouts: {", false, "tcp.sequence_randomization"},
		{"trust: 0,", "trust: 1,", false, "cluster.yaml:4: interfaces.outside"},
		{"  outside: {device: out0", "  more: {device: x0, trust: 5, cluster_address: 10.9.0.254/24, pool: 10.9.0.1-10.9.0.9}\n  outside: {device: out0", true, "interfaces"},
	} {
		next, err := ParseCluster("cluster.yaml", []byte(strings.Replace(reloadBase, c.old, c.new, 1)))
		if err != nil {
			t.Fatal(err)
		}
		if next.Checksum()&translates == 0 {
			t.Errorf("%s -> %s: the checksum says that there is no NAT", c.old, c.new)
		}
		if changes := next.Checksum() != base.Checksum(); changes != c.changes {
			t.Errorf("%s -> %s: checksum changes: %v, want %v", c.old, c.new, changes, c.changes)
		}
		err = base.Reloads("cluster.yaml", next)
		switch {
		case (err != nil) != (c.refused != ""):
			t.Errorf("%s -> %s: %v", c.old, c.new, err)
		case err != nil && (!strings.Contains(err.Error(), c.refused+" ") || !strings.Contains(err.Error(), "restart") || strings.Contains(err.Error(), "\n")):
			t.Errorf("%s -> %s: %q does not name %s", c.old, c.new, err, c.refused)
		}
	}
	without := strings.Split(reloadBase, "nat:")[0] + "timeouts: {udp: 2m}\nhealth: {hold_time: 3s}\nlimits: {connections: 4096}\n"
	next, err := ParseCluster("cluster.yaml", []byte(without))
	if err != nil {
		t.Fatal(err)
	}
	if err := base.Reloads("cluster.yaml", next); err == nil || !strings.Contains(err.Error(), "nat") {
		t.Errorf("the end of nat is not refused: %v", err)
	}
}

// Whatever the configuration gets one day, a reload that nobody has thought of is
// refused: every part of it but policy and nat.
func TestNT7_EveryOtherPartIsRefused(t *testing.T) {
	for i := range reflect.TypeFor[Cluster]().NumField() {
		field := reflect.TypeFor[Cluster]().Field(i)
		runs, err := ParseCluster("cluster.yaml", []byte(reloadBase))
		if err != nil {
			t.Fatal(err)
		}
		next := *runs
		differ(t, field.Name, reflect.ValueOf(&next).Elem().Field(i))
		err = runs.Reloads("cluster.yaml", &next)
		if free := field.Name == "Rules" || field.Name == "NAT"; free != (err == nil) {
			t.Errorf("another %s: %v", field.Name, err)
		}
	}
}

// differ changes something of v.
func differ(t *testing.T, name string, v reflect.Value) {
	t.Helper()
	switch v.Kind() {
	case reflect.Bool:
		v.SetBool(!v.Bool())
	case reflect.Int, reflect.Int64:
		v.SetInt(v.Int() + 1)
	case reflect.Uint16:
		v.SetUint(v.Uint() + 1)
	case reflect.Slice:
		v.Set(reflect.AppendSlice(reflect.MakeSlice(v.Type(), 0, v.Len()+1), v))
		v.Set(reflect.Append(v, reflect.Zero(v.Type().Elem())))
	case reflect.Struct:
		if name != "NAT" { // any part of it
			differ(t, name, v.Field(0))
		}
	default:
		t.Fatalf("%s is of kind %v: say how it may differ", name, v.Kind())
	}
}
