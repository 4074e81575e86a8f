package api

import (
	"fmt"
	"net/netip"
	"net/url"
	"strconv"
	"strings"
)

// Roles of a node for a connection, as letters that can stand together:
//
//	O   owner
//	OD  owner, and its own director: the backup is the next in the order
//	DB  director that keeps the connection's state as backup owner (the usual case)
//	D   director that knows the owner only (durability none)
//	B   backup owner beside a director that owns the connection
//	F   forwarder
//	S   stub: knows the connection by its translated addresses only, and its owner
type Roles string

// The letters of Roles.
const (
	Owner     = 'O'
	Director  = 'D'
	Backup    = 'B'
	Forwarder = 'F'
	Stub      = 'S'
)

// Has reports whether the letter is among the roles.
func (r Roles) Has(letter rune) bool { return strings.ContainsRune(string(r), letter) }

// Conn is what one node holds about one connection.
type Conn struct {
	Protocol    string         `json:"protocol"` // tcp, udp, icmp, or ip-N
	Source      netip.AddrPort `json:"source"`   // initiator; for a forwarder: as it forwards
	Destination netip.AddrPort `json:"destination"`

	// The same as the responder sees them, where NAT changes them; else zero.
	MappedSource      netip.AddrPort `json:"mapped_source,omitzero"`
	MappedDestination netip.AddrPort `json:"mapped_destination,omitzero"`

	In      string `json:"in,omitempty"` // interfaces; where initiator and responder are
	Out     string `json:"out,omitempty"`
	Roles   Roles  `json:"roles"`
	Owner   string `json:"owner"`             // name of the owner
	Backup  string `json:"backup,omitempty"`  // name of the node that confirmed the newest state; owner only
	State   string `json:"state,omitempty"`   // of TCP
	Rule    string `json:"rule,omitempty"`    // that allowed it; default = by trust
	Gen     uint32 `json:"gen"`               // ownership generation
	IdleMS  int64  `json:"idle_ms"`           // since the last packet this node saw
	AgeMS   int64  `json:"age_ms,omitempty"`  // owner only
	Timeout int    `json:"timeout,omitempty"` // idle seconds that end it

	// SequenceShift is by how much further on the responder knows the initiator's TCP
	// sequence numbers, modulo 2^32; owner and keeper of the copy only (FR5).
	SequenceShift uint32 `json:"sequence_shift,omitempty"`

	Packets [2]uint64 `json:"packets"` // from initiator, from responder
	Bytes   [2]uint64 `json:"bytes"`   // IP total length

	LentTo        []Delegation `json:"lent_to,omitempty"`        // owner only: what other nodes forward by themselves
	DelegatedFrom *Delegation  `json:"delegated_from,omitempty"` // forwarder only: this direction leaves here
}

// Delegation is a direction of a connection that another node than its owner
// forwards by itself (docs/ownership.md).
type Delegation struct {
	Node      string `json:"node"`      // at the owner: who forwards; at who forwards: the owner
	Direction int    `json:"direction"` // as in Conn.Packets of the same node
	// EndsInMS is when nobody forwards by it any more unless it is renewed, which
	// happens once a second while it is of use. The owner reckons with an eighth
	// more than the lease. 0: it is over, and its last counters are on their way.
	EndsInMS   int64  `json:"ends_in_ms"`
	CalledBack bool   `json:"called_back,omitempty"` // owner only: it asked for the end, or for word of it
	Packets    uint64 `json:"packets"`               // since it was granted; at the owner: that it knows of, part of Conn.Packets
	Bytes      uint64 `json:"bytes"`                 // IP total length
}

// ConnFilter selects connections; zero fields select all.
type ConnFilter struct {
	Address  netip.Prefix // of either side, translated or not
	Port     uint16       // of either side, translated or not
	Protocol string       // as Conn.Protocol
	Role     rune         // a letter that Conn.Roles must hold
}

// Match reports whether c is selected.
func (f *ConnFilter) Match(c *Conn) bool {
	return f.match(c.Protocol, c.Roles, c.Source, c.Destination, c.MappedSource, c.MappedDestination)
}

// match reports whether the protocol, the roles and any of the ends are
// selected. The protocol "any" is selected by every one.
func (f *ConnFilter) match(protocol string, roles Roles, ends ...netip.AddrPort) bool {
	address, port := !f.Address.IsValid(), f.Port == 0
	for _, e := range ends {
		address = address || f.Address.Contains(e.Addr())
		port = port || f.Port == e.Port()
	}
	return address && port && (f.Protocol == "" || f.Protocol == protocol || protocol == "any") && (f.Role == 0 || roles.Has(f.Role))
}

