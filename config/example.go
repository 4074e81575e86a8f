package config

import _ "embed"

// ExampleNode is a complete bootstrap file with every field.
//
//go:embed example/node.yaml
var ExampleNode string

// ExampleCluster is a complete cluster configuration with every field.
//
//go:embed example/cluster.yaml
var ExampleCluster string
