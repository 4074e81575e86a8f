package scenario

import (
	"crypto/rand"
	"encoding/binary"
	"encoding/hex"
	"net/netip"
	"os"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"cohort/ccl/seal"
	cclwire "cohort/ccl/wire"
	"cohort/config"
	"cohort/testenv/sniff"
	"cohort/testenv/topology"
	"cohort/testenv/traffic"
)

// family is what the VTEPs have addresses of (CL9). It says where things are in
// a control frame (docs/ccl.md, 1).
type family struct {
	ethertype uint16
	header    int // size of the outer IP header
	source    int // of its source address, which the destination's follows
	bytes     int // of an address
	none      netip.Addr
}

var (
	overIPv4 = family{0x0800, 20, 12, 4, netip.MustParseAddr("10.99.0.99")}
	overIPv6 = family{0x86dd, 40, 8, 16, netip.MustParseAddr("fd00:99::99")}
)

const outerIP = 14

func (f family) vni() int      { return outerIP + f.header + 12 }
func (f family) innerEth() int { return outerIP + f.header + 16 }
func (f family) innerIP() int  { return f.innerEth() + 14 }
func (f family) sealed() int   { return f.innerIP() + 28 }

// ends are the outer addresses of a frame.
func (f family) ends(frame []byte) (from, to netip.Addr) {
	at := frame[outerIP+f.source:]
	from, _ = netip.AddrFromSlice(at[:f.bytes])
	to, _ = netip.AddrFromSlice(at[f.bytes : 2*f.bytes])
	return from, to
}

// forgery is a control frame to be altered.
type forgery struct {
	family
	b []byte
}

// of copies a frame that was seen on the link, under the stranger's own hardware
// address: to play a member's would be a quarrel with the switch.
func (over family) of(frame []byte) *forgery {
	f := &forgery{over, slices.Clone(frame)}
	copy(f.b[6:12], []byte{2, 0, 0x5e, 3, 0, 0xee})
	return f
}

// from changes the outer and the inner source address; zero keeps one.
func (f *forgery) from(outer, inner netip.Addr) *forgery {
	if outer.IsValid() {
		copy(f.b[outerIP+f.source:], outer.AsSlice())
	}
	if inner.IsValid() {
		copy(f.b[f.innerIP()+12:], inner.AsSlice())
	}
	return f
}

// saying replaces what was sealed.
func (f *forgery) saying(b []byte) *forgery {
	f.b = append(f.b[:f.sealed()], b...)
	return f
}

// finish makes lengths and checksums right again, so that the frame reaches
// whoever is to refuse it: a switch may look at them.
func (f *forgery) finish() []byte {
	f.outer()
	mend(f.b[f.innerIP():])
	return f.b
}

// cut ends the frame early, with an outer header that knows it.
func (f *forgery) cut(n int) []byte {
	f.b = f.b[:n]
	f.outer()
	return f.b
}

// outer puts right the lengths outside.
func (f *forgery) outer() {
	ip := f.b[outerIP:]
	if f.family == overIPv4 {
		mend(ip)
		return
	}
	n := uint16(len(ip) - f.header)
	binary.BigEndian.PutUint16(ip[4:], n)
	binary.BigEndian.PutUint16(ip[f.header+4:], n)
	binary.BigEndian.PutUint16(ip[f.header+6:], 0) // no UDP checksum
}

// mend puts right an IPv4 header and the UDP header behind it.
func mend(ip []byte) {
	binary.BigEndian.PutUint16(ip[2:], uint16(len(ip)))
	binary.BigEndian.PutUint16(ip[24:], uint16(len(ip)-20))
	binary.BigEndian.PutUint16(ip[26:], 0) // no UDP checksum
	binary.BigEndian.PutUint16(ip[10:], 0)
	sum := uint32(0)
	for i := 0; i < 20; i += 2 {
		sum += uint32(binary.BigEndian.Uint16(ip[i:]))
	}
	for sum > 0xffff {
		sum = sum>>16 + sum&0xffff
	}
	binary.BigEndian.PutUint16(ip[10:], ^uint16(sum))
}

// dataFrame makes a forwarded data frame with a cluster header and nothing to
// speak of behind it.
func (f *forgery) dataFrame(header ...byte) []byte {
	innerIP := f.innerIP()
	f.b = append(f.b[:innerIP], header...)
	f.b = append(f.b, make([]byte, 64)...)
	b := f.finish() // the inner part is no IP packet, but nobody looks at that
	copy(b[innerIP:], header)
	binary.BigEndian.PutUint16(b[innerIP-2:], 0x88b5)
	return b
}

