//go:build amd64 && !race

package flowtable

// put64 stores a word that readers ignore until a later atomic store: of a line
// whose Seq is odd, or of a slot that no index entry leads to. On amd64 an
// aligned store is never torn and stores are seen in their order, so it costs a
// plain move and not a locked exchange, of which a new flow would need 16.
func put64(p *uint64, v uint64) { *p = v }
