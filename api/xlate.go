package api

import (
	"fmt"
	"net/netip"
	"net/url"
)

// Xlate is one translation that a node holds. That of a connection is for one
// remote side; a mapping (endpoint-independent, or one-to-one from an
// addresses pool) is for all of them, and its connections are listed besides. A
// connection of which NAT changes both ends (hairpinning) is two.
type Xlate struct {
	Type     string         `json:"type"`            // connection or mapping
	Protocol string         `json:"protocol"`        // tcp, udp, icmp, or ip-N; any = a mapping for all
	Real     netip.AddrPort `json:"real"`            // untranslated
	Mapped   netip.AddrPort `json:"mapped"`          // translated; port 0, here and in Real: any, and kept
	Remote   netip.AddrPort `json:"remote,omitzero"` // the other side; of a mapping: anybody
	Roles    Roles          `json:"roles"`           // of the node that answers
	Owner    string         `json:"owner"`           // name of the owner
	Pool     string         `json:"pool,omitempty"`  // "" = a static rule
	Rule     string         `json:"rule,omitempty"`  // of nat.rules
	Gen      uint32         `json:"gen"`             // ownership generation
	IdleMS   int64          `json:"idle_ms"`         // since the last packet this node saw
	AgeMS    int64          `json:"age_ms,omitempty"`
	Timeout  int            `json:"timeout,omitempty"` // idle seconds that end it
}

// The types of a translation.
const (
	XlateConnection = "connection"
	XlateMapping    = "mapping"
)

// XlateFilter selects translations; zero fields select all.
type XlateFilter struct {
	ConnFilter        // Address and Port of any of the three ends
	Pool       string // as Xlate.Pool
	Local      bool   // those only that the node owns
}

// Match reports whether x is selected.
func (f *XlateFilter) Match(x *Xlate) bool {
	return f.match(x.Protocol, x.Roles, x.Real, x.Mapped, x.Remote) &&
		(f.Pool == "" || f.Pool == x.Pool) &&
		(!f.Local || x.Roles.Has(Owner))
}

// query writes the filter as URL parameters.
func (f *XlateFilter) query() url.Values {
	q := f.ConnFilter.query()
	if f.Pool != "" {
		q.Set("pool", f.Pool)
	}
	if f.Local {
		q.Set("local", "true")
	}
	return q
}

// parseXlateFilter reads what query writes, and the limit (0 = none).
func parseXlateFilter(q url.Values) (f XlateFilter, limit int, err error) {
	limit, err = parseQuery(q, parameters+", pool, local", func(name, text string) (bool, error) {
		switch name {
		case "pool":
			f.Pool = text
		case "local":
			if f.Local = text == "true"; !f.Local && text != "false" {
				return true, fmt.Errorf("local %q is not true or false", text)
			}
		default:
			return f.set(name, text)
		}
		return true, nil
	})
	return f, limit, err
}
