package dataplane

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"golang.org/x/sys/unix"
)

// bpffsRoot is where distributions mount bpffs.
const bpffsRoot = "/sys/fs/bpf"

// makePinDir makes dir on a bpffs. Where there is none it mounts one: at
// bpffsRoot for directories below it, at dir itself otherwise.
func makePinDir(dir string) error {
	root := dir
	if strings.HasPrefix(filepath.Clean(dir)+"/", bpffsRoot+"/") {
		root = bpffsRoot
	} else if on, err := onBPFFS(filepath.Dir(dir)); err == nil && on {
		root = filepath.Dir(dir)
	} else if err := os.MkdirAll(dir, 0o700); err != nil {
		return fmt.Errorf("dataplane: pin directory: %w", err)
	}
	if err := mountBPFFS(root); err != nil {
		return err
	}
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return fmt.Errorf("dataplane: pin directory: %w", err)
	}
	return nil
}

// mountBPFFS mounts a bpffs at root unless there is one. The lock keeps two
// daemons that start together from covering each other's pins.
func mountBPFFS(root string) error {
	f, err := os.Open(root)
	if err != nil {
		return fmt.Errorf("dataplane: bpffs: %w", err)
	}
	defer f.Close()
	if err := unix.Flock(int(f.Fd()), unix.LOCK_EX); err != nil {
		return fmt.Errorf("dataplane: lock %s: %w", root, err)
	}
	if on, err := onBPFFS(root); err != nil || on {
		return err
	}
	if err := unix.Mount("bpf", root, "bpf", unix.MS_NOSUID|unix.MS_NODEV|unix.MS_NOEXEC, "mode=0700"); err != nil {
		return fmt.Errorf("dataplane: mount bpffs at %s: %w", root, err)
	}
	return nil
}

func onBPFFS(path string) (bool, error) {
	var st unix.Statfs_t
	if err := unix.Statfs(path, &st); err != nil {
		if errors.Is(err, unix.ENOENT) {
			return false, nil
		}
		return false, fmt.Errorf("dataplane: statfs %s: %w", path, err)
	}
	return uint32(st.Type) == unix.BPF_FS_MAGIC, nil
}

// unpin removes a pin; one that is not there is fine.
func unpin(path string) error {
	if err := os.Remove(path); err != nil && !errors.Is(err, os.ErrNotExist) {
		return fmt.Errorf("dataplane: unpin: %w", err)
	}
	return nil
}