// End is the last line of a stream of connections or translations. A stream without it was
// cut off.
type End struct {
	Shown int  `json:"shown"`
	More  bool `json:"more"` // the limit was reached
}

// ConnCount counts connections by role; one with two letters counts for both.
type ConnCount struct {
	Total     int `json:"total"`
	Owner     int `json:"owner"`
	Director  int `json:"director"`
	Backup    int `json:"backup"`
	Forwarder int `json:"forwarder"`
	Stub      int `json:"stub"`
}

// add counts c.
func (n *ConnCount) add(c *Conn) {
	n.Total++
	for _, letter := range c.Roles {
		switch letter {
		case Owner:
			n.Owner++
		case Director:
			n.Director++
		case Backup:
			n.Backup++
		case Forwarder:
			n.Forwarder++
		case Stub:
			n.Stub++
		}
	}
}

// query writes the filter as URL parameters.
func (f *ConnFilter) query() url.Values {
	q := url.Values{}
	if f.Address.IsValid() {
		q.Set("address", f.Address.String())
	}
	if f.Port != 0 {
		q.Set("port", strconv.Itoa(int(f.Port)))
	}
	if f.Protocol != "" {
		q.Set("protocol", f.Protocol)
	}
	if f.Role != 0 {
		q.Set("role", string(f.Role))
	}
	return q
}

// parameters are the names of the filter's URL parameters.
const parameters = "address, port, protocol, role, limit"

// set takes the value of one URL parameter and reports whether it is one of the
// filter's.
func (f *ConnFilter) set(name, text string) (known bool, err error) {
	switch name {
	case "address":
		f.Address, err = ParseNetwork(text)
	case "port":
		f.Port, err = ParsePort(text)
	case "protocol":
		f.Protocol, err = ParseProtocol(text)
	case "role":
		f.Role, err = ParseRole(text)
	default:
		return false, nil
	}
	return true, err
}

// parseFilter reads what query writes, and the limit (0 = none).
func parseFilter(q url.Values) (f ConnFilter, limit int, err error) {
	limit, err = parseQuery(q, parameters, f.set)
	return f, limit, err
}

// parseQuery gives every parameter to set, which knows those named by known,
// and returns the limit (0 = none).
func parseQuery(q url.Values, known string, set func(name, text string) (bool, error)) (limit int, err error) {
	for name, values := range q {
		if len(values) != 1 {
			return 0, fmt.Errorf("parameter %s is given %d times; give it once", name, len(values))
		}
		if name == "limit" {
			if limit, err = strconv.Atoi(values[0]); err != nil || limit < 0 {
				return 0, fmt.Errorf("limit %q is not a number; write limit=100", values[0])
			}
			continue
		}
		switch ours, err := set(name, values[0]); {
		case err != nil:
			return 0, err
		case !ours:
			return 0, fmt.Errorf("unknown parameter %q; known are %s", name, known)
		}
	}
	return limit, nil
}

// ParseNetwork reads an address or a network.
func ParseNetwork(text string) (netip.Prefix, error) {
	if a, err := netip.ParseAddr(text); err == nil {
		return netip.PrefixFrom(a, a.BitLen()), nil
	}
	p, err := netip.ParsePrefix(text)
	if err != nil {
		return netip.Prefix{}, fmt.Errorf("address %q is neither an address nor a network; write 10.1.0.5 or 10.1.0.0/16", text)
	}
	return p.Masked(), nil
}

// ParsePort reads a port.
func ParsePort(text string) (uint16, error) {
	n, err := strconv.ParseUint(text, 10, 16)
	if err != nil || n == 0 {
		return 0, fmt.Errorf("port %q is not a number from 1 to 65535", text)
	}
	return uint16(n), nil
}

// ParseProtocol reads a protocol by name or number and returns its name as in
// Conn.Protocol.
func ParseProtocol(text string) (string, error) {
	switch text {
	case "tcp", "6":
		return "tcp", nil
	case "udp", "17":
		return "udp", nil
	case "icmp", "1":
		return "icmp", nil
	}
	n, err := strconv.ParseUint(strings.TrimPrefix(text, "ip-"), 10, 8)
	if err != nil {
		return "", fmt.Errorf("protocol %q is not tcp, udp, icmp or a number from 0 to 255", text)
	}
	return fmt.Sprintf("ip-%d", n), nil
}

// ParseRole reads a role by letter or word.
func ParseRole(text string) (rune, error) {
	switch strings.ToLower(text) {
	case "o", "owner":
		return Owner, nil
	case "d", "director":
		return Director, nil
	case "b", "backup":
		return Backup, nil
	case "f", "forwarder":
		return Forwarder, nil
	case "s", "stub":
		return Stub, nil
	}
	return 0, fmt.Errorf("role %q is not owner, director, backup, forwarder or stub", text)
}
