package dataplane

import _ "unsafe" // for go:linkname

// Now reads the clock that leases and time stamps of XDP use: nanoseconds of
// CLOCK_MONOTONIC, which all processes of a machine share and which a restart
// of the daemon does not reset. Go's own clock is the same one, and is read
// without a system call.
func Now() int64 { return nanotime() }

//go:linkname nanotime runtime.nanotime
func nanotime() int64
