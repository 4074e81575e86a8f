// Package lab keeps a topology running for a person, beyond the command that
// built it.
//
// Up starts a keeper, a detached process that runs Keep: it owns the
// namespaces, runs the routers' trackers and is the parent of the daemons, so
// that they end with it. What others need to know stands in the state file of
// the lab (Dir/NAME/state.json). Down asks the keeper to end, kills it if it
// does not, and removes what a crashed keeper left.
package lab
