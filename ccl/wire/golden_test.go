package wire

import (
	"encoding/hex"
	"fmt"
	"net/netip"
	"os"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"cohort/packet"
)

var sampleMember = Member{
	ID: 2, Name: "fw-b", Serial: "S2", VTEP: netip.MustParseAddr("10.99.0.2"), Incarnation: 0x1122334455667788, Priority: 10,
}

var sampleTranslated = func() Conn {
	c := sampleClaim.Conn
	c.Reply = c.Key.Reverse()
	c.Reply.Dst, c.Reply.DstPort = packet.Addr{203, 0, 113, 10}, 40000
	return c
}()

// samples holds one message of each type. Entries are only added: a node of an
// older version must go on reading what is here.
var samples = []Message{
	sampleClaim,
	Claim{Conn: sampleClaim.Conn, Reregister: true},
	Grant{Conn: sampleClaim.Conn, Adopted: true},
	Granted{Serial: 0x123456, Bound: true},
	Redirect{Key: sampleKey, Owner: 3, Gen: 2},
	Query{Key: sampleKey},
	Owner{Key: sampleKey, Owner: 3, Gen: 2},
	Update{Conn: sampleClaim.Conn},
	Close{Key: sampleKey, Gen: 200},
	Gone{Key: sampleKey},
	Synced{View: 0x01000002, Phase: SyncFullEnd},
	Redirect{Key: sampleKey, Owner: OwnerRetry},
	Heartbeat{From: sampleMember, State: StateInSync, Term: 1, Epoch: 300, Control: 1, Alive: 6, Prepared: 0x99, Down: 1 << 2, Narrow: 1 << 3, Flags: BeatDraining},
	ElectionRequest{From: sampleMember, Cluster: "edge"},
	ElectionReply{From: sampleMember, Control: 1, Term: 1, Epoch: 300},
	Join{From: sampleMember, Cluster: "edge", Version: "0.1", DataMTU: 1500, Interfaces: []string{"inside", "outside"}, Config: 0x99, Prepared: 0x98, Tier: Tier{"large", 16, 1 << 20}},
	JoinRefused{Reason: "data mtu 9000, cluster has 1500"},
	ViewMsg{View{Term: 1, Epoch: 300, Config: 0x99, Control: 2, Draining: 1 << 5, Members: []Member{sampleMember, {ID: 5, Name: "fw-e", VTEP: netip.MustParseAddr("fd00::5")}}}},
	Leave{From: sampleMember},
	Probe{ID: 7, Size: 1604, From: sampleMember.VTEP},
	ProbeReply{ID: 7, Size: 1604},
	Claim{Conn: sampleTranslated},
	Bind{Key: sampleTranslated.Reply, Conn: sampleTranslated.Key, Gen: 2, Timeout: 300, Flags: ConnOrphan, Last: LastOwner{ID: 3, Life: 0x1c}},
	Update{Conn: orphan(sampleTranslated), Last: LastOwner{ID: 3, Life: 0x1c}},
	Alias{Key: sampleTranslated.Reply, Conn: sampleTranslated.Key},
	Units{
		View: 0x01000002, Lineage: 0x1122334455667788, Geometry: 0xaabbccdd, Sum: 0x99, Took: 300, Flags: UnitsAsk, First: 126, Count: 126,
		Held: []UnitRange{{126, 3}, {200, 30}}, Past: []UnitRange{{129, 1}},
	},
	GiveUnits{View: 0x01000002, Seq: 301, Answer: true, Pool: 1, Left: 17, Units: []UnitRange{{5, 1}, {300, 2}}},
	WantUnits{View: 0x01000002, Pool: 1, Count: 2},
	Roster{Entries: []RosterEntry{{Name: "fw-b", Seen: 1<<32 | 300}, {Name: "fw-x", Seen: 1<<32 | 7, Over: true}}},
	HostUnits{View: 0x01000002, Op: HostHas, Pool: 1, Host: packet.Addr{10, 0, 0, 1}, Count: 3},
	Kept{Key: sampleKey, Gen: 2, State: 1},
	Roster{Entries: []RosterEntry{{Name: "fw-b", Seen: 1<<32 | 300, Forgotten: 1<<32 | 20}}},
	Removed{Life: 0x1122334455667788, Term: 1, Epoch: 301, Cause: CauseInterface, Reason: "interface inside failed"},
	Beat{Life: 0x1122334455667788, Stale: 12, Flags: PulseHold, Number: 300, Sent: 0x123456789a, Late: 1500},
	Order{Verb: OrderPromote, Node: 2, Term: 1, Epoch: 300},
	Delegate{Op: DelegateGrant, Key: sampleTranslated.Reply, ID: 7, Gen: 2, View: 0x01000002, Stamp: 0x99, Lease: 2384, Every: 9537, Process: 0x12345678, Revoked: 3, In: 2, To: sampleTranslated.Key.Reverse()},
	Report{Op: ReportUse, Key: sampleKey, ID: 7, Idle: 20, Packets: 3000, Bytes: 4000000, SeqEnd: 1, Ack: 2, Window: 502},
	Delegate{Op: DelegateOffer, Key: sampleKey, Gen: 2},
	Delegate{Op: DelegateRenew, Key: sampleKey, ID: 7, View: 0x01000002, Stamp: 0x99, Lease: 2384, Every: 9537, Process: 0x12345678},
	Delegate{Op: DelegateRevoke, Key: sampleKey, ID: 7, Process: 0x12345678, Revoked: 4},
	Report{Op: ReportAsk, Key: sampleKey, Stamp: 0x99, Gen: 2, View: 0x01000002},
	Report{Op: ReportEnd, Key: sampleKey, ID: 7, Idle: 20, Packets: 3000, Bytes: 4000000, SeqEnd: 1, Ack: 2, Window: 502},
	Claim{Conn: shiftedConn},
	Delegate{Op: DelegateGrant, Key: sampleKey, ID: 7, Gen: 2, View: 0x01000002, Stamp: 0x99, Lease: 2384, In: 2, To: sampleKey, SeqDelta: 0x12345678, Reply: true},
	Exposure{Owned: 1000, NoCopy: 3, Async: 5, Sync: 1, Behind: 2, Oldest: 1500, P50: 130, P99: 2047, Held: []HeldBy{{1, 500}, {3, 493}}},
	Rests{View: 0x01000002, Departing: true, First: 126, Count: 126, Units: []UnitRest{{126, 0}, {200, 119000}, {201, RestWhole}}},
	Grant{Conn: boundConn},
	Close{Key: sampleKey, Reply: sampleTranslated.Reply, Gen: 200},
	Lease{Op: LeaseRenew, View: 0x01000002, Stamp: 0x99, Process: 0x12345678, Settled: 3, Revoked: 4, Lease: 2384},
	Lease{Op: LeaseAsk, View: 0x01000002, Stamp: 0x99, Process: 0x12345678, Settled: 3},
	Delegate{Op: DelegateRevoke, Key: sampleKey, ID: 7},
	Report{Op: ReportRenew, Key: sampleKey, Stamp: 0x99, ID: 7, Idle: 20, Packets: 3000, Bytes: 4000000, SeqEnd: 1, Ack: 2, Window: 502},
	Close{Key: sampleKey, Gen: 200, InOrder: true},
}

