package flowtable

import "cohort/packet"

// TCP flag bits, as in the header.
const (
	TCPFin = packet.FIN
	TCPSyn = packet.SYN
	TCPRst = packet.RST
	TCPPsh = packet.PSH
	TCPAck = packet.ACK
	TCPUrg = packet.URG
)

// TCPState is where a TCP connection stands, seen from a box in its path. The
// names are those of the initiator's side. Numbers are part of the table layout
// and of state messages: append only.
type TCPState uint8

const (
	TCPNone        TCPState = iota // not TCP, or nothing seen yet
	TCPSynSent                     // the initiator asked
	TCPSynReceived                 // the responder agreed
	TCPEstablished                 // the initiator confirmed
	TCPFinWait                     // the initiator has sent its FIN
	TCPCloseWait                   // the responder has sent its FIN
	TCPClosing                     // both have
	TCPTimeWait                    // both have, and something after it was seen
	TCPClosed                      // reset; established again if both sides go on
)

var tcpStateNames = [...]string{
	"none", "syn-sent", "syn-received", "established", "fin-wait", "close-wait", "closing", "time-wait", "closed",
}

// String returns the name that commands show.
func (s TCPState) String() string {
	if int(s) < len(tcpStateNames) {
		return tcpStateNames[s]
	}
	return "invalid"
}

// Next returns the state after a segment with these flags from direction dir (0
// is the initiator), and whether the segment may pass. A segment that may not
// pass changes nothing.
//
// It tolerates what a box sees that may have missed segments: a connection's
// first segments reach other nodes before the owner is known. So an ACK of the
// initiator establishes a connection whose SYN-ACK was never seen, and a FIN is
// taken in any state in which one side may have sent it. Sequence numbers are
// not its business: see CheckRST.
//
// TCPSynSent after TCPTimeWait or TCPClosed means that the same ports begin a new
// connection, in the direction of this segment: the caller judges it anew
// instead of continuing the old one. A SYN within a live connection passes and
// changes nothing: the receiver answers it with a challenge ACK (RFC 5961, 4).
func Next(s TCPState, dir int, flags uint8) (TCPState, bool) {
	switch flags &= TCPSyn | TCPAck | TCPFin | TCPRst; {
	case flags&TCPSyn != 0 && flags&(TCPFin|TCPRst) != 0, flags&TCPFin != 0 && flags&(TCPAck|TCPRst) != TCPAck, flags == 0:
		return s, false // no TCP sends these
	case flags&TCPRst != 0:
		if s == TCPNone {
			return s, false
		}
		return TCPClosed, true
	case flags == TCPSyn:
		return afterSyn(s, dir)
	case flags == TCPSyn|TCPAck:
		return afterSynAck(s, dir)
	case flags&TCPFin != 0:
		return afterFin(s, dir)
	default:
		return afterAck(s, dir)
	}
}

func afterSyn(s TCPState, dir int) (TCPState, bool) {
	switch s {
	case TCPNone:
		if dir == 1 {
			return s, false
		}
		return TCPSynSent, true
	case TCPSynSent:
		if dir == 1 { // simultaneous open (RFC 9293, 3.5)
			return TCPSynReceived, true
		}
	case TCPTimeWait, TCPClosed:
		return TCPSynSent, true
	}
	return s, true
}

func afterSynAck(s TCPState, dir int) (TCPState, bool) {
	switch s {
	case TCPNone, TCPTimeWait, TCPClosed:
		return s, false
	case TCPSynSent:
		if dir == 0 {
			return s, false
		}
		return TCPSynReceived, true
	}
	return s, true
}

func afterAck(s TCPState, dir int) (TCPState, bool) {
	switch s {
	case TCPNone:
		return s, false
	case TCPSynSent, TCPSynReceived:
		// The responder's ACK proves nothing: it may answer an old
		// connection (RFC 5961, 4).
		if dir == 0 {
			return TCPEstablished, true
		}
	case TCPClosing:
		return TCPTimeWait, true
	}
	return s, true
}

func afterFin(s TCPState, dir int) (TCPState, bool) {
	switch s {
	case TCPNone:
		return s, false
	case TCPSynSent, TCPSynReceived, TCPEstablished:
		if dir == 0 {
			return TCPFinWait, true
		}
		return TCPCloseWait, true
	case TCPFinWait:
		if dir == 1 {
			return TCPClosing, true
		}
	case TCPCloseWait:
		if dir == 0 {
			return TCPClosing, true
		}
	}
	return s, true
}

// TakenOver returns the state of a connection after the flags that this node has seen
// of both directions since it came to own it. An owner that has not seen the SYN has
// it from another, with the state that was told last: the handshake may have been
// over for long. A responder that acknowledges, and neither agrees nor resets, says
// so, even if the initiator's packets go elsewhere or nowhere for now. Should it have
// meant an older connection (RFC 5961, 4), the initiator resets that.
func TakenOver(s TCPState, seen [2]uint8) TCPState {
	if (s == TCPSynSent || s == TCPSynReceived) && seen[0]&TCPSyn == 0 && seen[1]&(TCPSyn|TCPRst|TCPAck) == TCPAck {
		return TCPEstablished
	}
	return s
}

// Observe returns the state after the flags that XDP has noted for both
// directions while it forwarded by itself: ageing calls it to learn of the ACK
// that ended the handshake, of FINs and of resets that were never punted.
//
// A connection that was reset is established again when both sides have sent an ACK
// since (FlowSlot.Forget), and neither a reset: so the reset was forged, or not
// heeded (RFC 7857, 2.1: TRANS to ESTABLISHED). Of one side alone it says nothing:
// what was under way when the other side reset it, or repeats what nobody answers.
func Observe(s TCPState, seen [2]uint8) TCPState {
	switch {
	case s == TCPNone:
		return s
	case s == TCPClosed && (seen[0]|seen[1])&TCPRst == 0 && seen[0]&seen[1]&TCPAck != 0:
		s = TCPEstablished
	}
	s = TakenOver(s, seen)
	if seen[0]&TCPAck != 0 {
		s, _ = Next(s, 0, TCPAck)
	}
	for dir, flags := range seen {
		if flags&TCPFin != 0 {
			s, _ = Next(s, dir, TCPFin|TCPAck)
		}
	}
	if (seen[0]|seen[1])&TCPRst != 0 {
		return TCPClosed
	}
	return s
}
