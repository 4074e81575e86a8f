package flowtable

import "cohort/packet"

// Timeouts are the idle times, in seconds, after which a flow ends.
type Timeouts struct {
	TCPSyn         uint16 // handshake not complete
	TCPEstablished uint16
	TCPHalfClosed  uint16 // one FIN seen: the other side may go on for long
	TCPClosing     uint16 // both FINs seen
	TCPTimeWait    uint16 // over: both have closed, or it was reset (but see TCPReset)
	TCPReset       uint16 // translated, and reset in the middle of its life
	UDP            uint16 // one direction seen
	UDPStream      uint16 // both directions seen
	ICMP           uint16
	Other          uint16 // any other protocol
}

// DefaultTimeouts returns the values used where the configuration says nothing.
// They are not below what a NAT must keep: two hours and four minutes when
// established, four minutes half-closed (RFC 5382, REQ-5; of a handshake RFC 7857,
// 2.1 asks less), two minutes of UDP, and the recommended five once both sides have
// spoken (RFC 4787, REQ-5), one minute of an ICMP query (RFC 5508, REQ-2), four
// minutes after a reset (RFC 7857, 2.2).
func DefaultTimeouts() Timeouts {
	return Timeouts{
		TCPSyn: 30, TCPEstablished: 7440, TCPHalfClosed: 240, TCPClosing: 30, TCPTimeWait: 10, TCPReset: 240,
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

// After returns the timeout of a connection whose state was one and is another now.
//
// A reset that is lost behind this node leaves the other end with a connection that
// it takes for alive, and what that end sends must still find its translation, so
// that the sender of the reset hears it and resets again. So a NAT waits before it
// takes the ports back (RFC 7857, 2.2). Three kinds of resets need no such wait. One
// that refuses a connection: its initiator repeats its SYN, which begins another.
// One after the FINs of both sides: nobody has anything left to send. And one of a
// connection that is not translated: there are no ports to take back, and whoever is
// left is in the same position as with any firewall.
func (t *Timeouts) After(was, s TCPState, translated bool) uint16 {
	if s == TCPClosed && translated {
		switch was {
		case TCPEstablished, TCPFinWait, TCPCloseWait:
			return t.TCPReset
		}
	}
	return t.TCP(s)
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
