// Package line is a bad cable for tests: a Line carries the frames between two
// interfaces and does to each direction what its Fault says. It loses, repeats,
// delays and reorders frames, swallows large ones, has a rate and a queue, and
// goes away altogether or now and then.
//
// The kernels that tests run on need not have netem or fq, and BPF cannot hold a
// packet back, so a Line is a relay of packet sockets. What happens to a frame is
// decided by a direction, which has no socket and no clock: the n-th frame of a
// direction meets the same fate in every run with the same seed and Fault.
package line
