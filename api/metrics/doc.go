// Package metrics shows a node to Prometheus (MG5). It asks an api.Provider at
// each scrape and keeps nothing; a scrape costs no walk over connections.
package metrics
