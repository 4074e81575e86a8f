// Package translate joins what NAT is made of on one node: the rules (what is
// translated, by which pool), this node's ports (which of them are free) and
// the units (which of them this node may use, and where everybody looks for
// their connections). The role logic in cluster/ownership asks it through one
// interface and knows none of the three.
//
// It is pure: time and randomness come from outside, everything runs on the
// node's goroutine.
package translate