// overhear waits for a frame of the membership channel that a member sends to
// another one.
func overhear(t *testing.T, top *topology.Topology, over family, from, to *topology.Node) []byte {
	t.Helper()
	var mu sync.Mutex
	var got []byte
	tap, err := sniff.Open(top.Switch, to.Name+"-"+topology.CCLIface, func(frame []byte, _ bool) {
		mu.Lock()
		defer mu.Unlock()
		if len(frame) <= over.sealed()+seal.Overhead || binary.BigEndian.Uint16(frame[12:]) != over.ethertype {
			return
		}
		if src, dst := over.ends(frame); src == from.CCL && dst == to.CCL &&
			binary.BigEndian.Uint16(frame[over.innerEth()+12:]) == 0x0800 && binary.BigEndian.Uint16(frame[over.innerIP()+22:]) == 4790 {
			got = slices.Clone(frame)
		}
	})
	if err != nil {
		t.Fatal(err)
	}
	defer tap.Close()
	eventually(t, within(t, 20*time.Second), func() bool {
		mu.Lock()
		defer mu.Unlock()
		return got != nil
	}, "a message from %s to %s", from.Name, to.Name)
	mu.Lock()
	defer mu.Unlock()
	return got
}

// wireSamples are encoded messages of every type, with their names.
func wireSamples(t *testing.T) (list [][2]string) {
	t.Helper()
	b, err := os.ReadFile("../../ccl/wire/testdata/golden.txt")
	if err != nil {
		t.Fatal(err)
	}
	for line := range strings.Lines(string(b)) {
		list = append(list, [2]string(strings.Fields(line)))
	}
	return list
}

// TestCL4_StrangerOnTheLinkChangesNothing plugs a machine into the control link
// that hears everything, and sends what it likes under any address: replays, and
// forged, mutated, cut and overlong messages of every type, frames of another VNI,
// data frames. Each is counted under its own reason; the view stays, connections
// live on and new ones complete.
func TestCL4_StrangerOnTheLinkChangesNothing(t *testing.T) { strangerChangesNothing(t, overIPv4) }

// TestCL9_StrangerOnALinkOverIPv6ChangesNothing is the same, and extension
// headers that hide VXLAN from the fast path.
func TestCL9_StrangerOnALinkOverIPv6ChangesNothing(t *testing.T) { strangerChangesNothing(t, overIPv6) }

