package node

import (
	"testing"

	"cohort/ccl/wire"
	"cohort/flowtable"
)

// An orphan goes on naming its last owner, which may be a member again. Nobody owns
// its connection until that has registered, so none is shown (MG1).
func TestMG1_AnOrphanIsShownWithoutAnOwner(t *testing.T) {
	v := &wire.View{Members: []wire.Member{{ID: 2, Name: "fw-b"}}}
	b := flowtable.Backup{Owner: 2}
	if got := livingOwner(v, &b); got != "fw-b" {
		t.Errorf("owner %q of a copy, want fw-b", got)
	}
	b.Flags = wire.ConnOrphan
	if got := livingOwner(v, &b); got != "" {
		t.Errorf("owner %q of an orphan, want none", got)
	}
}
