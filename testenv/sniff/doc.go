// Package sniff looks at packets on an interface of a namespace, as tcpdump
// does, and tells what translation must never do: give one tuple to two
// connections that live at the same time, or change the tuple of one that lives
// (NT4).
//
// It only looks. What it could not read in time it counts, and a proof by it is
// worth nothing unless that is zero.
package sniff
