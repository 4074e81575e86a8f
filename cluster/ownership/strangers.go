package ownership

import (
	"cohort/ccl/wire"
	"cohort/flowtable"
	"cohort/packet"
)

// strangers counts, for each mapping with endpoint-independent filtering, the
// connections of this node that the outside began through it: without a bound
// anybody could fill the flow table by way of one open mapping (RFC 4787, 5: who
// sends to a mapping need not have been sent to).
//
// A mapping's owner makes all connections through it, so its count is the cluster's
// as long as nobody has died. What is taken over counts at its new owner, which may
// be another one than the mapping's.
type strangers struct {
	of   map[packet.FlowKey]uint32 // by the mapped endpoint; never 0
	full packet.FlowKey            // the mapping that refused last
}

// strangersOf returns the mapping that a connection came in by: the reply key
// that NAT.Mapped has for it, which a reload may have forgotten.
func strangersOf(key, reply packet.FlowKey, flags uint8) (mapping packet.FlowKey, ok bool) {
	if flags&wire.ConnMapped == 0 || key.Dst == reply.Src || key.Dst == (packet.Addr{}) {
		return packet.FlowKey{}, false // begun by the host, or the mapping itself
	}
	return packet.FlowKey{Dst: key.Dst, DstPort: key.DstPort, Proto: key.Proto, Zone: key.Zone}, true
}

func (s *strangers) add(mapping packet.FlowKey, change int) {
	if n := int(s.of[mapping]) + change; n > 0 {
		s.of[mapping] = uint32(n)
	} else {
		delete(s.of, mapping)
	}
}

// came and went count a connection that is installed or removed here.
func (s *strangers) came(f *flowtable.FlowSlot) { s.flow(f, +1) }
func (s *strangers) went(f *flowtable.FlowSlot) { s.flow(f, -1) }

func (s *strangers) flow(f *flowtable.FlowSlot, change int) {
	if m, ok := strangersOf(f.Key[0], f.Key[1], f.Replication); ok {
		s.add(m, change)
	}
}

// claimed and settled count one that waits for its director's answer: a flood
// comes faster than answers.
func (s *strangers) claimed(w *wait) { s.wait(w, +1) }
func (s *strangers) settled(w *wait) { s.wait(w, -1) }

func (s *strangers) wait(w *wait, change int) {
	if w.kind != waitClaim {
		return
	}
	if m, ok := strangersOf(w.conn.Key, w.conn.ReplyKey(), w.conn.Flags); ok {
		s.add(m, change)
	}
}

// admits reports whether a mapping of this node may have another connection that
// the outside begins.
func (c *Core) admits(mapping packet.FlowKey) bool {
	most := c.cfg.NAT.MaxInbound(mapping)
	if most <= 0 || int(c.pending.strangers.of[mapping]) < most {
		return true
	}
	c.pending.strangers.full = mapping
	return false
}

// FullMapping returns the mapping that refused a connection last (ReasonNATInbound),
// from 0.0.0.0:0 to the mapped endpoint; the zero key if none did. For the log.
func (c *Core) FullMapping() packet.FlowKey { return c.pending.strangers.full }

// countStrangers counts anew: after a restart that kept the table.
func (c *Core) countStrangers() {
	s := &c.pending.strangers
	clear(s.of)
	c.table.ScanFlows(0, int(^uint(0)>>1), func(_ uint32, f *flowtable.FlowSlot) bool {
		s.came(f)
		return true
	})
}
