// Command init is the first and only process of the virtual machine that runs
// tests (see testenv/kernel). It prepares what tests expect of a machine, runs
// every program in /tests, says how each ended, and switches the power off.
package main

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"time"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

// mounts are what the kernel does not mount by itself, in this order.
var mounts = [][2]string{
	{"/proc", "proc"}, {"/sys", "sysfs"}, {"/dev", "devtmpfs"}, {"/sys/fs/bpf", "bpf"}, {"/tmp", "tmpfs"}, {"/run", "tmpfs"},
}

func main() {
	for _, m := range mounts {
		check(os.MkdirAll(m[0], 0o755))
		check(unix.Mount(m[1], m[0], m[1], 0, ""))
	}
	check(loadModules("/modules"))
	lo, err := netlink.LinkByName("lo")
	check(err)
	check(netlink.LinkSetUp(lo))
	var u unix.Utsname
	check(unix.Uname(&u))
	say("kernel %s", unix.ByteSliceToString(u.Release[:]))
	args, err := os.ReadFile("/arguments")
	check(err)
	tests, err := filepath.Glob("/tests/*")
	check(err)
	for _, test := range tests {
		say("begins %s", filepath.Base(test))
		cmd := exec.Command(test, strings.Split(strings.TrimSpace(string(args)), "\n")...)
		cmd.Dir, cmd.Stdout, cmd.Stderr = "/tmp", os.Stdout, os.Stdout
		begin := time.Now()
		if err := cmd.Run(); err != nil {
			say("failed %s after %v: %v", filepath.Base(test), time.Since(begin).Round(time.Millisecond), err)
		} else {
			say("passed %s in %v", filepath.Base(test), time.Since(begin).Round(time.Millisecond))
		}
	}
	powerOff()
}

// loadModules loads what the file order in dir lists.
func loadModules(dir string) error {
	order, err := os.ReadFile(filepath.Join(dir, "order"))
	if err != nil {
		return err
	}
	for _, name := range strings.Fields(string(order)) {
		f, err := os.Open(filepath.Join(dir, name))
		if err != nil {
			return err
		}
		err = unix.FinitModule(int(f.Fd()), "", 0)
		f.Close()
		if err != nil {
			return fmt.Errorf("module %s: %w", name, err)
		}
	}
	return nil
}

// say writes a line that the other end understands.
func say(format string, args ...any) { fmt.Printf("\nvm: "+format+"\n", args...) }

// check ends the machine when it cannot do what it is for.
func check(err error) {
	if err != nil {
		say("broken: %v", err)
		powerOff()
	}
}

func powerOff() {
	unix.Sync()
	_ = unix.Reboot(unix.LINUX_REBOOT_CMD_POWER_OFF)
	select {} // the first process must not end
}
