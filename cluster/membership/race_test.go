//go:build race

package membership

const defaultSeeds = 400 // no goroutines here, and ten times slower
