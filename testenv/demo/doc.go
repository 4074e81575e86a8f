// Package demo is the product's main job, seen working: a cluster of real
// daemons between two real routers, real programs through it, and a node
// powered off in the middle. Every step prints one line with its figure; one
// that does not hold ends the demo with an error.
package demo
