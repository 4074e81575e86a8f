// Command cohort-lab builds clients, routers, nodes and servers in network
// namespaces of one machine, with a running cluster between them, and takes
// them down again:
//
//	cohort-lab up --nodes 4 --spray --ccl-ipv6
//	cohort-lab status
//	cohort-lab exec c1 -- ping 192.0.2.1
//	cohort-lab exec fw-b -- cohort show cluster info
//	cohort-lab down
//	cohort-lab demo
//
// The last builds a network of its own, plays the demo and removes it.
//
// See package testenv/topology for the network. Several labs may exist beside
// each other under different names (--lab).
package main
