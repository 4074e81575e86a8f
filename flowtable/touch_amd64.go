package flowtable

import "unsafe"

// touch begins to load the cache line of p and does not wait for it.
//
//go:noescape
func touch(p unsafe.Pointer)
