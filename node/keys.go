package node

import (
	"fmt"
	"slices"
	"strings"

	"go.uber.org/zap"

	"cohort/api"
	"cohort/ccl/seal"
	"cohort/config"
)

// sealKeys are the keys of a key file as the link wants them.
func sealKeys(k config.Keys) (list []seal.Key) {
	for _, one := range k.Link {
		list = append(list, seal.Key{ID: one.ID(), Secret: one})
	}
	return list
}

// useKeys changes the keys of the link to those of a key file that was read again
// (CL10): no session ends, and what is on the way under a key that both files have
// is taken. It refuses a file of another cluster, and one without the key under
// which a member still seals: that member would be cut off.
func (n *Node) useKeys(now int64, k config.Keys) error {
	refuse := func(format string, args ...any) error {
		return fmt.Errorf("%s:1: %s: %w", n.cfg.Bootstrap.KeyFile, fmt.Sprintf(format, args...), api.ErrRefused)
	}
	if slices.Equal(k.Link, n.cfg.Keys.Link) && k.Seed == n.cfg.Keys.Seed {
		return nil
	}
	if k.Seed != n.cfg.Keys.Seed {
		return refuse("the file is not made from this cluster's key; change that with: cohort keygen --add")
	}
	var waiting []string
	s := n.core.Member().Status(now)
	if s.View != nil {
		for i := range s.View.Members {
			m := &s.View.Members[i]
			id, heard := n.sealer.PeerKey(m.VTEP)
			known := slices.ContainsFunc(k.Link, func(one config.Key) bool { return one.ID() == id })
			if m.ID != s.Self.ID && heard && !known {
				waiting = append(waiting, fmt.Sprintf("%s seals with key %02x", m.Name, id))
			}
		}
	}
	if len(waiting) > 0 {
		return refuse("it has not all keys that are in use: %s; reload there first", strings.Join(waiting, ", "))
	}
	if err := n.sealer.SetKeys(sealKeys(k)); err != nil {
		return refuse("%v", err)
	}
	if n.heart != nil {
		n.heart.SetKeys(sealKeys(k))
	}
	n.cfg.Keys = k
	n.log.Info("keys of the control link", zap.Strings("seals with the first, opens", k.IDs()))
	return nil
}
