package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"time"
)

const (
	// processors of the machine: two, because a test lets Go write a flow while
	// the program reads it.
	processors = 2
	// patience is how long kvm may take to bring a kernel up, which it does in
	// a second or two, before it counts as not working.
	patience = 20 * time.Second
)

// machine is a virtual machine that boots, runs its tests and powers off.
type machine struct {
	image, initrd string
	accel         string // run replaces auto by what it took
	limit         time.Duration
	console       io.Writer
}

// run boots the machine and returns what its console told. With auto, it takes
// kvm only if a kernel comes up with it: a nested kvm may offer itself, and then
// abort or hang. Tests that began are never run again.
func (m *machine) run(ctx context.Context) (outcome, error) {
	if m.accel != "auto" {
		return m.boot(ctx, m.limit)
	}
	m.accel = "kvm"
	if device, err := os.OpenFile("/dev/kvm", os.O_RDWR, 0); err == nil {
		device.Close()
		got, err := m.boot(ctx, patience)
		if got.release != "" || ctx.Err() != nil {
			return got, err
		}
		fmt.Fprintf(m.console, "kvm brought no kernel up (%v): tcg\n", err)
	}
	m.accel = "tcg"
	return m.boot(ctx, m.limit)
}

// boot runs qemu until the machine powers off, and listens. The machine is
// stopped if its kernel is not up after the time until, or after the limit.
func (m *machine) boot(ctx context.Context, until time.Duration) (outcome, error) {
	ctx, cancel := context.WithTimeout(ctx, m.limit)
	defer cancel()
	late := time.AfterFunc(until, cancel)
	defer late.Stop()
	cmd := exec.CommandContext(ctx, "qemu-system-x86_64", "-machine", "pc,accel="+m.accel, "-cpu", "max", "-smp", fmt.Sprint(processors), "-m", "1536",
		"-nodefaults", "-no-user-config", "-display", "none", "-no-reboot", "-serial", "stdio",
		"-kernel", m.image, "-initrd", m.initrd, "-append", "console=ttyS0 panic=-1 quiet loglevel=3")
	cmd.Stderr = m.console
	console, err := cmd.StdoutPipe()
	if err != nil {
		return outcome{}, err
	}
	if err := cmd.Start(); err != nil {
		return outcome{}, fmt.Errorf("kernel: %w", err)
	}
	got := listen(console, m.console, func() { late.Stop() })
	err = cmd.Wait()
	switch {
	case errors.Is(ctx.Err(), context.DeadlineExceeded):
		err = fmt.Errorf("kernel: stopped after %v: %w", m.limit, ctx.Err())
	case ctx.Err() != nil:
		err = fmt.Errorf("kernel: stopped: %w", ctx.Err())
	}
	return got, err
}
