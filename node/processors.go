package node

import "runtime"

// Processors makes Go use two processors at least, also where the process may run on
// one CPU only. With one, Go's monitor takes it away from the loop 20 us into every
// sleep, for others that may want to run, and wakes two threads for that; with a second
// one it leaves the loop alone. Call it once, where the process is a node's daemon: Go
// does not follow changes of the number of CPUs from then on.
func Processors() { runtime.GOMAXPROCS(max(2, runtime.GOMAXPROCS(0))) }
