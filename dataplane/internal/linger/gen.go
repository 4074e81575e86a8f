// Package linger holds a program for a test of package dataplane: one that takes its
// time. Nothing in a node uses it.
package linger

//go:generate go run github.com/cilium/ebpf/cmd/bpf2go -target amd64 Linger linger.bpf.c -- -O2 -g -Wall -Werror -mcpu=v3 -idirafter /usr/include/x86_64-linux-gnu
