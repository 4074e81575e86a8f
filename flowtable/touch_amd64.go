package flowtable

// touch begins to load the cache line of p and does not wait for it.
//
//go:noescape
func touch(p *uint64)
