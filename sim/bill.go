package sim

import (
	"cohort/flowtable"
	"cohort/packet"
)

// bill is what has left of a conversation, to be compared with what its owner has
// counted: its own packets, and those that delegates have reported (DESIGN 5).
type bill struct {
	packets   [2]uint64
	delegated [2]uint64 // of them
	owners    []memory  // through which the others left
	delegates []memory
}

// memory is a node between two times that it forgot everything.
type memory struct {
	node   *node
	forgot int
}

func (m memory) lasts() bool { return m.node.forgot == m.forgot && !m.node.dead && m.node.powered }

func note(list []memory, n *node) []memory {
	m := memory{n, n.forgot}
	for _, o := range list {
		if o == m {
			return list
		}
	}
	return append(list, m)
}

// owned is a packet that its owner sends on.
func (w *World) owned(n *node, p *pkt) {
	if p.fault {
		return // belongs to no connection's count
	}
	p.conn.sent.packets[p.dir()]++
	p.conn.sent.owners = note(p.conn.sent.owners, n)
}

func (p *pkt) dir() int {
	if p.reply {
		return 1
	}
	return 0
}

// delegated is a packet that a delegate sends on with tuple to. NT4: the translation
// that it leaves with, or came back to, is nobody else's.
func (k *checker) delegated(n *node, p *pkt, to packet.FlowKey) {
	b := &p.conn.sent
	b.packets[p.dir()]++
	b.delegated[p.dir()]++
	b.delegates = note(b.delegates, n)
	k.w.result.Delegated++
	if k.ledger == nil {
		return
	}
	second := to.Reverse()
	if p.reply {
		second = p.Key
	}
	for _, u := range k.ledger.users[second] {
		for _, c := range k.w.conns {
			if c != p.conn && c.key == u.own {
				k.w.fail("NT4: node %d forwards connection %d by a delegation, with the translation that connection %d of node %d has", n.index+1, p.conn.id, c.id, u.node.index+1)
			}
		}
	}
}

// bills compares what owners have counted with what has left. Only connections that
// one node has owned all their life have one count. It is never too high. At the end
// it is exact, unless a delegate has forgotten what it had not reported.
func (k *checker) bills(end bool) {
	for _, c := range k.w.conns {
		if len(c.sent.owners) != 1 || !c.sent.owners[0].lasts() {
			continue
		}
		n := c.sent.owners[0].node
		ref := n.table.Lookup(c.key)
		if ref == 0 || ref.IsForward() {
			continue
		}
		f := n.table.Flow(ref.Slot())
		if f.Key[0] != c.key || f.Gen != 1 {
			continue // it has been another's
		}
		k.bill(c, n, f, end)
	}
}

func (k *checker) bill(c *conn, n *node, f *flowtable.FlowSlot, end bool) {
	exact := end && !k.torn // who is in another view than the owner forgets what it had not reported
	for _, d := range c.sent.delegates {
		exact = exact && d.lasts()
	}
	for d := range c.sent.packets {
		counted, bytes := f.Counters(d)
		if left := c.sent.packets[d]; counted > left || exact && counted < left || bytes != 100*counted {
			k.w.fail("DESIGN 5: connection %d, direction %d: its owner, node %d, has counted %d packets of %d bytes, %d have left, %d of them by delegates",
				c.id, d, n.index+1, counted, bytes, left, c.sent.delegated[d])
		}
	}
	if exact && c.sent.delegated[0]+c.sent.delegated[1] != 0 {
		k.w.result.Billed++
	}
}
