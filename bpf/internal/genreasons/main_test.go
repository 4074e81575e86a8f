package main

import (
	"strings"
	"testing"
)

func TestIdentifiers(t *testing.T) {
	for want, o := range map[string]outcome{
		"PuntTTLExceeded": {kind: "PUNT", name: "TTL_EXCEEDED"},
		"PassIPv6Link":    {kind: "PASS", name: "IPV6_LINK"},
		"DropBadL4":       {kind: "DROP", name: "BAD_L4"},
		"ForwardOwnerCCL": {kind: "FORWARD", name: "OWNER_CCL"},
	} {
		if got := identifier(o); got != want {
			t.Errorf("%v is called %s, want %s", o, got, want)
		}
	}
}

func TestParseRefusesWhatWouldRenumber(t *testing.T) {
	const good = "\tX(1, PASS, ARP, \"One.\") \\\n\tX(80, DROP, LEASE, \"Two.\")\n"
	if list, err := parse(good); err != nil || len(list) != 2 {
		t.Fatalf("%v, %v", list, err)
	}
	for name, src := range map[string]string{
		"number used twice": "\tX(1, PASS, A, \"a.\")\n\tX(1, PASS, B, \"b.\")\n",
		"out of order":      "\tX(3, PASS, A, \"a.\")\n\tX(2, PASS, B, \"b.\")\n",
		"another's range":   "\tX(33, DROP, A, \"a.\")\n",
		"unknown kind":      "\tX(1, LOSE, A, \"a.\")\n",
		"no description":    "\tX(1, PASS, A)\n",
		"nothing":           "",
	} {
		if list, err := parse(src); err == nil {
			t.Errorf("%s: accepted as %v", name, list)
		}
	}
}

func TestRenderIsGo(t *testing.T) {
	list, err := parse("\tX(34, PUNT, TTL_EXCEEDED, \"The end.\")\n")
	if err != nil {
		t.Fatal(err)
	}
	out, err := render(list)
	if err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{"PuntTTLExceeded Outcome = 34 // The end.", `{"punt_ttl_exceeded", "The end."}`} {
		if !strings.Contains(string(out), want) {
			t.Errorf("%q is missing in\n%s", want, out)
		}
	}
}