func strangerChangesNothing(t *testing.T, over family) {
	top := formed(t, topology.Config{HoldTime: time.Second, Spray: true, CCLOverIPv6: over == overIPv6})
	a, b, c := top.Nodes[0], top.Nodes[1], top.Nodes[2]
	was := settled(t, top, 3)
	ctx := within(t, 60*time.Second)
	ns, err := top.StrangerOnCCL()
	if err != nil {
		t.Fatal(err)
	}
	wire, err := sniff.Open(ns, topology.StrangerIface, func([]byte, bool) {})
	if err != nil {
		t.Fatal(err)
	}
	defer wire.Close()
	to := netip.AddrPortFrom(top.Servers[0].Addr, 8080)
	echo, err := traffic.ServeEcho(top.Servers[0].Namespace, to)
	if err != nil {
		t.Fatal(err)
	}
	defer echo.Close()
	open, err := traffic.OpenPool(ctx, top.Clients[0].Namespace, to, traffic.PoolConfig{Connections: 50, Interval: 500 * time.Millisecond})
	if err != nil {
		t.Fatal(err)
	}
	defer open.Close()

	genuine := overhear(t, top, over, a, b)
	of := over.of
	said := genuine[over.sealed():]
	later := slices.Clone(said) // with a counter that is yet to come
	later[11] ^= 0x40
	keep, other := netip.Addr{}, netip.AddrFrom4([4]byte{169, 254, 0, 99})
	host := c.CCL.As16()
	innerC := netip.AddrFrom4([4]byte{169, 254, host[14], host[15]})
	attacks := map[string][][]byte{
		"link_replay":      {of(genuine).finish()},
		"link_truncated":   {of(genuine).saying(said[:seal.Overhead]).finish(), of(genuine).saying(said[:1]).finish()},
		"link_bad_version": {of(genuine).saying(append([]byte{0}, later[1:]...)).finish()},
		"link_unknown_key": {of(genuine).saying(append([]byte{said[0], ^said[1]}, later[2:]...)).finish()},
		"link_bad_tag": {
			of(genuine).saying(later).finish(),                                              // mutated
			of(genuine).saying(append(slices.Clone(later), make([]byte, 1000)...)).finish(), // overlong
			of(genuine).saying(later[:len(later)-3]).finish(),                               // cut
			of(genuine).from(c.CCL, innerC).saying(later).finish(),                          // under another member's address
		},
		"link_unknown_peer": {of(genuine).from(keep, other).finish()},
		"drop_wrong_vni":    {of(genuine).otherVNI()},
		"drop_unknown_peer": {of(genuine).from(over.none, keep).dataFrame(1, 1, 1, 1, 0, 0, 0, 1, 1, 1, 0, 0, 0, 0, 0, 1)},
		"drop_bad_view":     {of(genuine).dataFrame(1, 1, id(t, a), 1, 0xff, 0xff, 0xff, 0xff, 1, 1, 0, 0, 0, 0, 0, 1)},
		"drop_bad_frame":    {of(genuine).dataFrame(9, 9), of(genuine).cut(over.innerEth() + 4)},
	}
	if over == overIPv6 {
		for _, extension := range []byte{0, 43, 44, 60} {
			attacks["drop_bad_frame"] = append(attacks["drop_bad_frame"], of(genuine).behind(extension))
		}
	}
	guess, err := seal.New(seal.Config{Local: a.CCL, Rand: rand.Reader, Keys: []seal.Key{{ID: said[1], Secret: [32]byte{1}}}})
	if err != nil {
		t.Fatal(err)
	}
	// A peer that has the key and speaks another version of the messages (EL8).
	keys, err := config.LoadKeys(top.KeyFile())
	if err != nil {
		t.Fatal(err)
	}
	for _, format := range []uint8{0, cclwire.Version + 1} {
		peer, err := seal.New(seal.Config{Local: a.CCL, Rand: rand.Reader, Format: format, Keys: []seal.Key{{ID: said[1], Secret: keys.Link[0]}}})
		if err != nil {
			t.Fatal(err)
		}
		attacks["link_other_format"] = append(attacks["link_other_format"], of(genuine).saying(peer.Seal(nil, b.CCL, []byte{1, 0})).finish())
	}
	for _, s := range wireSamples(t) {
		m, err := hex.DecodeString(s[1])
		if err != nil {
			t.Fatal(err)
		}
		forged := guess.Seal(nil, b.CCL, append([]byte{1}, m...))
		attacks["link_bad_tag"] = append(attacks["link_bad_tag"], of(genuine).saying(forged).finish())
	}

	const rounds = 20
	before := map[string]uint64{}
	for reason := range attacks {
		before[reason] = counterOf(t, b, reason)
	}
	for range rounds {
		for _, frames := range attacks {
			for _, f := range frames {
				if err := wire.Send(f); err != nil {
					t.Fatal(err)
				}
			}
		}
		if err := traffic.TCP(ctx, top.Clients[0].Namespace, to, traffic.TCPLoad{Connections: 10, Rounds: 1}).Err(); err != nil {
			t.Error(err)
		}
	}
	for reason, frames := range attacks {
		if got, want := counterOf(t, b, reason)-before[reason], uint64(rounds*len(frames)); got != want {
			t.Errorf("%s: %d counted, %d sent", reason, got, want)
		}
	}
	if r := open.Close(); r.Err() != nil {
		t.Errorf("open before: %v", r.Err())
	}
	if now, one := views(t, top, 3); !one || now != was {
		t.Errorf("the view changed from %s\nto %s", was, now)
	}
}

// otherVNI is a control frame of another cluster.
func (f *forgery) otherVNI() []byte {
	f.b[f.vni()+2] ^= 0x02
	return f.finish()
}

// behind puts an IPv6 extension header in front of UDP.
func (f *forgery) behind(extension byte) []byte {
	b := f.finish()
	at := outerIP + f.header
	b = slices.Insert(b, at, 17, 0, 0, 0, 0, 0, 0, 0)
	b[outerIP+6] = extension
	binary.BigEndian.PutUint16(b[outerIP+4:], uint16(len(b)-at))
	return b
}

// id is a member's number in the view.
func id(t *testing.T, n *topology.Node) byte {
	t.Helper()
	i, err := n.API().Info(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	for _, m := range i.Members {
		if m.Name == n.Name {
			return m.ID
		}
	}
	t.Fatalf("%s is not in its own view", n.Name)
	return 0
}
