package seal

import "net/netip"

// Foreign tells of a peer address from which nothing but datagrams under another
// key comes. Whoever is on the link can send such: it is worth a hint to the
// operator, and nothing more (EL8).
type Foreign struct {
	Key   uint8  // id of the newest one
	Known bool   // a key of this id is here: it is another key of the same id, or forged
	Count uint64 // since the peer was last understood
	Last  int64  // time of the newest one
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
	f.Key, f.Known, f.Last = b[1], r == BadTag, now
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
