package sim

import (
	"testing"

	"cohort/ccl/wire"
	"cohort/cluster/ownership"
)

// A history shows the messages about the watched conversation, in both directions, and
// those about none. A Granted, which names no key, is about what was claimed by its number
// of the same director.
func TestWatch_AGrantedIsAboutItsClaim(t *testing.T) {
	lines := 0
	w := open(Config{Seed: 1, Nodes: 3, Watch: 1, Trace: func(int64, string) { lines++ }})
	w.boot()
	for range 2 {
		w.conns = append(w.conns, w.client(ownership.KindTCP))
	}
	n := w.nodes[0]
	n.self = 1
	mine, others := w.conns[0].key, w.conns[1].key
	for _, m := range []struct {
		from, to wire.NodeID
		m        wire.Message
		about    bool
	}{
		{1, 2, &wire.Claim{Conn: wire.Conn{Key: mine}, Serial: 7}, true},
		{1, 2, &wire.Claim{Conn: wire.Conn{Key: others}, Serial: 8}, false},
		{1, 3, &wire.Claim{Conn: wire.Conn{Key: others}, Serial: 7}, false},
		{2, 1, &wire.Claim{Conn: wire.Conn{Key: others}, Serial: 7}, false},
		{2, 1, &wire.Granted{Serial: 8}, false},
		{3, 1, &wire.Granted{Serial: 7}, false},
		{1, 2, &wire.Granted{Serial: 7}, false},
		{2, 1, &wire.Granted{Serial: 9}, false},
		{2, 1, &wire.Granted{Serial: 7, Bound: true}, true},
		{2, 1, &wire.Query{Key: mine.Reverse()}, true},
		{2, 1, &wire.Query{Key: others}, false},
		{2, 1, &wire.Synced{}, true},
		{1, 2, &wire.Claim{Conn: wire.Conn{Key: others}, Serial: 7}, false}, // the number comes round
		{2, 1, &wire.Granted{Serial: 7}, false},
	} {
		before := lines
		w.traceMessage(n, m.from, m.to, m.m)
		if shown := lines > before; shown != m.about {
			t.Errorf("%d to %d, %T%+v: shown %v, want %v", m.from, m.to, m.m, m.m, shown, m.about)
		}
	}
}
