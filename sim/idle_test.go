package sim

import (
	"testing"
	"time"

	"cohort/cluster/ownership"
	"cohort/flowtable"
	"cohort/packet"
)

// TestFR11_WhatACutExcuses: a connection that idled out behind a cut is no loss. One that
// ended a little earlier, or before the cut could make it silent, or after it, is.
func TestFR11_WhatACutExcuses(t *testing.T) {
	for name, c := range map[string]struct {
		cut    time.Duration // for which the sides have been apart
		silent time.Duration // for which its owner has met no packet; it idles out after 2 s
		fin    bool          // one has ended it: it idles out after 1 s
		other  bool          // another node owns it, too, and goes on
		back   bool          // another one goes on with it later
		want   bool
	}{
		"idled out":            {cut: 3 * time.Second, silent: 2 * time.Second, want: true},
		"the cut is younger":   {cut: 1200 * time.Millisecond, silent: 2 * time.Second, want: true},
		"half closed":          {cut: 3 * time.Second, silent: time.Second, fin: true, want: true},
		"not idle yet":         {cut: 3 * time.Second, silent: 1900 * time.Millisecond},
		"half closed, not yet": {cut: 3 * time.Second, silent: 900 * time.Millisecond, fin: true},
		"silent before":        {cut: time.Second, silent: 2 * time.Second},
		"together":             {silent: 2 * time.Second},
		"ended, together":      {silent: time.Second, fin: true},
		"another owner":        {cut: 3 * time.Second, silent: 2 * time.Second, other: true},
		"taken over":           {cut: 3 * time.Second, silent: 2 * time.Second, back: true},
	} {
		t.Run(name, func(t *testing.T) {
			w := open(Config{Seed: 1, Nodes: 2, Timeouts: flowtable.Timeouts{TCPEstablished: 2, TCPHalfClosed: 1, TCPClosing: 1}})
			w.boot()
			v := w.client(ownership.KindTCP)
			v.started = w.clock.now
			w.conns = append(w.conns, v)
			w.clock.now += 10 * second
			own := func(n *node, silent time.Duration) uint32 {
				at := flowtable.TickOf(w.clock.now - int64(silent))
				slot, err := n.table.InsertFlow(flowtable.FlowSlot{
					Key: [2]packet.FlowKey{v.key, v.key.Reverse()}, Gen: 1, Flags: flowtable.FlowLive, State: uint8(flowtable.TCPEstablished), Timeout: 2, LastSeen: [2]uint32{at, at},
				})
				if err != nil {
					t.Fatal(err)
				}
				if c.fin {
					n.table.Flow(slot).Sent(0, ownership.FIN|ownership.ACK, 1, 1, 1)
				}
				return slot
			}
			k := &w.check
			k.whole = w.clock.now - int64(c.cut)
			slot := own(w.nodes[0], c.silent)
			if c.other {
				own(w.nodes[1], c.silent)
			}
			k.idle(v)
			w.nodes[0].table.RemoveFlow(slot)
			k.idle(v)
			if c.back {
				own(w.nodes[1], 0)
				k.idle(v)
			}
			if v.idled != c.want {
				t.Errorf("excused %v, want %v", v.idled, c.want)
			}
		})
	}
}
