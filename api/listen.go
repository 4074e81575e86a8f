package api

import (
	"errors"
	"fmt"
	"io/fs"
	"net"
	"os"
	"path/filepath"
	"sync"
	"syscall"
)

// ErrInUse means that another daemon serves the socket.
var ErrInUse = errors.New("another cohortd serves it")

// Listen opens a unix socket that only its owner may use. A socket that a
// dead daemon left is replaced, one that answers is not (ErrInUse). Missing
// directories are made.
func Listen(path string) (net.Listener, error) {
	if c, err := net.Dial("unix", path); err == nil {
		c.Close()
		return nil, fmt.Errorf("listen on %s: %w", path, ErrInUse)
	} else if info, statErr := os.Lstat(path); statErr == nil && info.Mode().Type() != fs.ModeSocket {
		return nil, fmt.Errorf("listen on %s: the file exists and is not a socket", path)
	}
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		return nil, fmt.Errorf("listen on %s: %w", path, err)
	}
	// Bound under another name first: nobody can connect before the mode is set,
	// and the rename replaces what a dead daemon left.
	draft := fmt.Sprintf("%s.%d", path, os.Getpid())
	os.Remove(draft)
	l, err := net.ListenUnix("unix", &net.UnixAddr{Name: draft, Net: "unix"})
	if err != nil {
		return nil, fmt.Errorf("listen on %s: %w", path, err)
	}
	l.SetUnlinkOnClose(false)
	err = os.Chmod(draft, 0o600)
	if err == nil {
		err = os.Rename(draft, path)
	}
	if err != nil {
		l.Close()
		os.Remove(draft)
		return nil, fmt.Errorf("listen on %s: %w", path, err)
	}
	return &listener{UnixListener: l, path: path, inode: inode(path)}, nil
}

// listener removes its socket when it is closed, unless a successor has
// replaced it.
type listener struct {
	*net.UnixListener
	path  string
	inode uint64
	once  sync.Once
}

// Close stops listening. It may be called more than once.
func (l *listener) Close() error {
	var err error
	l.once.Do(func() {
		if l.inode != 0 && inode(l.path) == l.inode {
			os.Remove(l.path)
		}
		err = l.UnixListener.Close()
	})
	return err
}

func inode(path string) uint64 {
	var st syscall.Stat_t
	if syscall.Lstat(path, &st) != nil {
		return 0
	}
	return st.Ino
}
