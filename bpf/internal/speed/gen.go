// Package speed holds the generator that the benchmarks of package bpf put in
// front of the programs they measure. Nothing in a node uses it.
package speed

//go:generate go run github.com/cilium/ebpf/cmd/bpf2go -target amd64 Speed speed.bpf.c -- -O2 -g -Wall -Werror -mcpu=v3 -fno-builtin-index -idirafter /usr/include/x86_64-linux-gnu
