// Package cohort is the root of the module and holds no code. Its test states
// which package may import which, and what the pure packages must not touch;
// docs/ and each package's doc.go say what they are for.
package cohort
