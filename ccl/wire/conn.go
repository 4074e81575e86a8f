package wire

import "cohort/packet"

// Translated reports whether the connection leaves with another tuple than it
// came with.
func (c *Conn) Translated() bool { return c.Reply != packet.FlowKey{} }

// ReplyKey returns the responder's direction as it is received.
func (c *Conn) ReplyKey() packet.FlowKey {
	if c.Translated() {
		return c.Reply
	}
	return c.Key.Reverse()
}

// SetReply stores k as the responder's direction.
func (c *Conn) SetReply(k packet.FlowKey) {
	if k == c.Key.Reverse() {
		k = packet.FlowKey{}
	}
	c.Reply = k
}
