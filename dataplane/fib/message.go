package fib

import (
	"encoding/binary"

	"cohort/packet"

	"golang.org/x/sys/unix"
)

// ruleTo is FRA_DST: the network a rule is for.
const ruleTo = 1

// typeMask leaves the flags out of an attribute's type (NLA_TYPE_MASK).
const typeMask = 1<<14 - 1

// routeMsg is what matters here of an RTM_NEWROUTE: an event, an entry of a
// dump, or an answer.
type routeMsg struct {
	dst      prefix
	cloned   bool // not a route: what the kernel learned about one address
	kind     uint8
	tos      uint8
	table    uint32
	priority uint32
	ifindex  int32 // 0: several next hops, or none shown
	gw       packet.Addr
	hasGW    bool
	foreign  bool // the next hop is of another family (RFC 5549)
}

// parseRoute reads a message without its netlink header. It keeps nothing of b.
func parseRoute(b []byte) (r routeMsg, ok bool) {
	if len(b) < unix.SizeofRtMsg || b[0] != unix.AF_INET || b[1] > 32 {
		return r, false
	}
	r.dst.bits, r.tos, r.table, r.kind = b[1], b[3], uint32(b[4]), b[7]
	r.cloned = binary.NativeEndian.Uint32(b[8:])&unix.RTM_F_CLONED != 0
	ok = attributes(b[unix.SizeofRtMsg:], func(kind uint16, v []byte) {
		switch {
		case kind == unix.RTA_VIA:
			r.foreign = true
		case len(v) != 4:
		case kind == unix.RTA_DST:
			r.dst = newPrefix(binary.BigEndian.Uint32(v), r.dst.bits)
		case kind == unix.RTA_GATEWAY:
			r.gw, r.hasGW = packet.Addr(v), true
		case kind == unix.RTA_OIF:
			r.ifindex = int32(binary.NativeEndian.Uint32(v))
		case kind == unix.RTA_TABLE:
			r.table = binary.NativeEndian.Uint32(v)
		case kind == unix.RTA_PRIORITY:
			r.priority = binary.NativeEndian.Uint32(v)
		}
	})
	return r, ok
}

// parseRule reads the network an RTM_NEWRULE is for; 0.0.0.0/0 is all.
func parseRule(b []byte) (to prefix, ok bool) {
	if len(b) < unix.SizeofRtMsg || b[0] != unix.AF_INET || b[1] > 32 {
		return to, false
	}
	ok = attributes(b[unix.SizeofRtMsg:], func(kind uint16, v []byte) {
		if kind == ruleTo && len(v) == 4 {
			to = newPrefix(binary.BigEndian.Uint32(v), b[1])
		}
	})
	return to, ok && to.bits == b[1]
}

// attributes calls each for every attribute; false when they are cut off.
func attributes(b []byte, each func(kind uint16, value []byte)) bool {
	for len(b) >= unix.SizeofRtAttr {
		n := int(binary.NativeEndian.Uint16(b))
		if n < unix.SizeofRtAttr || n > len(b) {
			return false
		}
		each(binary.NativeEndian.Uint16(b[2:])&typeMask, b[unix.SizeofRtAttr:n])
		b = b[min((n+3)&^3, len(b)):]
	}
	return true
}

// messages calls each for every message of a datagram until it returns false;
// what is cut off is left out.
func messages(b []byte, each func(h unix.NlMsghdr, body []byte) bool) {
	for len(b) >= unix.SizeofNlMsghdr {
		h := unix.NlMsghdr{
			Len: binary.NativeEndian.Uint32(b), Type: binary.NativeEndian.Uint16(b[4:]),
			Flags: binary.NativeEndian.Uint16(b[6:]), Seq: binary.NativeEndian.Uint32(b[8:]),
		}
		if h.Len < unix.SizeofNlMsghdr || uint64(h.Len) > uint64(len(b)) || !each(h, b[unix.SizeofNlMsghdr:h.Len]) {
			return
		}
		b = b[min((int(h.Len)+3)&^3, len(b)):]
	}
}

// errno is what an NLMSG_ERROR or NLMSG_DONE says; 0 is success.
func errno(body []byte) unix.Errno {
	if len(body) < 4 {
		return 0
	}
	return unix.Errno(-int32(binary.NativeEndian.Uint32(body)))
}

// request is an RTM_GET* message: a header, a struct rtmsg (or fib_rule_hdr,
// which has the same size) and room for RTA_DST.
type request [unix.SizeofNlMsghdr + unix.SizeofRtMsg + unix.SizeofRtAttr + 4]byte

// dumpRequest asks for all of a kind.
func dumpRequest(kind uint16, seq uint32) []byte {
	var r request
	b := r[:unix.SizeofNlMsghdr+unix.SizeofRtMsg]
	header(b, kind, unix.NLM_F_REQUEST|unix.NLM_F_DUMP, seq)
	return b
}

// set makes r the question where dst is.
func (r *request) set(dst packet.Addr, flags, seq uint32) {
	header(r[:], unix.RTM_GETROUTE, unix.NLM_F_REQUEST, seq)
	rt := r[unix.SizeofNlMsghdr:]
	rt[1] = 32
	binary.NativeEndian.PutUint32(rt[8:], flags)
	attr := rt[unix.SizeofRtMsg:]
	binary.NativeEndian.PutUint16(attr, uint16(len(attr)))
	binary.NativeEndian.PutUint16(attr[2:], unix.RTA_DST)
	copy(attr[unix.SizeofRtAttr:], dst[:])
}

func header(b []byte, kind, flags uint16, seq uint32) {
	binary.NativeEndian.PutUint32(b, uint32(len(b)))
	binary.NativeEndian.PutUint16(b[4:], kind)
	binary.NativeEndian.PutUint16(b[6:], flags)
	binary.NativeEndian.PutUint32(b[8:], seq)
	b[unix.SizeofNlMsghdr] = unix.AF_INET
}
