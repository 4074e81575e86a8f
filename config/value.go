package config

import (
	"fmt"
	"net/netip"
	"slices"
	"strconv"
	"strings"
	"time"

	"go.yaml.in/yaml/v3"
)

// value is a place in a file: a YAML node, the name it has in messages, and
// an example of what is right there. Its readers record what is wrong and
// return the zero value then.
type value struct {
	p       *problems
	n       *yaml.Node
	path    string
	example string
}

// wrong records a mistake at this place.
func (v value) wrong(format string, args ...any) {
	v.p.add(v.n.Line, v.path+" "+fmt.Sprintf(format, args...), "write "+v.example)
}

// describe names a node's kind for people.
func describe(n *yaml.Node) string {
	switch n.Kind {
	case yaml.MappingNode:
		return "a mapping"
	case yaml.SequenceNode:
		return "a list"
	case yaml.AliasNode:
		return "an alias"
	}
	return quote(n.Value)
}

// scalar returns the text of a single value; want names what it should be.
func (v value) scalar(want string) (string, bool) {
	switch {
	case v.n.Kind != yaml.ScalarNode:
		v.wrong("is %s, not %s", describe(v.n), want)
		return "", false
	case v.n.ShortTag() == "!!null" || v.n.Value == "":
		v.wrong("is empty")
		return "", false
	}
	return v.n.Value, true
}

// name reads an identifier: letters, digits, '-', '_' and '.', at most 31.
func (v value) name() string {
	s, ok := v.scalar("a name")
	if !ok {
		return ""
	}
	if !isName(s) {
		v.wrong("%s is not a name of at most 31 letters, digits, '-', '_' or '.'", quote(s))
		return ""
	}
	return s
}

func isName(s string) bool {
	return s != "" && len(s) <= 31 && s[0] != '-' && s[0] != '.' && strings.IndexFunc(s, func(r rune) bool {
		return !(r >= 'a' && r <= 'z' || r >= 'A' && r <= 'Z' || r >= '0' && r <= '9' || r == '-' || r == '_' || r == '.')
	}) < 0
}

// device reads the name of a network interface as Linux allows it.
func (v value) device() string {
	s, ok := v.scalar("an interface name")
	if !ok {
		return ""
	}
	if len(s) > 15 || s == "." || s == ".." || strings.ContainsFunc(s, func(r rune) bool { return r <= ' ' || r >= 0x7f || r == '/' || r == ':' }) {
		v.wrong("%s is not an interface name of at most 15 characters", quote(s))
		return ""
	}
	return s
}

// file reads a path; a relative one starts at the directory of the file.
func (v value) file(base string) string {
	s, ok := v.scalar("a path")
	if !ok {
		return ""
	}
	if strings.ContainsFunc(s, func(r rune) bool { return r < ' ' || r == 0x7f }) {
		v.wrong("%s contains a control character", quote(s))
		return ""
	}
	return absolute(base, s)
}

// number reads a whole number from low to high.
func (v value) number(low, high int) int {
	s, ok := v.scalar("a number")
	if !ok {
		return 0
	}
	n, err := strconv.Atoi(s)
	if err != nil {
		v.wrong("%s is not a whole number from %d to %d", quote(s), low, high)
		return 0
	}
	if n < low || n > high {
		v.wrong("%d is outside %d-%d", n, low, high)
		return 0
	}
	return n
}

// duration reads a time with its unit.
func (v value) duration(low, high time.Duration) time.Duration {
	s, ok := v.scalar("a time")
	if !ok {
		return 0
	}
	d, err := time.ParseDuration(s)
	if err != nil {
		// Who leaves the unit out means seconds, as nearly every other program does.
		if d, err := time.ParseDuration(s + "s"); err == nil && d >= low && d <= high {
			v.example = v.path[strings.LastIndexByte(v.path, '.')+1:] + ": " + s + "s"
		}
		v.wrong("%s is not a time with a unit (ms, s, m, h)", quote(s))
		return 0
	}
	if d < low || d > high {
		v.wrong("%s is outside %s to %s", quote(s), short(low), short(high))
		return 0
	}
	return d
}

// short prints a duration without trailing zero units: 3s, 2h, 300ms.
func short(d time.Duration) string {
	s := d.String()
	if strings.HasSuffix(s, "m0s") {
		s = strings.TrimSuffix(s, "0s")
	}
	if strings.HasSuffix(s, "h0m") {
		s = strings.TrimSuffix(s, "0m")
	}
	return s
}

