// Package traffic makes and counts the packets of the benchmarks: small packets
// of very many connections, chosen at random for each packet, so that tables
// are met as cold as traffic finds them.
//
// A Source has two uses. Send puts live frames on an interface, from where they
// go through whatever stands behind it; everything that happens to them on the
// way happens on the calling CPU. Repeat runs one XDP program over and over and
// leaves the interfaces alone.
//
// A Sink counts and drops what arrives at the far end.
package traffic
