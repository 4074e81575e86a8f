// Package slowdisk makes a directory slow: whatever changes something in it
// takes as long as is asked for, as on a disk that is worn out, or shared with a backup.
//
// It is a file system in user space (FUSE) over the directory itself. A frozen or
// throttled block device would do the same, but whoever waits for such a one cannot
// be killed, which a test of kill -9 needs.
package slowdisk

import (
	"errors"
	"fmt"
	"os"
	"sync"
	"sync/atomic"
	"time"

	"github.com/hanwen/go-fuse/v2/fs"
	"github.com/hanwen/go-fuse/v2/fuse"
	"golang.org/x/sys/unix"
)

// Disk is a slow file system over a directory. All methods may be called
// concurrently.
type Disk struct {
	dir    string
	below  *os.File // the directory as it is below the mount
	server *fuse.Server
	delay  atomic.Int64 // of each change, in ns
	slow   atomic.Uint64
	close  sync.Once
	err    error // of Close
}

// Mount puts a Disk over a directory with what is in it. It is not slow yet. Who
// has files of the directory open has them as before.
func Mount(dir string) (*Disk, error) {
	d, err := mount(dir)
	if err != nil {
		return nil, fmt.Errorf("slow disk at %s: %w", dir, err)
	}
	return d, nil
}

func mount(dir string) (_ *Disk, err error) {
	d := &Disk{dir: dir}
	if d.below, err = os.Open(dir); err != nil {
		return nil, err
	}
	defer func() {
		if err != nil {
			err = errors.Join(err, d.below.Close())
		}
	}()
	// By descriptor: the path leads into the mount from now on.
	root, err := fs.NewLoopbackRoot(fmt.Sprintf("/proc/self/fd/%d", d.below.Fd()))
	if err != nil {
		return nil, err
	}
	raw := &delayed{fs.NewNodeFS(root, &fs.Options{}), d}
	d.server, err = fuse.NewServer(raw, dir, &fuse.MountOptions{DirectMountStrict: true, FsName: "cohort-slowdisk", Name: "cohort"})
	if err != nil {
		return nil, err
	}
	go d.server.Serve() // ends with the mount; Close waits for it
	if err := d.server.WaitMount(); err != nil {
		return nil, errors.Join(err, d.unmount())
	}
	return d, nil
}

// SetDelay lets each change from now on take so long: to make, flush, rename or
// remove a file, or to flush the directory. What is written goes to the cache at
// once, as on a real disk. Changes that wait already go on waiting.
func (d *Disk) SetDelay(delay time.Duration) { d.delay.Store(int64(delay)) }

// Slowed returns how many changes have been kept waiting.
func (d *Disk) Slowed() uint64 { return d.slow.Load() }

// Close takes the Disk off. What was written stays in the directory.
func (d *Disk) Close() error {
	d.close.Do(func() {
		if err := errors.Join(d.unmount(), d.below.Close()); err != nil {
			d.err = fmt.Errorf("slow disk at %s: %w", d.dir, err)
		}
	})
	return d.err
}

// unmount does so even if somebody has a file open, who keeps the server until it
// is closed.
func (d *Disk) unmount() error {
	d.SetDelay(0)
	err := unix.Unmount(d.dir, unix.MNT_DETACH)
	if errors.Is(err, unix.EINVAL) { // somebody else did
		err = nil
	}
	if err == nil {
		d.server.Wait()
	}
	return os.NewSyscallError("umount", err)
}

// delayed is a file system whose changes wait.
type delayed struct {
	fuse.RawFileSystem
	disk *Disk
}

// wait reports whether the caller still wants it: one that was killed does not.
func (d *delayed) wait(cancel <-chan struct{}) bool {
	delay := time.Duration(d.disk.delay.Load())
	if delay <= 0 {
		return true
	}
	d.disk.slow.Add(1)
	timer := time.NewTimer(delay)
	defer timer.Stop()
	select {
	case <-timer.C:
		return true
	case <-cancel:
		return false
	}
}

func (d *delayed) Create(cancel <-chan struct{}, in *fuse.CreateIn, name string, out *fuse.CreateOut) fuse.Status {
	if !d.wait(cancel) {
		return fuse.EINTR
	}
	return d.RawFileSystem.Create(cancel, in, name, out)
}

func (d *delayed) Fsync(cancel <-chan struct{}, in *fuse.FsyncIn) fuse.Status {
	if !d.wait(cancel) {
		return fuse.EINTR
	}
	return d.RawFileSystem.Fsync(cancel, in)
}

func (d *delayed) FsyncDir(cancel <-chan struct{}, _ *fuse.FsyncIn) fuse.Status {
	if !d.wait(cancel) {
		return fuse.EINTR
	}
	// The loopback has no answer, after which the kernel would not ask again. The
	// daemon's state_dir has no directories in it.
	return fuse.ToStatus(d.disk.below.Sync())
}

func (d *delayed) Rename(cancel <-chan struct{}, in *fuse.RenameIn, from, to string) fuse.Status {
	if !d.wait(cancel) {
		return fuse.EINTR
	}
	return d.RawFileSystem.Rename(cancel, in, from, to)
}

func (d *delayed) Unlink(cancel <-chan struct{}, header *fuse.InHeader, name string) fuse.Status {
	if !d.wait(cancel) {
		return fuse.EINTR
	}
	return d.RawFileSystem.Unlink(cancel, header, name)
}
