package netns

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"sync"

	"github.com/vishvananda/netlink"
	vnetns "github.com/vishvananda/netns"
	"golang.org/x/sys/unix"
)

// Dir is where named namespaces are mounted; the same as iproute2's.
const Dir = "/run/netns"

// ErrClosed is returned by everything that needs the namespace after Close.
var ErrClosed = errors.New("namespace is closed")

// Namespace is one named network namespace. All methods may be called
// concurrently.
type Namespace struct {
	name   string
	handle vnetns.NsHandle
	nl     *netlink.Handle
	tasks  chan task
	quit   chan struct{}
	gone   chan struct{} // closed when the thread has ended
	close  sync.Once

	mu    sync.Mutex // guards procs
	procs map[int]*Process
}

type task struct {
	f    func() error
	done chan error
}

// New makes a namespace with loopback up. The name should come from Tag.Name,
// or Sweep will not find it after a crash. An existing name is an error.
func New(name string) (*Namespace, error) {
	if err := prepareDir(); err != nil {
		return nil, fmt.Errorf("namespace %s: %w", name, err)
	}
	n := &Namespace{
		name:  name,
		tasks: make(chan task),
		quit:  make(chan struct{}),
		gone:  make(chan struct{}),
		procs: make(map[int]*Process),
	}
	born := make(chan error)
	go n.live(born)
	if err := <-born; err != nil {
		return nil, fmt.Errorf("namespace %s: %w", name, err)
	}
	if err := n.prepare(); err != nil {
		n.Close()
		return nil, fmt.Errorf("namespace %s: %w", name, err)
	}
	return n, nil
}

// prepareDir makes Dir a shared mount of its own, as the first `ip netns add` of a machine
// does. Would that come later, it would cover the names that are mounted there by then:
// an unmount takes away the copy above, and the file is busy for ever.
func prepareDir() error {
	if err := os.MkdirAll(Dir, 0o755); err != nil {
		return err
	}
	d, err := os.Open(Dir)
	if err != nil {
		return err
	}
	defer d.Close()
	if err := unix.Flock(int(d.Fd()), unix.LOCK_EX); err != nil { // one process at a time, or the second covers the first's
		return fmt.Errorf("lock %s: %w", Dir, err)
	}
	share := func() error { return unix.Mount("", Dir, "none", unix.MS_SHARED|unix.MS_REC, "") }
	if err := share(); !errors.Is(err, unix.EINVAL) { // EINVAL: it is no mount yet
		return err
	}
	if err := unix.Mount(Dir, Dir, "none", unix.MS_BIND|unix.MS_REC, ""); err != nil {
		return fmt.Errorf("mount %s: %w", Dir, err)
	}
	return share()
}

// live is the thread of the namespace: born in a new one, it runs tasks until
// Close. It is never unlocked, so the runtime ends the thread with it.
func (n *Namespace) live(born chan<- error) {
	defer close(n.gone)
	runtime.LockOSThread()
	if err := n.unshare(); err != nil {
		born <- err
		return
	}
	born <- nil
	for {
		select {
		case t := <-n.tasks:
			t.done <- t.f()
		case <-n.quit:
			return
		}
	}
}

// unshare moves the calling thread into a new namespace and mounts it by name.
func (n *Namespace) unshare() error {
	f, err := os.OpenFile(n.Path(), os.O_CREATE|os.O_EXCL|os.O_RDONLY, 0o444)
	if err != nil {
		return err
	}
	f.Close()
	if err := unix.Unshare(unix.CLONE_NEWNET); err != nil {
		os.Remove(n.Path())
		return fmt.Errorf("unshare: %w", err)
	}
	self := fmt.Sprintf("/proc/self/task/%d/ns/net", unix.Gettid())
	if err := unix.Mount(self, n.Path(), "", unix.MS_BIND, ""); err != nil {
		os.Remove(n.Path())
		return fmt.Errorf("mount: %w", err)
	}
	n.handle, err = vnetns.GetFromPath(n.Path())
	if err != nil {
		remove(n.name)
	}
	return err
}

func (n *Namespace) prepare() (err error) {
	if n.nl, err = netlink.NewHandleAt(n.handle, unix.NETLINK_ROUTE); err != nil {
		return fmt.Errorf("netlink: %w", err)
	}
	lo, err := n.nl.LinkByName("lo")
	if err != nil {
		return fmt.Errorf("loopback: %w", err)
	}
	return n.nl.LinkSetUp(lo)
}

// Name returns the name, as `ip netns` lists it.
func (n *Namespace) Name() string { return n.name }

// Path returns the file that holds the namespace.
func (n *Namespace) Path() string { return filepath.Join(Dir, n.name) }

// FD returns a descriptor of the namespace, for netlink.NsFd. It stays valid
// until Close.
func (n *Namespace) FD() int { return int(n.handle) }

// Netlink returns a handle whose requests act inside the namespace, whatever
// thread calls it.
func (n *Namespace) Netlink() *netlink.Handle { return n.nl }

// Do runs f on the thread of the namespace and returns its error. Calls are
// served one after the other: f must be short and must not call Do.
func (n *Namespace) Do(f func() error) error {
	t := task{f: f, done: make(chan error, 1)}
	select {
	case n.tasks <- t:
		return <-t.done
	case <-n.quit:
		return fmt.Errorf("namespace %s: %w", n.name, ErrClosed)
	}
}

// Sysctl writes one value, for example ("net/ipv4/ip_forward", "1").
func (n *Namespace) Sysctl(key, value string) error {
	return n.Do(func() error {
		if err := os.WriteFile(filepath.Join("/proc/sys", key), []byte(value), 0o644); err != nil {
			return fmt.Errorf("namespace %s: sysctl %s = %s: %w", n.name, key, value, err)
		}
		return nil
	})
}

// Close kills the processes inside, waits for those it started, and removes
// the namespace with its links. Idempotent.
func (n *Namespace) Close() error {
	var err error
	n.close.Do(func() {
		err = n.Kill()
		close(n.quit)
		<-n.gone
		if n.nl != nil {
			n.nl.Close()
		}
		err = errors.Join(err, n.handle.Close(), remove(n.name))
	})
	return err
}

// remove unmounts a name and deletes its file. The kernel destroys the
// namespace when its last socket and process are gone.
func remove(name string) error {
	path := filepath.Join(Dir, name)
	// EINVAL: a file without a mount, left by a crash between the two.
	if err := unix.Unmount(path, unix.MNT_DETACH); err != nil &&
		!errors.Is(err, unix.EINVAL) && !errors.Is(err, unix.ENOENT) {
		return fmt.Errorf("namespace %s: unmount: %w", name, err)
	}
	if err := os.Remove(path); err != nil && !errors.Is(err, os.ErrNotExist) {
		return fmt.Errorf("namespace %s: %w", name, err)
	}
	return nil
}
