package flowtable

// touch begins to load the cache line of p and does not wait for it.
//
//go:noescape
func touch(p *uint64)

// touchByte is touch of what need not be whole words.
//
//go:noescape
func touchByte(p *uint8)
