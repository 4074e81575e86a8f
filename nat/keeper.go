package nat

// Who keeps what of a connection is decided by its keys: its first key says who has its
// copy, and the unit of its port who has its second key. Where both are one node, one
// entry and one message do for two. The first key is given, and the port is chosen: so
// of the units at hand those come first in which that is so.

// SetKeepers says how to learn which node the second keys in a unit that this node holds
// go to, by a number that Request.Keeper is compared with. It is asked a few times an
// Allocate, and may answer otherwise each time. Call it before use.
func (p *Ports) SetKeepers(of func(unit int) uint8) { p.keeper = of }

// kept bounds the units that a search for those with a wanted keeper looks at, of the
// open ones and of the idle ones.
const kept = 24

// keeps reports whether the second keys in the unit at a place of an address go where
// the request wants them.
func (s *search) keeps(address, place int) bool {
	unit := int(s.p.g.addresses[address].FirstUnit) + int(s.p.address[address].members[place])
	return s.p.keeper(unit) == s.q.Keeper
}

// near is choice 2 among the units that have the wanted keeper: a random unused port of
// a random one that is in use. When there is none, one that is not is opened, unless
// few of those are left: others may need them (keepIdle).
func (s *search) near(address int) bool {
	a := &s.p.address[address]
	if s.q.Keeper == 0 || s.p.keeper == nil || a.open+a.idle < 2 {
		return false
	}
	if place, ok := s.nearest(address, 0, a.open); ok && s.anyUnused(s.member(address, place)) {
		return true
	}
	if a.idle*keepIdle <= a.open+a.idle {
		return false
	}
	place, ok := s.nearest(address, a.open, a.idle)
	return ok && s.anyUnused(s.member(address, place))
}

// nearest chooses one of n units from a place on that has the wanted keeper and an
// unused port, each as likely if there are more than kept.
func (s *search) nearest(address, from, n int) (place int, ok bool) {
	if n == 0 {
		return 0, false
	}
	start := s.p.rng.IntN(n)
	for i := range min(n, kept) {
		place = (start + i) % n
		if n > kept {
			place = s.p.rng.IntN(n)
		}
		place += from
		if u := s.member(address, place); u.leased == s.leased && u.used[s.class] < u.size && s.keeps(address, place) {
			return place, true
		}
	}
	return 0, false
}

// anyUnused tries a few random unused ports of a unit.
func (s *search) anyUnused(u *unitState) bool {
	addr, set := s.p.g.addresses[u.address].Addr, u.ports[s.class]
	for range guesses {
		port := s.p.rng.IntN(int(u.size) - int(u.used[s.class]))
		if set != nil {
			port = set.unused(port)
		}
		if s.openUnused(addr, u.first+uint16(port)) {
			return true
		}
	}
	return false
}
