// Package config reads the two files of a node: the bootstrap file (node.yaml,
// one per node) and the cluster configuration (one for all).
//
// Reading is strict. A field nobody knows, a value outside its range, two
// things that cannot both hold: each gives one line that names the file, the
// line, what is wrong and what would be right. All mistakes of a file are
// reported together, and nothing is returned unless there is none, so nothing
// can be half applied.
//
// What is returned is complete: defaults are filled in, ranges expanded, lists
// sorted. It is not changed afterwards and may be shared between goroutines.
// ParseNode and ParseCluster touch no file and no network; LoadNode,
// LoadCluster and LoadKeys read files and nothing else.
package config
