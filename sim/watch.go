package sim

import (
	"fmt"
	"strings"

	"cohort/ccl/wire"
	"cohort/flowtable"
	"cohort/packet"
)

// watch notes every change of the roles that the nodes play for the watched
// conversation: a replay that shows where they went wrong.
func (w *World) watch() {
	if w.cfg.Trace == nil || w.cfg.Watch == 0 || w.cfg.Watch > len(w.conns) {
		return
	}
	if s := w.roles(w.conns[w.cfg.Watch-1].key); s != w.watched {
		w.watched = s
		w.note("ROLES %s", s)
	}
}

// roles says who owns k, who forwards it where, and who has copies of whom.
func (w *World) roles(k packet.FlowKey) string {
	var b strings.Builder
	for _, n := range w.nodes {
		for dir, key := range []packet.FlowKey{k, k.Reverse()} {
			ref := n.table.Lookup(key)
			switch {
			case ref == 0:
			case ref.IsForward():
				f := n.table.Forward(ref.Slot())
				fmt.Fprintf(&b, " %d:forward%d(to %d gen %d)", n.index+1, dir, f.Owner, f.Gen)
			case dir == 0:
				f := n.table.Flow(ref.Slot())
				fmt.Fprintf(&b, " %d:OWNER(gen %d, %v", n.index+1, f.Gen, flowtable.TCPState(f.State))
				if f.Flags&flowtable.FlowProvisional != 0 {
					b.WriteString(", provisional")
				}
				if f.SeqDelta != 0 {
					fmt.Fprintf(&b, ", numbers +%d", f.SeqDelta)
				}
				if f.Key[1] != f.Key[0].Reverse() {
					fmt.Fprintf(&b, ", as %v:%d", f.Key[1].Dst, f.Key[1].DstPort)
				}
				b.WriteString(")")
			}
		}
		if e, ok := n.copies.Get(k); ok {
			fmt.Fprintf(&b, " %d:copy(of %d gen %d, %v, numbers +%d)", n.index+1, e.Owner(), e.Gen(), flowtable.TCPState(e.State()), e.SeqDelta())
		}
	}
	return b.String()
}

// traceMessage notes what is said about the watched conversation, and what
// nodes say about their re-registration.
func (w *World) traceMessage(at *node, from, to wire.NodeID, m wire.Message) {
	if w.cfg.Watch == 0 || w.cfg.Watch > len(w.conns) {
		return
	}
	watched, _ := w.conns[w.cfg.Watch-1].key.Canonical()
	if k, keyed := w.keyOf(from, to, m); keyed {
		if k, _ = k.Canonical(); k != watched {
			return
		}
	}
	verb := "hears from"
	who := from
	if from == at.self && from != 0 {
		verb, who = "says to", to
	}
	w.note("node %d (id %d) %s %d: %T%+v", at.index+1, at.self, verb, who, m, m)
}

// claim is one of those that a node has put to another, by its number.
type claim struct {
	claimant, director wire.NodeID
	serial             uint32
}

// keyOf returns the key that a message from one node to another is about, false if it is
// about none. A Granted has that of the claim which it answers, seen before it.
func (w *World) keyOf(from, to wire.NodeID, m wire.Message) (packet.FlowKey, bool) {
	switch m := m.(type) {
	case *wire.Claim:
		if m.Serial != 0 {
			w.claims[claim{from, to, m.Serial}] = m.Conn.Key
		}
		return m.Conn.Key, true
	case *wire.Granted:
		return w.claims[claim{to, from, m.Serial}], true
	case *wire.Grant:
		return m.Conn.Key, true
	case *wire.Redirect:
		return m.Key, true
	case *wire.Query:
		return m.Key, true
	case *wire.Owner:
		return m.Key, true
	case *wire.Update:
		return m.Conn.Key, true
	case *wire.Close:
		return m.Key, true
	case *wire.Gone:
		return m.Key, true
	case *wire.Bind:
		return m.Conn, true
	case *wire.Alias:
		return m.Conn, true
	case *wire.Kept:
		return m.Key, true
	case *wire.Delegate:
		return m.Key, true
	case *wire.Report:
		return m.Key, true
	}
	return packet.FlowKey{}, false
}
