package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"strings"
	"syscall"
	"time"
)

// options of a run.
type options struct {
	image, modules, release string
	arguments               []string // of every test
	accel                   string
	limit                   time.Duration
	packages                []string
	verbose                 bool
}

func main() {
	var o options
	run, short := "", false
	flag.StringVar(&o.image, "image", "", "kernel `file` to boot")
	flag.StringVar(&o.modules, "modules", "", "its modules: .../lib/modules/RELEASE/kernel")
	flag.StringVar(&o.release, "release", "", "what the kernel's release must begin with")
	flag.StringVar(&o.accel, "accel", "tcg", "of qemu: tcg runs everywhere, kvm is fast where it works")
	flag.DurationVar(&o.limit, "limit", 15*time.Minute, "the machine is stopped after this time")
	flag.StringVar(&run, "run", "", "only tests that match this `regexp`")
	flag.BoolVar(&short, "short", false, "pass -test.short on")
	flag.BoolVar(&o.verbose, "v", false, "copy the console")
	flag.Parse()
	o.packages = flag.Args()
	o.arguments = []string{"-test.v", "-test.timeout=" + o.limit.String()}
	if run != "" {
		o.arguments = append(o.arguments, "-test.run="+run)
	}
	if short {
		o.arguments = append(o.arguments, "-test.short")
	}
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	if err := o.run(ctx); err != nil {
		fmt.Fprintln(os.Stderr, err)
		stop()
		os.Exit(1)
	}
}

// run builds, boots and judges.
func (o *options) run(ctx context.Context) error {
	dir, err := os.MkdirTemp("", "cohort-kernel-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(dir)
	names, err := o.build(ctx, dir)
	if err != nil {
		return err
	}
	initrd := filepath.Join(dir, "initramfs")
	f, err := os.Create(initrd)
	if err != nil {
		return err
	}
	if err := errors.Join(pack(f, dir, o.modules, o.arguments), f.Close()); err != nil {
		return err
	}
	console, err := os.Create(filepath.Join(dir, "console"))
	if err != nil {
		return err
	}
	defer console.Close()
	var copy io.Writer = console
	if o.verbose {
		copy = io.MultiWriter(console, os.Stdout)
	}
	begin := time.Now()
	got, bootErr := o.boot(ctx, initrd, copy)
	for _, name := range names {
		if v := got.tests[name]; v != nil {
			fmt.Printf("%s: %s; %d tests passed, %d failed, skipped: %s\n", name, max(v.how, "did not end"), v.passed, v.failed, max(strings.Join(v.skipped, ", "), "none"))
		}
	}
	err = errors.Join(got.judge(o.release, names), bootErr)
	if err != nil && !o.verbose {
		if text, readErr := os.ReadFile(console.Name()); readErr == nil {
			os.Stdout.Write(text)
		}
	}
	fmt.Printf("kernel %s, %s, %v\n", got.release, o.accel, time.Since(begin).Round(100*time.Millisecond))
	return err
}

// build makes init and the tests below dir, and returns the tests' names.
func (o *options) build(ctx context.Context, dir string) (names []string, err error) {
	if err := static(ctx, "build", "-buildvcs=false", "-o", filepath.Join(dir, "init"), "cohort/testenv/kernel/init"); err != nil {
		return nil, err
	}
	for _, pkg := range o.packages {
		name := strings.ReplaceAll(pkg, "/", ".")
		if err := static(ctx, "test", "-c", "-o", filepath.Join(dir, "tests", name), "cohort/"+pkg); err != nil {
			return nil, err
		}
		names = append(names, name)
	}
	if len(names) == 0 {
		return nil, errors.New("kernel: no package to test")
	}
	return names, nil
}

// static runs go without cgo: there is no libc in the machine.
func static(ctx context.Context, args ...string) error {
	cmd := exec.CommandContext(ctx, "go", args...)
	cmd.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("kernel: go %s: %w\n%s", strings.Join(args, " "), err, out)
	}
	return nil
}

// boot runs the machine until it powers off, and listens.
func (o *options) boot(ctx context.Context, initrd string, copy io.Writer) (outcome, error) {
	ctx, cancel := context.WithTimeout(ctx, o.limit)
	defer cancel()
	cmd := exec.CommandContext(ctx, "qemu-system-x86_64", "-machine", "pc,accel="+o.accel, "-cpu", "max", "-smp", "1", "-m", "1536",
		"-nodefaults", "-no-user-config", "-display", "none", "-no-reboot", "-serial", "stdio",
		"-kernel", o.image, "-initrd", initrd, "-append", "console=ttyS0 panic=-1 quiet loglevel=3")
	cmd.Stderr = os.Stderr
	console, err := cmd.StdoutPipe()
	if err != nil {
		return outcome{}, err
	}
	if err := cmd.Start(); err != nil {
		return outcome{}, fmt.Errorf("kernel: %w", err)
	}
	got := listen(console, copy)
	err = cmd.Wait()
	if ctx.Err() != nil {
		err = fmt.Errorf("kernel: stopped after %v: %w", o.limit, ctx.Err())
	}
	return got, err
}
