// Package behaviour holds the tests that look at translation from outside, as
// the RFCs that say what a NAT must do look at it (4787, 5382, 5508, 5780): a
// client behind the cluster and a server in front of it compare what they see.
//
// Nothing asks a node what it thinks it did, except counters: which address and
// port a connection has is told by the server, which of several hosts a packet
// is from by the host that gets it.
package behaviour
