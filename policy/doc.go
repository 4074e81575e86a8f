// Package policy decides whether a new connection may pass (TR2).
//
// Interfaces carry a trust level. Rules are tried in their order and the first
// that matches decides; when none does, traffic from a higher to a lower trust
// level is allowed and everything else is denied, also between equal levels.
//
// Compile turns zones and rules into an immutable Policy; Judge asks it once a
// connection. The package never looks at established connections, keeps no
// state, starts nothing, and knows neither files nor interface names: it gets
// its own input types, so that configuration, API and tests can all feed it.
//
// A lookup does not walk the rules: each field of the packet selects, by one
// binary search, the set of rules that it satisfies, and the sets are
// intersected 64 rules at a time (table.go).
package policy