// choice reads one of a few words.
func (v value) choice(words ...string) string {
	s, ok := v.scalar("a word")
	if !ok {
		return ""
	}
	if !slices.Contains(words, s) {
		v.wrong("%s is not one of %s", quote(s), strings.Join(words, ", "))
		return ""
	}
	return s
}

// parsed reads one value; want names what it should be.
func parsed[T any](v value, want string, parse func(string) (T, string)) (t T) {
	s, ok := v.scalar(want)
	if !ok {
		return t
	}
	t, problem := parse(s)
	if problem != "" {
		v.wrong("%s", problem)
	}
	return t
}

// address reads an IPv4 address.
func (v value) address() netip.Addr { return parsed(v, "an address", parseAddr) }

// hostPrefix reads an address of a host with the length of its network.
func (v value) hostPrefix() netip.Prefix { return parsed(v, "an address", parseHostPrefix) }

// addrRange reads "first-last" or a single address.
func (v value) addrRange() Range { return parsed(v, "an address range", parseRange) }

// each calls f for every element of a list, or for the value itself if it is
// not a list. The elements keep the list's example.
func (v value) each(f func(value)) {
	if v.n.Kind != yaml.SequenceNode {
		f(v)
		return
	}
	if len(v.n.Content) == 0 {
		v.wrong("is an empty list")
	}
	for _, item := range v.n.Content {
		f(value{v.p, item, v.path, v.example})
	}
}

// items returns the elements of what has to be a list.
func (v value) items() []value {
	if v.n.Kind != yaml.SequenceNode {
		v.wrong("is %s, not a list", describe(v.n))
		return nil
	}
	var out []value
	for i, item := range v.n.Content {
		out = append(out, value{v.p, item, fmt.Sprintf("%s[%d]", v.path, i+1), v.example})
	}
	return out
}

// field is one key that a mapping may have.
type field struct {
	name     string
	required bool
	example  string // "name: something right"
	read     func(value)
}

// fields reads a mapping with known keys.
func (v value) fields(known ...field) {
	names := make([]string, len(known))
	for i, f := range known {
		names[i] = f.name
	}
	seen := map[string]bool{}
	ok := v.pairs(func(key *yaml.Node, content value) {
		i := slices.Index(names, key.Value)
		if i < 0 {
			mend := "known here: " + strings.Join(names, ", ")
			if n := nearest(key.Value, names); n != "" {
				mend = fmt.Sprintf("did you mean %s?", n)
			}
			v.p.add(key.Line, "unknown field "+quote(v.under(key.Value)), mend)
			return
		}
		seen[key.Value] = true
		content.example = known[i].example
		known[i].read(content)
	})
	if !ok {
		return
	}
	for _, f := range known {
		if f.required && !seen[f.name] {
			v.p.add(v.n.Line, v.under(f.name)+" is missing", "add "+f.example)
		}
	}
}

// pairs calls f for every key of a mapping, in the order of the file. It
// refuses duplicate keys, and returns false when v is not a mapping.
func (v value) pairs(f func(key *yaml.Node, content value)) bool {
	if v.n.Kind != yaml.MappingNode {
		what := v.path
		if what == "" {
			what = "the file"
		}
		v.p.add(v.n.Line, fmt.Sprintf("%s is %s, not a mapping", what, describe(v.n)), "write "+v.example)
		return false
	}
	first := map[string]int{}
	for i := 0; i+1 < len(v.n.Content); i += 2 {
		key, content := v.n.Content[i], v.n.Content[i+1]
		if key.Kind != yaml.ScalarNode {
			v.p.add(key.Line, fmt.Sprintf("a field name in %s is %s", v.where(), describe(key)), "write name: value")
			continue
		}
		if line, twice := first[key.Value]; twice {
			v.p.add(key.Line, fmt.Sprintf("%s is written twice", quote(v.under(key.Value))), fmt.Sprintf("keep this or line %d", line))
			continue
		}
		first[key.Value] = key.Line
		if content.Kind == yaml.AliasNode {
			v.p.add(content.Line, quote(v.under(key.Value))+" is an alias", "write the value out")
			continue
		}
		f(key, value{v.p, content, v.under(key.Value), v.example})
	}
	return true
}

// under returns the name of a key of this mapping in messages.
func (v value) under(key string) string {
	if v.path == "" {
		return key
	}
	return v.path + "." + key
}

func (v value) where() string {
	if v.path == "" {
		return "the file"
	}
	return v.path
}
