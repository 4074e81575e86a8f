package api

import "context"

// Exposure is what `show cluster exposure` says (MG9): what the cluster would lose if
// one of its nodes died now, as each said of itself within the last second or so.
type Exposure struct {
	Self  string         `json:"self"`  // name of the node that answers
	Nodes []NodeExposure `json:"nodes"` // every member, by id
	Peers []Replication  `json:"peers"` // from this node to every other
}

// NodeExposure is what one member said of itself. All counts are of connections that
// it owns; mappings of NAT are not among them.
type NodeExposure struct {
	Node  string `json:"node"`
	AgeMS int64  `json:"age_ms"` // since it said so; -1 = not yet, and the rest is zero

	Owned  int `json:"owned"`
	NoCopy int `json:"no_copy"` // durability none: nobody else is given their state
	Async  int `json:"async"`   // the newest state is not acknowledged by the backup, durability async
	Sync   int `json:"sync"`    // the same, durability sync: packets wait for it
	Behind int `json:"behind"`  // of async and sync: that an older state is acknowledged

	LagMS float64 `json:"lag_ms"` // the oldest update that no peer has acknowledged has waited so long
	P50MS float64 `json:"p50_ms"` // half of the last minute's updates were acknowledged within this
	P99MS float64 `json:"p99_ms"`

	IfDies IfDies `json:"if_dies"`
}

// IfDies is what would become of connections if a node died now.
type IfDies struct {
	Lost       int    `json:"lost"`        // owned by it, and nobody has the state: no_copy + async + sync - behind
	Moves      int    `json:"moves"`       // owned by it, to be taken over with their state
	To         []Heir `json:"to"`          // who has those, by id of the node
	CopiesLost int    `json:"copies_lost"` // owned by others, whose copy it has: to be made again elsewhere
}

// Heir is a node that has copies of another's connections: it hands each over to the
// node that the connection's next packet meets, which may be itself.
type Heir struct {
	Node        string `json:"node"`
	Connections int    `json:"connections"`
}

// Replication is how updates from this node to one peer go.
type Replication struct {
	Peer   string  `json:"peer"`
	Queued int     `json:"queued"` // updates and other state messages that it has not acknowledged
	LagMS  float64 `json:"lag_ms"` // the oldest of them has waited so long
	P50MS  float64 `json:"p50_ms"` // as NodeExposure, for this peer
	P99MS  float64 `json:"p99_ms"`
	Count  uint64  `json:"count"` // messages acknowledged in the last minute
}

// pathExposure is where an Exposure is.
const pathExposure = "/v1/cluster/exposure"

// Exposure returns what the cluster would lose with each of its nodes.
func (c *Client) Exposure(ctx context.Context) (Exposure, error) {
	return get[Exposure](ctx, c, pathExposure)
}
