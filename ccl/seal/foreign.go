package seal

import "net/netip"

// Foreign tells of a peer address from which nothing comes but datagrams under
// another key, or of another version. Whoever is on the link can send such, except
// for OtherFormat, which takes the key: it is worth a hint to the operator, and
// nothing more (EL8).
type Foreign struct {
	Why    Reason // of the newest one: BadVersion, UnknownKey, BadTag (another key of the same id, or forged) or OtherFormat
	Header uint8  // its version of the header
	Format uint8  // its version of the format of payloads
	Key    uint8  // its key id
	Count  uint64 // since the peer was last understood
	Last   int64  // time of the newest one
}

// strange notes a datagram that did not open. Addresses are those that the caller
// lets in, and MaxPeers at most.
func (s *Sealer) strange(now int64, from netip.Addr, r Reason, b []byte) {
	f := s.foreign[from]
	if f == nil {
		if len(s.foreign) >= MaxPeers {
			return
		}
		f = new(Foreign)
		s.foreign[from] = f
	}
	f.Why, f.Header, f.Key, f.Format, f.Last = r, b[0]>>4, b[1], b[2], now
	f.Count++
}

// Foreign reports what came from a peer since it was last understood; false: it was
// understood the last time, or said nothing.
func (s *Sealer) Foreign(a netip.Addr) (Foreign, bool) {
	f := s.foreign[a.Unmap()]
	if f == nil {
		return Foreign{}, false
	}
	return *f, true
}
