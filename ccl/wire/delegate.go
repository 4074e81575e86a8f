package wire

import (
	"encoding/binary"

	"cohort/packet"
)

// Delegate, Report and Lease have the fields that their Op needs and no others.

func appendDelegate(b []byte, m *Delegate) []byte {
	b = append(appendKey(b, m.Key, 0), byte(m.Op))
	if m.Op != DelegateOffer {
		b = binary.BigEndian.AppendUint16(b, m.ID)
	}
	if m.Op == DelegateOffer || m.Op == DelegateGrant {
		b = binary.AppendUvarint(b, uint64(m.Gen))
	}
	if m.Op == DelegateGrant || m.Op == DelegateRenew {
		b = binary.BigEndian.AppendUint32(b, m.View)
		b = binary.BigEndian.AppendUint32(b, m.Stamp)
		b = binary.AppendUvarint(b, uint64(m.Lease))
		b = binary.AppendUvarint(b, uint64(m.Every))
	}
	if m.Op == DelegateGrant || m.Op == DelegateRenew || m.Op == DelegateRevoke {
		b = binary.BigEndian.AppendUint32(b, m.Process)
	}
	if m.counted() {
		b = binary.AppendUvarint(b, uint64(m.Revoked))
	}
	if m.Op == DelegateGrant {
		b = appendKey(append(b, m.In), m.To, 0)
		b = appendShift(b, m)
	}
	return b
}

// counted reports whether m says how many were revoked so far.
func (m *Delegate) counted() bool {
	return m.Op == DelegateGrant || m.Op == DelegateRevoke && m.Process != 0
}

func (r *reader) delegate(m *Delegate) {
	*m = Delegate{}
	r.key(&m.Key)
	if m.Op = DelegateOp(r.u8()); m.Op >= numDelegateOps {
		r.fail(ErrValue)
		return
	}
	if m.Op != DelegateOffer {
		m.ID = r.u16()
	}
	if m.Op == DelegateOffer || m.Op == DelegateGrant {
		m.Gen = r.gen()
	}
	if m.Op == DelegateGrant || m.Op == DelegateRenew {
		m.View, m.Stamp, m.Lease, m.Every = r.u32(), r.u32(), r.gen(), r.gen()
	}
	if m.Op == DelegateGrant || m.Op == DelegateRenew || m.Op == DelegateRevoke {
		m.Process = r.u32()
	}
	if m.counted() {
		m.Revoked = r.gen()
	}
	if m.Op == DelegateGrant {
		m.In = r.u8()
		r.key(&m.To)
		r.shift(m)
	}
}

// appendShift ends a grant whose sequence numbers are shifted: which side's they
// are, and by how much. Other grants end before that.
func appendShift(b []byte, m *Delegate) []byte {
	if m.SeqDelta == 0 {
		return b
	}
	side := byte(0)
	if m.Reply {
		side = 1
	}
	return binary.BigEndian.AppendUint32(append(b, side), m.SeqDelta)
}

func (r *reader) shift(m *Delegate) {
	if len(r.b) == 0 {
		return
	}
	side := r.u8()
	m.Reply, m.SeqDelta = side == 1, r.u32()
	if side > 1 || m.SeqDelta == 0 {
		r.fail(ErrValue)
	}
}

func appendReport(b []byte, m *Report) []byte {
	b = append(appendKey(b, m.Key, 0), byte(m.Op))
	if m.Op == ReportAsk || m.Op == ReportRenew {
		b = binary.BigEndian.AppendUint32(b, m.Stamp)
	}
	if m.Op == ReportAsk {
		return binary.BigEndian.AppendUint32(binary.AppendUvarint(b, uint64(m.Gen)), m.View)
	}
	b = binary.BigEndian.AppendUint16(b, m.ID)
	b = binary.AppendUvarint(b, uint64(m.Idle))
	b = binary.AppendUvarint(b, m.Packets)
	b = binary.AppendUvarint(b, m.Bytes)
	if m.Key.Proto != packet.ProtoTCP {
		return b
	}
	b = binary.BigEndian.AppendUint32(b, m.SeqEnd)
	b = binary.BigEndian.AppendUint32(b, m.Ack)
	return binary.BigEndian.AppendUint16(b, m.Window)
}

func (r *reader) report(m *Report) {
	*m = Report{}
	r.key(&m.Key)
	if m.Op = ReportOp(r.u8()); m.Op >= numReportOps {
		r.fail(ErrValue)
		return
	}
	if m.Op == ReportAsk || m.Op == ReportRenew {
		m.Stamp = r.u32()
	}
	if m.Op == ReportAsk {
		m.Gen, m.View = r.gen(), r.u32()
		return
	}
	m.ID, m.Idle = r.u16(), r.gen()
	m.Packets, m.Bytes = r.uvarint(1<<64-1), r.uvarint(1<<64-1)
	if m.Key.Proto == packet.ProtoTCP {
		m.SeqEnd, m.Ack, m.Window = r.u32(), r.u32(), r.u16()
	}
}

func appendLease(b []byte, m *Lease) []byte {
	b = binary.BigEndian.AppendUint32(append(b, byte(m.Op)), m.View)
	b = binary.BigEndian.AppendUint32(b, m.Stamp)
	b = binary.BigEndian.AppendUint32(b, m.Process)
	b = binary.AppendUvarint(b, uint64(m.Settled))
	if m.Op == LeaseRenew {
		b = binary.AppendUvarint(binary.AppendUvarint(b, uint64(m.Revoked)), uint64(m.Lease))
	}
	return b
}

func (r *reader) lease(m *Lease) {
	*m = Lease{}
	if m.Op = LeaseOp(r.u8()); m.Op >= numLeaseOps {
		r.fail(ErrValue)
		return
	}
	m.View, m.Stamp, m.Process, m.Settled = r.u32(), r.u32(), r.u32(), r.gen()
	if m.Op == LeaseRenew {
		m.Revoked, m.Lease = r.gen(), r.gen()
	}
}