var boundConn = func() Conn {
	c := sampleTranslated
	c.Bound = true
	return c
}()

var shiftedConn = func() Conn {
	c := sampleClaim.Conn
	c.SeqDelta = 0x12345678
	return c
}()

func orphan(c Conn) Conn {
	c.Flags |= ConnOrphan
	return c
}

// The bytes of every type are what testdata/golden.txt says. COHORT_GOLDEN=write
// adds the lines of new samples; a changed line means a new wire version.
func TestGoldenBytes(t *testing.T) {
	const file = "testdata/golden.txt"
	var out strings.Builder
	for _, m := range samples {
		fmt.Fprintf(&out, "%s %s\n", m.Type(), hex.EncodeToString(Append(nil, m)))
	}
	if os.Getenv("COHORT_GOLDEN") == "write" {
		if err := os.WriteFile(file, []byte(out.String()), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	if d := cmp.Diff(string(want), out.String()); d != "" {
		t.Fatal(d)
	}
	for i, line := range strings.Split(strings.TrimSpace(string(want)), "\n") {
		b, err := hex.DecodeString(strings.Fields(line)[1])
		if err != nil {
			t.Fatal(err)
		}
		m, rest, err := Decode(b)
		if err != nil || len(rest) != 0 {
			t.Fatalf("%s: %v, rest %x", line, err, rest)
		}
		if d := cmp.Diff(samples[i], m, equal...); d != "" {
			t.Fatal(d)
		}
	}
}
