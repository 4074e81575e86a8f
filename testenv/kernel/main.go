package main

import (
	"bytes"
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
	packages                []pkg
	verbose                 bool
	page, command           string
}

func main() {
	var o options
	run, short, sliced := "", false, false
	flag.StringVar(&o.image, "image", "", "kernel `file` to boot")
	flag.StringVar(&o.modules, "modules", "", "its modules: .../lib/modules/RELEASE/kernel")
	flag.StringVar(&o.release, "release", "", "what the kernel's release must begin with")
	flag.StringVar(&o.accel, "accel", "auto", "of qemu: tcg runs everywhere, kvm is fast where it works, auto takes kvm if a kernel comes up with it")
	flag.DurationVar(&o.limit, "limit", 15*time.Minute, "the machine is stopped after this time")
	flag.StringVar(&run, "run", "", "only tests that match this `regexp`")
	flag.BoolVar(&short, "short", false, "pass -test.short on")
	flag.BoolVar(&sliced, "slice", false, "the short choice of packages and tests that make test takes")
	flag.BoolVar(&o.verbose, "v", false, "copy the console")
	flag.StringVar(&o.page, "page", "", "write the results of a run that passes to this Markdown `file`")
	flag.StringVar(&o.command, "command", "", "what the page says of how to repeat the run")
	flag.Parse()
	o.packages = packages(flag.Args())
	if sliced {
		o.packages = slice()
		run = pattern(o.packages)
	}
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
	if err := o.build(ctx, dir); err != nil {
		return err
	}
	m := machine{image: o.image, initrd: filepath.Join(dir, "initramfs"), accel: o.accel, limit: o.limit}
	f, err := os.Create(m.initrd)
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
	m.console = console
	if o.verbose {
		m.console = io.MultiWriter(console, os.Stdout)
	}
	begin := time.Now()
	got, err := m.run(ctx)
	err = errors.Join(got.judge(o.release, o.packages), err)
	if err != nil && !o.verbose {
		if text, readErr := os.ReadFile(console.Name()); readErr == nil {
			os.Stdout.Write(text)
		}
	}
	got.summary(os.Stdout, o.packages)
	took := time.Since(begin)
	fmt.Printf("kernel %s, %s, %v\n", got.release, m.accel, took.Round(100*time.Millisecond))
	if err != nil || o.page == "" {
		return err
	}
	var b bytes.Buffer
	got.page(&b, o.packages, o.command, m.accel, processors, took, time.Now())
	return os.WriteFile(o.page, b.Bytes(), 0o644)
}

// build makes init and the tests below dir.
func (o *options) build(ctx context.Context, dir string) error {
	if len(o.packages) == 0 {
		return errors.New("kernel: no package to test")
	}
	if err := static(ctx, "build", "-buildvcs=false", "-o", filepath.Join(dir, "init"), "cohort/testenv/kernel/init"); err != nil {
		return err
	}
	for _, p := range o.packages {
		if err := static(ctx, "test", "-c", "-o", filepath.Join(dir, "tests", p.name), "cohort/"+p.path); err != nil {
			return err
		}
	}
	return nil
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
