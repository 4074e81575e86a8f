// Package icmp sends ICMP echo requests from inside a namespace and matches
// the replies. It is small because raw sockets leave little to do: a Conn has
// one identifier, its caller counts the sequence numbers.
package icmp
