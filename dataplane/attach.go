package dataplane

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/link"
	"github.com/vishvananda/netlink"
	"github.com/vishvananda/netlink/nl"
	"golang.org/x/sys/unix"
)

// errTaken tells what to do about a device that is in use.
var errTaken = errors.New("another XDP program holds the device: one of another node or cluster name that is still pinned (rm -r /sys/fs/bpf/cohort/NAME), or a foreign one (bpftool net list; ip link set dev DEVICE xdp off)")

// Attachment is the state of one device's XDP program.
type Attachment struct {
	Device  string
	Ifindex int
	Mode    Mode   // ModeNative or ModeGeneric
	Reason  string // why not native; empty otherwise
	Adopted bool   // the link was there before and its program was replaced
}

// attachment is one attached program and how to undo it.
type attachment struct {
	Attachment
	link link.Link
	pin  string        // path of the pinned link, or ""
	old  *ebpf.Program // what the adopted link ran before, until committed
}

// attach puts prog on a device: into the pinned link if there is one that
// still holds the device, else with a new link.
func attach(prog *ebpf.Program, dev netlink.Link, mode Mode, pinDir string) (*attachment, error) {
	a := &attachment{Attachment: Attachment{Device: dev.Attrs().Name, Ifindex: dev.Attrs().Index}}
	if pinDir != "" {
		a.pin = filepath.Join(pinDir, linkPin+a.Device)
		adopted, err := a.adopt(prog, mode)
		if err != nil || adopted {
			return a, err
		}
	}
	if err := a.create(prog, mode); err != nil {
		return nil, fmt.Errorf("dataplane: %s: %w", a.Device, err)
	}
	if a.pin != "" {
		if err := a.link.Pin(a.pin); err != nil {
			_ = a.link.Close()
			return nil, fmt.Errorf("dataplane: %s: pin link: %w", a.Device, err)
		}
	}
	return a, nil
}

// adopt reports whether the pinned link could be taken over. One that cannot
// is removed: its device is gone, or runs in another mode than wanted.
func (a *attachment) adopt(prog *ebpf.Program, mode Mode) (bool, error) {
	l, err := link.LoadPinnedLink(a.pin, nil)
	if errors.Is(err, os.ErrNotExist) {
		return false, nil
	}
	if err == nil {
		a.link = l
		if a.replace(prog, mode) {
			return true, nil
		}
		_ = release(l)
		a.link = nil
	}
	return false, unpin(a.pin)
}

func (a *attachment) replace(prog *ebpf.Program, mode Mode) bool {
	info, err := a.link.Info()
	if err != nil || info.XDP() == nil || int(info.XDP().Ifindex) != a.Ifindex {
		return false
	}
	a.Mode = runningMode(a.Ifindex)
	if mode != ModeAuto && mode != a.Mode {
		return false
	}
	if a.old, err = ebpf.NewProgramFromID(info.Program); err != nil {
		return false
	}
	if err := a.link.Update(prog); err != nil {
		_ = a.old.Close()
		a.old = nil
		return false
	}
	a.Adopted = true
	if a.Mode == ModeGeneric {
		a.Reason = "adopted as it was"
	}
	return true
}

func runningMode(ifindex int) Mode {
	l, err := netlink.LinkByIndex(ifindex)
	if err == nil && l.Attrs().Xdp != nil && l.Attrs().Xdp.AttachMode == nl.XDP_ATTACHED_SKB {
		return ModeGeneric
	}
	return ModeNative
}

func (a *attachment) create(prog *ebpf.Program, mode Mode) error {
	var native error
	if mode != ModeGeneric {
		a.Mode = ModeNative
		a.link, native = attachXDP(prog, a.Ifindex, link.XDPDriverMode)
		if native == nil || mode == ModeNative {
			return native
		}
		a.Reason = native.Error()
	} else {
		a.Reason = "configured"
	}
	a.Mode = ModeGeneric
	var err error
	if a.link, err = attachXDP(prog, a.Ifindex, link.XDPGenericMode); err != nil {
		if errors.Is(err, errTaken) {
			return err
		}
		return errors.Join(native, err)
	}
	return nil
}

func attachXDP(prog *ebpf.Program, ifindex int, flags link.XDPAttachFlags) (link.Link, error) {
	l, err := link.AttachXDP(link.XDPOptions{Program: prog, Interface: ifindex, Flags: flags})
	if errors.Is(err, unix.EBUSY) || errors.Is(err, unix.EEXIST) {
		return nil, errTaken
	}
	if err != nil {
		return nil, fmt.Errorf("attach %s XDP: %w", map[bool]string{true: "generic", false: "native"}[flags == link.XDPGenericMode], err)
	}
	return l, nil
}

// commit forgets how to undo.
func (a *attachment) commit() {
	if a.old != nil {
		_ = a.old.Close()
		a.old = nil
	}
}

// undo restores what was before attach.
func (a *attachment) undo() {
	if a.old != nil {
		_ = a.link.Update(a.old)
		a.commit()
		_ = a.link.Close() // still pinned
		return
	}
	_ = a.detach()
}

// detach takes the program off the device.
func (a *attachment) detach() error {
	var errs []error
	if a.pin != "" {
		errs = append(errs, unpin(a.pin))
	}
	return errors.Join(append(errs, release(a.link))...)
}

// release detaches at once: the kernel lets go of the reference of a pin only
// some time after its removal, and until then the device would be taken.
func release(l link.Link) error {
	err := l.Detach()
	if errors.Is(err, unix.ENOLINK) || errors.Is(err, unix.EINVAL) {
		err = nil // the device is gone
	}
	return errors.Join(err, l.Close())
}

// detachPinned detaches the link pinned at path and removes the pin.
func detachPinned(path string) error {
	l, err := link.LoadPinnedLink(path, nil)
	if err != nil {
		return unpin(path) // not a link of this kernel: only the name is in the way
	}
	return errors.Join(release(l), unpin(path))
}
