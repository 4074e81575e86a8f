package topology

import (
	"fmt"
	"unsafe"

	"golang.org/x/sys/unix"

	"cohort/testenv/netns"
)

// feature is one switch of `ethtool -K`, with its ioctl.
type feature uint32

const (
	txChecksum   = feature(unix.ETHTOOL_STXCSUM)
	segmentation = feature(unix.ETHTOOL_STSO)
	softSegments = feature(unix.ETHTOOL_SGSO)
	receiveMerge = feature(unix.ETHTOOL_SGRO)
)

// plainSender makes an interface send finished packets of at most its MTU, as
// a wire would carry them: XDP at the other end would lose a checksum that is
// left to the hardware, and redirect a packet too large for any link.
func plainSender(n *netns.Namespace, iface string) error {
	for _, f := range []feature{softSegments, segmentation, txChecksum} {
		if err := setFeature(n, iface, f, false); err != nil {
			return err
		}
	}
	return nil
}

// takesRedirects makes a veth interface poll its ring, without which frames
// that its peer's XDP program redirects or transmits are silently lost.
func takesRedirects(n *netns.Namespace, iface string) error {
	return setFeature(n, iface, receiveMerge, true)
}

// setFeature is one SIOCETHTOOL ioctl on the thread of the namespace.
func setFeature(n *netns.Namespace, iface string, f feature, on bool) error {
	value := struct{ cmd, data uint32 }{cmd: uint32(f)}
	if on {
		value.data = 1
	}
	var request struct {
		name [unix.IFNAMSIZ]byte
		data unsafe.Pointer
		_    [16]byte // the rest of struct ifreq's union
	}
	copy(request.name[:unix.IFNAMSIZ-1], iface)
	request.data = unsafe.Pointer(&value)
	err := n.Do(func() error {
		fd, err := unix.Socket(unix.AF_INET, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
		if err != nil {
			return err
		}
		defer unix.Close(fd)
		_, _, errno := unix.Syscall(unix.SYS_IOCTL, uintptr(fd), unix.SIOCETHTOOL, uintptr(unsafe.Pointer(&request)))
		if errno != 0 {
			return errno
		}
		return nil
	})
	if err != nil {
		return fmt.Errorf("interface %s of %s: feature %#x: %w", iface, n.Name(), uint32(f), err)
	}
	return nil
}
