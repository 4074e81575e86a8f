package wire

import (
	"fmt"
	"os"
	"strings"
	"testing"
)

// The table of messages in docs/ccl.md has every type, with the size of its
// golden example.
func TestDocumentationListsEveryMessage(t *testing.T) {
	doc, err := os.ReadFile("../../docs/ccl.md")
	if err != nil {
		t.Fatal(err)
	}
	rows := map[string]string{}
	for _, line := range strings.Split(string(doc), "\n") {
		if cells := strings.Split(line, "|"); len(cells) == 7 {
			rows[strings.TrimSpace(cells[1])] = strings.TrimSpace(cells[2]) + " " + strings.TrimSpace(cells[5])
		}
	}
	seen := map[Type]bool{}
	for _, m := range samples {
		typ := m.Type()
		if seen[typ] {
			continue
		}
		seen[typ] = true
		want := fmt.Sprintf("%v %d", typ, len(Append(nil, m)))
		if got := rows[fmt.Sprint(uint8(typ))]; got != want {
			t.Errorf("row %d says %q, want %q", uint8(typ), got, want)
		}
	}
	if len(seen) != len(generators) {
		t.Errorf("%d types have a sample, %d a generator", len(seen), len(generators))
	}
}
