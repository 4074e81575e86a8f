package node

import (
	"testing"

	"cohort/ccl/wire"
	"cohort/flowtable"
	"cohort/packet"
)

// An orphan goes on naming its last owner, which may be a member again. Nobody owns
// its connection until that has registered, so none is shown (MG1).
func TestMG1_AnOrphanIsShownWithoutAnOwner(t *testing.T) {
	v := &wire.View{Members: []wire.Member{{ID: 2, Name: "fw-b"}}}
	copies := flowtable.NewBackupStore([10]uint64{1, 2, 3, 4, 5, 6, 7, 8, 9, 10}, 1)
	k := packet.FlowKey{Src: packet.Addr{192, 0, 2, 1}}
	if err := copies.Put(flowtable.Backup{Key: flowtable.Pack(k), Owner: 2}); err != nil {
		t.Fatal(err)
	}
	b, _ := copies.Get(k)
	if got := livingOwner(v, b); got != "fw-b" {
		t.Errorf("owner %q of a copy, want fw-b", got)
	}
	b.SetFlags(wire.ConnOrphan)
	if got := livingOwner(v, b); got != "" {
		t.Errorf("owner %q of an orphan, want none", got)
	}
}
