package topology

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"golang.org/x/sys/unix"

	"cohort/testenv/netns"
)

// ballast is the file that takes all the room of a full disk.
const ballast = "ballast"

// stateDir is the daemon's state_dir.
func (n *Node) stateDir() string { return filepath.Join(n.Dir, "state") }

// FillDisk puts a small disk of its own below the daemon's state directory, with
// what is there, and leaves no room on it: every write fails (ENOSPC). It stays
// until Close or PowerOn, which bring back what was there before.
func (n *Node) FillDisk() error {
	n.change.Lock()
	defer n.change.Unlock()
	if err := n.mountDisk(); err != nil {
		return fmt.Errorf("node %s: disk: %w", n.Name, err)
	}
	full, err := os.Create(filepath.Join(n.stateDir(), ballast))
	if err != nil {
		return fmt.Errorf("node %s: disk: %w", n.Name, err)
	}
	defer full.Close()
	for page := make([]byte, 4096); err == nil; {
		_, err = full.Write(page)
	}
	if !errors.Is(err, unix.ENOSPC) {
		return fmt.Errorf("node %s: disk: %w", n.Name, err)
	}
	return nil
}

// FreeDisk makes room on the disk that FillDisk filled.
func (n *Node) FreeDisk() error {
	if err := os.Remove(filepath.Join(n.stateDir(), ballast)); err != nil {
		return fmt.Errorf("node %s: disk: %w", n.Name, err)
	}
	return nil
}

// mountDisk mounts a tmpfs with the state directory's files, unless there is
// one; change is held.
func (n *Node) mountDisk() error {
	dir := n.stateDir()
	if m, err := mountsBelow(n.Dir); err != nil || len(m) > 0 {
		return err
	}
	entries, err := os.ReadDir(dir)
	if err != nil {
		return err
	}
	files := map[string][]byte{}
	for _, e := range entries {
		if !e.Type().IsRegular() {
			continue
		}
		if files[e.Name()], err = os.ReadFile(filepath.Join(dir, e.Name())); err != nil {
			return err
		}
	}
	if err := unix.Mount("cohort-disk", dir, "tmpfs", 0, "size=256k"); err != nil {
		return os.NewSyscallError("mount", err)
	}
	for name, content := range files {
		if err := os.WriteFile(filepath.Join(dir, name), content, 0o600); err != nil {
			return err
		}
	}
	return nil
}

// sweepDisks unmounts what topologies left whose maker is dead.
func sweepDisks() error {
	mounts, err := mountsBelow(os.TempDir())
	errs := []error{err}
	for _, m := range mounts {
		top, _, _ := strings.Cut(strings.TrimPrefix(m, os.TempDir()+"/"), "/")
		if tag, ok := netns.ParseTag(top); ok && !tag.Alive() {
			errs = append(errs, unix.Unmount(m, unix.MNT_DETACH))
		}
	}
	return errors.Join(errs...)
}

// mountsBelow lists the mount points below a directory.
func mountsBelow(dir string) (points []string, err error) {
	mounts, err := os.ReadFile("/proc/self/mounts")
	if err != nil {
		return nil, err
	}
	for line := range strings.Lines(string(mounts)) {
		if f := strings.Fields(line); len(f) > 1 && strings.HasPrefix(f[1], dir+"/") {
			points = append(points, f[1])
		}
	}
	return points, nil
}
