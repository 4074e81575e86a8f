package wire

import (
	"errors"
	"testing"

	"pgregory.net/rapid"

	"cohort/packet"
)

// genDelegate draws the fields that the op has.
func genDelegate(t *rapid.T) Message {
	m := Delegate{Op: DelegateOp(rapid.IntRange(0, numDelegateOps-1).Draw(t, "op")), Key: genKey(t)}
	if m.Op != DelegateOffer {
		m.ID = rapid.Uint16().Draw(t, "id")
	}
	if m.Op == DelegateOffer || m.Op == DelegateGrant {
		m.Gen = rapid.Uint32().Draw(t, "gen")
	}
	if m.Op == DelegateGrant || m.Op == DelegateRenew {
		m.View, m.Stamp, m.Lease = rapid.Uint32().Draw(t, "view"), rapid.Uint32().Draw(t, "stamp"), rapid.Uint32().Draw(t, "lease")
		m.Every = rapid.Uint32().Draw(t, "every")
	}
	if m.Op == DelegateGrant || m.Op == DelegateRenew || m.Op == DelegateRevoke {
		m.Process = rapid.Uint32().Draw(t, "process")
	}
	if m.Op == DelegateGrant || m.Op == DelegateRevoke && m.Process != 0 {
		m.Revoked = rapid.Uint32().Draw(t, "revoked")
	}
	if m.Op == DelegateGrant {
		m.In, m.To = rapid.Byte().Draw(t, "in"), genKey(t)
		if m.SeqDelta = rapid.Uint32().Draw(t, "delta"); m.SeqDelta != 0 {
			m.Reply = rapid.Bool().Draw(t, "reply")
		}
	}
	return m
}

func genReport(t *rapid.T) Message {
	m := Report{Op: ReportOp(rapid.IntRange(0, numReportOps-1).Draw(t, "op")), Key: genKey(t)}
	if m.Op == ReportAsk || m.Op == ReportRenew {
		m.Stamp = rapid.Uint32().Draw(t, "stamp")
	}
	if m.Op == ReportAsk {
		m.Gen, m.View = rapid.Uint32().Draw(t, "gen"), rapid.Uint32().Draw(t, "view")
		return m
	}
	m.ID, m.Idle = rapid.Uint16().Draw(t, "id"), rapid.Uint32().Draw(t, "idle")
	m.Packets, m.Bytes = rapid.Uint64().Draw(t, "packets"), rapid.Uint64().Draw(t, "bytes")
	if m.Key.Proto == packet.ProtoTCP {
		m.SeqEnd, m.Ack, m.Window = rapid.Uint32().Draw(t, "seq"), rapid.Uint32().Draw(t, "ack"), rapid.Uint16().Draw(t, "window")
	}
	return m
}

func genLease(t *rapid.T) Message {
	m := Lease{
		Op: LeaseOp(rapid.IntRange(0, numLeaseOps-1).Draw(t, "op")), View: rapid.Uint32().Draw(t, "view"), Stamp: rapid.Uint32().Draw(t, "stamp"),
		Process: rapid.Uint32().Draw(t, "process"), Settled: rapid.Uint32().Draw(t, "settled"),
	}
	if m.Op == LeaseRenew {
		m.Revoked, m.Lease = rapid.Uint32().Draw(t, "revoked"), rapid.Uint32().Draw(t, "lease")
	}
	return m
}

// What a delegation costs every ten seconds, and what all between two nodes cost every second.
func TestDESIGN5_SizesOfDelegation(t *testing.T) {
	for _, tt := range []struct {
		name string
		m    Message
		max  int
	}{
		{"report", Report{Op: ReportUse, Key: sampleKey, Packets: 1e9, Bytes: 1e12, Idle: 100}, 45},
		{"ask", Lease{Op: LeaseAsk, Settled: 1e9}, 20},
		{"renewal", Lease{Op: LeaseRenew, Settled: 1e9, Revoked: 1e9, Lease: 2400}, 27},
	} {
		if n := len(Append(nil, tt.m)); n > tt.max {
			t.Errorf("%s takes %d bytes, more than %d", tt.name, n, tt.max)
		}
	}
}

func TestDelegationRefusesUnknownOps(t *testing.T) {
	for _, m := range []Message{Delegate{Key: sampleKey}, Report{Op: ReportUse, Key: sampleKey}} {
		b := Append(nil, m)
		b[2+13] = 9 // the byte after type, length and key
		if _, _, err := Decode(b); !errors.Is(err, ErrValue) {
			t.Errorf("%v with op 9: %v", m.Type(), err)
		}
	}
	b := Append(nil, Lease{})
	b[2] = 9
	if _, _, err := Decode(b); !errors.Is(err, ErrValue) {
		t.Errorf("a lease with op 9: %v", err)
	}
}
