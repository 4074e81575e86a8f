package node

import (
	"fmt"
	"net/netip"
	"time"

	"go.uber.org/zap"

	"cohort/api"
	"cohort/ccl/seal"
	"cohort/ccl/wire"
)

// How long a peer that is not understood is remembered after it was last heard,
// longer than the pause between two election requests; and how often the log repeats
// one cause.
const (
	foreignLife  = int64(10 * time.Second)
	foreignAgain = int64(10 * time.Minute)
)

// foreignPeers tells the operator of peers that have another key or speak another
// version of the link (EL8): all that they say is refused, so that they cannot be
// told why they do not join. Nothing is sent because of it. It belongs to the loop.
type foreignPeers struct {
	of map[netip.Addr]*foreignPeer
}

type foreignPeer struct {
	since int64                  // when it began
	said  [seal.NumReasons]int64 // when the log may say so again
	seen  seal.Foreign
}

// watch looks at all configured peers: called once a second, so that a flood of such
// datagrams is not one of lines.
func (k *foreignPeers) watch(now int64, peers []netip.Addr, foreign func(netip.Addr) (seal.Foreign, bool), ours []string, log *zap.Logger) {
	for _, a := range peers {
		f, ok := foreign(a)
		if !ok || now-f.Last >= foreignLife {
			delete(k.of, a)
			continue
		}
		one := k.of[a]
		if one == nil {
			if k.of == nil {
				k.of = map[netip.Addr]*foreignPeer{}
			}
			one = &foreignPeer{since: now}
			k.of[a] = one
		}
		one.seen = f
		if now >= one.said[f.Why] {
			one.said[f.Why] = now + foreignAgain
			_, text := foreignText(&f)
			log.Warn(fmt.Sprintf("peer %v %s", a, text), zap.Strings("keys here", ours), zap.Uint64("refused", f.Count))
		}
	}
}

// foreignText names the check that fails, and says in words what is wrong with a peer.
func foreignText(f *seal.Foreign) (check, text string) {
	switch f.Why {
	case seal.OtherFormat:
		return "version", fmt.Sprintf("speaks version %d of the control link's messages, this node version %d: install the same version on both", f.Format, wire.Version)
	case seal.BadVersion:
		return "version", fmt.Sprintf("sends datagrams of version %d of the control link, this node's are of version %d: install the same version on both", f.Header, seal.Version)
	case seal.BadTag:
		return "key", fmt.Sprintf("sends with another key of the id %02x than this node has, or somebody forges: copy the key file", f.Key)
	}
	return "key", fmt.Sprintf("sends with a key that this node does not have, of the id %02x: copy the key file", f.Key)
}

// checks are what health says of such peers; name gives the name of a peer that was
// once understood, or "".
func (k *foreignPeers) checks(peers []netip.Addr, name func(netip.Addr) string) (list []api.Check) {
	for _, a := range peers {
		one := k.of[a]
		if one == nil {
			continue
		}
		who := name(a)
		if who == "" {
			who = a.String()
		}
		check, text := foreignText(&one.seen)
		list = append(list, api.Check{
			Member: who, Name: check, Since: wall(one.since),
			Cause: fmt.Sprintf("peer %v %s; %d datagrams were refused", a, text, one.seen.Count),
		})
	}
	return list
}
