package bpf

// The objects and bindings below are committed. `make generate` writes them
// anew, scripts/check-generated fails when that changes a byte.
//
// The prefix maps keep absolute paths out of the objects. `index` is a name of
// the C library that clang would otherwise reserve.

//go:generate go run ./internal/genreasons reasons.h reasons.go
//go:generate go run github.com/cilium/ebpf/cmd/bpf2go -target amd64 -type punt Data xdp_data.bpf.c -- -O2 -g -Wall -Werror -mcpu=v3 -fno-builtin-index -idirafter /usr/include/x86_64-linux-gnu
//go:generate go run github.com/cilium/ebpf/cmd/bpf2go -target amd64 -no-global-types Ccl xdp_ccl.bpf.c -- -O2 -g -Wall -Werror -mcpu=v3 -fno-builtin-index -idirafter /usr/include/x86_64-linux-gnu
