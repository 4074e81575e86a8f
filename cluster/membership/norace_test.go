//go:build !race

package membership

const defaultSeeds = 2000
