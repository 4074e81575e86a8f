package netns

import (
	"os"
	"testing"
)

func TestTag_RoundTripAndLife(t *testing.T) {
	tag, err := NewTag()
	if err != nil {
		t.Fatal(err)
	}
	if tag.PID != os.Getpid() || !tag.Alive() {
		t.Errorf("tag %v: not this living process", tag)
	}
	for _, name := range []string{tag.String(), tag.Name("rin"), tag.Name("node-1")} {
		if got, ok := ParseTag(name); !ok || got != tag {
			t.Errorf("ParseTag(%q) = %v, %v; want %v", name, got, ok, tag)
		}
	}
	reused := tag
	reused.Start--
	if reused.Alive() {
		t.Error("a tag with another start time counts as alive: a reused pid would keep its garbage")
	}
}

func TestParseTag_RefusesNamesOfOthers(t *testing.T) {
	for _, name := range []string{
		"", "cohort-", "cohort-1", "cohort-1-2", "cohort-x-2-abcdef-r", "cohort-1-x-abcdef-r",
		"cohort--1-2-abcdef", "cohort-0-2-abcdef", "cohort-1-2-abc-r", "other-1-2-abcdef-r",
	} {
		if tag, ok := ParseTag(name); ok {
			t.Errorf("ParseTag(%q) = %v, want refusal", name, tag)
		}
	}
}
