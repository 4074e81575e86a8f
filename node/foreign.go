package node

import (
	"fmt"
	"net/netip"
	"time"

	"go.uber.org/zap"

	"cohort/api"
	"cohort/ccl/seal"
)

// How long a peer that seals under another key is remembered after it was last
// heard, longer than the pause between two election requests; and how often the log
// repeats it.
const (
	foreignLife  = int64(10 * time.Second)
	foreignAgain = int64(10 * time.Minute)
)

// foreignKeys tells the operator of peers that have another key (EL8): all that they
// say is refused, so that they cannot be told why they do not join. Nothing is sent
// because of it. It belongs to the loop.
type foreignKeys struct {
	of map[netip.Addr]*foreignKey
}

type foreignKey struct {
	since, said int64 // when it began, and when the log last said so
	seen        seal.Foreign
}

// watch looks at all configured peers: called once a second, so that a flood of such
// datagrams is not one of lines.
func (k *foreignKeys) watch(now int64, peers []netip.Addr, foreign func(netip.Addr) (seal.Foreign, bool), ours []string, log *zap.Logger) {
	for _, a := range peers {
		f, ok := foreign(a)
		if !ok || now-f.Last >= foreignLife {
			delete(k.of, a)
			continue
		}
		one := k.of[a]
		if one == nil {
			if k.of == nil {
				k.of = map[netip.Addr]*foreignKey{}
			}
			one = &foreignKey{since: now, said: now - foreignAgain}
			k.of[a] = one
		}
		one.seen = f
		if now-one.said >= foreignAgain {
			one.said = now
			log.Warn(fmt.Sprintf("peer %v %s", a, foreignText(&f)), zap.Strings("keys here", ours), zap.Uint64("refused", f.Count))
		}
	}
}

// foreignText says in words what is wrong with the key of a peer.
func foreignText(f *seal.Foreign) string {
	if f.Known {
		return fmt.Sprintf("sends with another key of the id %02x than this node has, or somebody forges: copy the key file", f.Key)
	}
	return fmt.Sprintf("sends with a key that this node does not have, of the id %02x: copy the key file", f.Key)
}

// checks are what health says of such peers; name gives the name of a peer that was
// once understood, or "".
func (k *foreignKeys) checks(peers []netip.Addr, name func(netip.Addr) string) (list []api.Check) {
	for _, a := range peers {
		one := k.of[a]
		if one == nil {
			continue
		}
		who := name(a)
		if who == "" {
			who = a.String()
		}
		list = append(list, api.Check{
			Member: who, Name: "key", Since: wall(one.since),
			Cause: fmt.Sprintf("peer %v %s; %d datagrams were refused", a, foreignText(&one.seen), one.seen.Count),
		})
	}
	return list
}
