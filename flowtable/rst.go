package flowtable

// RSTVerdict is what to do with a reset (RFC 5961, 3.2).
type RSTVerdict uint8

const (
	// RSTDrop: outside the window, or nothing to compare with. Drop it.
	RSTDrop RSTVerdict = iota
	// RSTAccept: exactly what the receiver expects next. Forward it; the
	// connection is closed.
	RSTAccept
	// RSTChallenge: inside the window. Forward it and change nothing: the
	// receiver sends a challenge ACK, and the sender, if it is real, resets
	// again with the exact number.
	RSTChallenge
)

// CheckRST judges a reset with sequence number seq by what its receiver last
// sent: its acknowledgement and its window in bytes (already shifted).
func CheckRST(seq, peerAck, peerWindow uint32) RSTVerdict {
	switch {
	case seq == peerAck:
		return RSTAccept
	case seq-peerAck < peerWindow:
		return RSTChallenge
	}
	return RSTDrop
}

// CheckSynRST judges a reset that answers a SYN (RFC 9293, 3.10.7.3): only one
// that acknowledges exactly the SYN counts. synEnd is the initiator's initial
// sequence number plus one, and more if the SYN carried data.
func CheckSynRST(flags uint8, ack, synEnd uint32) RSTVerdict {
	if flags&TCPAck != 0 && ack == synEnd {
		return RSTAccept
	}
	return RSTDrop
}

// maxWScale is the largest window shift (RFC 7323, 2.3), assumed where the
// announced one was not seen.
const maxWScale = 14

// CheckRST judges a reset of direction dir by what the flow remembers. Besides
// the number that the receiver last acknowledged it accepts the end of what the
// sender itself has sent, if it lies in the window: a receiver that delays its
// acknowledgements already expects that one.
func (f *FlowSlot) CheckRST(dir int, flags uint8, seq, ack uint32) RSTVerdict {
	peer := f.TCPSent(1 - dir)
	if TCPState(f.State) == TCPSynSent && dir == 1 && f.SeenFlags(1) == 0 {
		return CheckSynRST(flags, ack, peer.SeqEnd)
	}
	if f.SeenFlags(1-dir)&TCPAck == 0 && TCPState(f.State) == TCPClosed {
		return RSTChallenge // reset already, and not gone on since: this one may be the first that arrives
	}
	if f.SeenFlags(1-dir)&TCPAck == 0 { // the receiver has acknowledged nothing yet
		if f.SeenFlags(dir) != 0 && seq == f.TCPSent(dir).SeqEnd {
			return RSTAccept // the initiator gives up its own SYN
		}
		return RSTDrop
	}
	shift := peer.WScale
	if shift > maxWScale {
		shift = maxWScale
	}
	v := CheckRST(seq, peer.Ack, uint32(peer.Window)<<shift)
	if v == RSTChallenge && f.SeenFlags(dir) != 0 && seq == f.TCPSent(dir).SeqEnd {
		return RSTAccept
	}
	return v
}
