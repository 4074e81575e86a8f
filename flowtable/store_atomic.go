//go:build !amd64 || race

package flowtable

import "sync/atomic"

// put64 stores a word that readers ignore until a later atomic store; see
// store_plain.go. The race detector has to be told.
func put64(p *uint64, v uint64) { atomic.StoreUint64(p, v) }
