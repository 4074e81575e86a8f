package flowtable

import "cohort/packet"

// Timeouts are the idle times, in seconds, after which a flow ends.
type Timeouts struct {
	TCPSyn         uint16 // handshake not complete
	TCPEstablished uint16
	TCPHalfClosed  uint16 // one FIN seen: the other side may go on for long
	TCPClosing     uint16 // both FINs seen
	TCPTimeWait    uint16 // closed, or reset
	UDP            uint16 // one direction seen
	UDPStream      uint16 // both directions seen
	ICMP           uint16
	Other          uint16 // any other protocol
}

// DefaultTimeouts returns the values used where the configuration says nothing.
// They are not below what a NAT must keep: two hours and four minutes when
// established, four minutes half-closed (RFC 5382, REQ-5; of a handshake RFC 7857,
// 2.1 asks less), two minutes of UDP, and the recommended five once both sides have
// spoken (RFC 4787, REQ-5), one minute of an ICMP query (RFC 5508, REQ-2).
func DefaultTimeouts() Timeouts {
	return Timeouts{
		TCPSyn: 30, TCPEstablished: 7440, TCPHalfClosed: 240, TCPClosing: 30, TCPTimeWait: 10,
		UDP: 120, UDPStream: 300, ICMP: 60, Other: 600,
	}
}

// TCP returns the timeout of a TCP state.
func (t *Timeouts) TCP(s TCPState) uint16 {
	switch s {
	case TCPEstablished:
		return t.TCPEstablished
	case TCPFinWait, TCPCloseWait:
		return t.TCPHalfClosed
	case TCPClosing:
		return t.TCPClosing
	case TCPTimeWait, TCPClosed:
		return t.TCPTimeWait
	}
	return t.TCPSyn
}

// Of returns the timeout of a flow; s counts for TCP only.
func (t *Timeouts) Of(proto uint8, s TCPState) uint16 {
	switch proto {
	case packet.ProtoTCP:
		return t.TCP(s)
	case packet.ProtoUDP:
		return t.UDP
	case packet.ProtoICMP:
		return t.ICMP
	}
	return t.Other
}

// Answered returns the timeout of a flow whose responder has been seen too.
func (t *Timeouts) Answered(proto uint8, s TCPState) uint16 {
	if proto == packet.ProtoUDP {
		return t.UDPStream
	}
	return t.Of(proto, s)
}
