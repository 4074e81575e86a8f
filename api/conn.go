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
type Roles string

// The letters of Roles.
const (
	Owner     = 'O'
	Director  = 'D'
	Backup    = 'B'
	Forwarder = 'F'
)

// Has reports whether the letter is among the roles.
func (r Roles) Has(letter rune) bool { return strings.ContainsRune(string(r), letter) }

// Conn is what one node holds about one connection.
type Conn struct {
	Protocol    string         `json:"protocol"` // tcp, udp, icmp, or ip-N
	Source      netip.AddrPort `json:"source"`   // initiator; for a forwarder: as it forwards
	Destination netip.AddrPort `json:"destination"`
	In          string         `json:"in,omitempty"` // interfaces; where initiator and responder are
	Out         string         `json:"out,omitempty"`
	Roles       Roles          `json:"roles"`
	Owner       string         `json:"owner"`             // name of the owner
	Backup      string         `json:"backup,omitempty"`  // name of the node that confirmed the newest state; owner only
	State       string         `json:"state,omitempty"`   // of TCP
	Rule        string         `json:"rule,omitempty"`    // that allowed it; default = by trust
	Gen         uint32         `json:"gen"`               // ownership generation
	IdleMS      int64          `json:"idle_ms"`           // since the last packet this node saw
	AgeMS       int64          `json:"age_ms,omitempty"`  // owner only
	Timeout     int            `json:"timeout,omitempty"` // idle seconds that end it
	Packets     [2]uint64      `json:"packets"`           // from initiator, from responder
	Bytes       [2]uint64      `json:"bytes"`             // IP total length
}

// ConnFilter selects connections; zero fields select all.
type ConnFilter struct {
	Address  netip.Prefix // of either side
	Port     uint16       // of either side
	Protocol string       // as Conn.Protocol
	Role     rune         // a letter that Conn.Roles must hold
}

// Match reports whether c is selected.
func (f *ConnFilter) Match(c *Conn) bool {
	return (!f.Address.IsValid() || f.Address.Contains(c.Source.Addr()) || f.Address.Contains(c.Destination.Addr())) &&
		(f.Port == 0 || f.Port == c.Source.Port() || f.Port == c.Destination.Port()) &&
		(f.Protocol == "" || f.Protocol == c.Protocol) &&
		(f.Role == 0 || c.Roles.Has(f.Role))
}

// End is the last line of a stream of connections. A stream without it was
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

// parseFilter reads what query writes, and the limit (0 = none).
func parseFilter(q url.Values) (f ConnFilter, limit int, err error) {
	for name, values := range q {
		if len(values) != 1 {
			return f, 0, fmt.Errorf("parameter %s is given %d times; give it once", name, len(values))
		}
		text := values[0]
		switch name {
		case "address":
			f.Address, err = ParseNetwork(text)
		case "port":
			f.Port, err = ParsePort(text)
		case "protocol":
			f.Protocol, err = ParseProtocol(text)
		case "role":
			f.Role, err = ParseRole(text)
		case "limit":
			if limit, err = strconv.Atoi(text); err != nil || limit < 0 {
				err = fmt.Errorf("limit %q is not a number of connections; write limit=100", text)
			}
		default:
			err = fmt.Errorf("unknown parameter %q; known are address, port, protocol, role, limit", name)
		}
		if err != nil {
			return ConnFilter{}, 0, err
		}
	}
	return f, limit, nil
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
	}
	return 0, fmt.Errorf("role %q is not owner, director, backup or forwarder", text)
}
