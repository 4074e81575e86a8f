package ccl

import (
	"strings"
	"testing"

	"cohort/ccl/wire"
)

// CL5: what isControl says without letting a message escape is what its type says.
func TestCL5_EveryMessageHasTheClassOfItsType(t *testing.T) {
	messages := make(map[wire.Type]wire.Message)
	for _, m := range []wire.Message{
		wire.Claim{}, wire.Grant{}, wire.Granted{}, wire.Redirect{}, wire.Query{}, wire.Owner{}, wire.Update{}, wire.Close{}, wire.Gone{}, wire.Synced{},
		wire.Bind{}, wire.Alias{}, wire.Units{}, wire.GiveUnits{}, wire.WantUnits{}, wire.Roster{}, wire.HostUnits{}, wire.Rests{},
		wire.Kept{}, wire.Delegate{}, wire.Report{}, wire.Lease{},
		wire.Heartbeat{}, wire.ElectionRequest{}, wire.ElectionReply{}, wire.Join{}, wire.JoinRefused{}, wire.ViewMsg{}, wire.Leave{},
		wire.Probe{}, wire.ProbeReply{}, wire.Removed{}, wire.Order{}, wire.Exposure{},
	} {
		messages[m.Type()] = m
	}
	for i := range 256 {
		kind := wire.Type(i)
		if strings.HasPrefix(kind.String(), "type-") || kind == wire.TypePadding || kind == wire.TypeBeat {
			continue // these go other ways
		}
		m := messages[kind]
		if m == nil {
			t.Errorf("%v: no message of this test", kind)
		} else if isControl(m) != kind.Control() {
			t.Errorf("%v: control %v, its type says %v", kind, isControl(m), kind.Control())
		}
	}
}
