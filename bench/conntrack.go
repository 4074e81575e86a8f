package main

import (
	"errors"
	"fmt"
	"os"
	"strconv"
	"strings"
)

// Limits of the kernel's connection tracking, for all namespaces together.
const (
	conntrackMax     = "/proc/sys/net/netfilter/nf_conntrack_max"
	conntrackBuckets = "/proc/sys/net/netfilter/nf_conntrack_buckets"
)

// conntrackRoom sees to it that the peer can track so many connections, with a
// bucket for each as an administrator would give it. What was raised is put back
// by restore.
func conntrackRoom(connections int) (restore func() error, err error) {
	var undo []func() error
	restore = func() error {
		var errs []error
		for _, u := range undo {
			errs = append(errs, u())
		}
		return errors.Join(errs...)
	}
	for _, name := range []string{conntrackBuckets, conntrackMax} {
		was, err := readNumber(name)
		if err == nil && was < connections {
			undo = append(undo, func() error { return writeNumber(name, was) })
			err = writeNumber(name, connections)
		}
		if err != nil {
			return nil, errors.Join(fmt.Errorf("room for %d connections in the peer: %w", connections, err), restore())
		}
	}
	return restore, nil
}

func readNumber(file string) (int, error) {
	b, err := os.ReadFile(file)
	if err != nil {
		return 0, err
	}
	return strconv.Atoi(strings.TrimSpace(string(b)))
}

func writeNumber(file string, n int) error {
	return os.WriteFile(file, []byte(strconv.Itoa(n)), 0o644)
}
