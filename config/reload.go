package config

import (
	"crypto/sha256"
	"encoding/binary"
	"encoding/json"
	"fmt"
	"reflect"
)

// translates is the bit of a Checksum that Translates sets (wire.ConfigTranslates).
const translates = 1

// Checksum is of what can change while a node runs (NT7): policy and nat, as
// they were understood. Comments and the order of keys do not count, that of
// rules and pools does. Its lowest bit says whether there is anything of NAT, which no
// reload changes: whoever knows only checksums can say so. Never 0.
func (c *Cluster) Checksum() uint64 {
	b, err := json.Marshal(struct {
		Rules []Rule
		NAT   any
	}{c.Rules, c.NAT})
	if err != nil {
		panic(fmt.Sprintf("config: checksum: %v", err)) // plain values only
	}
	sum := sha256.Sum256(b)
	n := max(binary.BigEndian.Uint64(sum[:])&^translates, 2)
	if c.Translates() {
		n |= translates
	}
	return n
}

// Translates reports whether there is anything of NAT.
func (c *Cluster) Translates() bool { return len(c.NAT.Rules) > 0 || len(c.NAT.Pools) > 0 }

// Reloads returns an error, ready to show, when a node that runs c cannot change
// to next without a restart: only policy and nat may differ. file is next's name.
func (c *Cluster) Reloads(file string, next *Cluster) error {
	key, at := "", file
	switch {
	case len(c.Interfaces) != len(next.Interfaces):
		key = "interfaces"
	case !reflect.DeepEqual(c.Timeouts, next.Timeouts):
		key = "timeouts"
	case c.Health != next.Health:
		key = "health"
	case c.OwnerOnly != next.OwnerOnly:
		key = "forwarding"
	case c.Sequences != next.Sequences:
		key = "tcp.sequence_randomization"
	case c.Limits != next.Limits:
		key = "limits"
	case c.Translates() != next.Translates():
		key = "nat (there is none on one side)"
	}
	for i := 0; key == "" && i < len(next.Interfaces); i++ {
		a, b := c.Interfaces[i], next.Interfaces[i]
		a.line = b.line
		if !reflect.DeepEqual(a, b) {
			key, at = "interfaces."+b.Name, fmt.Sprintf("%s:%d", file, b.line)
		}
	}
	if key == "" {
		return nil
	}
	return fmt.Errorf("%s: %s differs from what runs and cannot change by reload: restart all nodes with it", at, key)
}
