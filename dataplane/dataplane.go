package dataplane

import (
	"crypto/rand"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"

	"cohort/flowtable"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/rlimit"
	"github.com/vishvananda/netlink"
)

// Dataplane is the loaded programs of one node, attached, with their memory.
type Dataplane struct {
	cfg      Config
	maps     mapSet
	memory   *memory
	grace    *Grace
	programs []*ebpf.Program
	attached []*attachment
	ccl      netlink.Link
	cclMTU   int            // as SetCCLMTU says
	outer    outer          // of data frames
	devices  []netlink.Link // of cfg.Interfaces, by position
	adopted  bool
	rebuilt  string
	closed   bool
}

// Open loads the programs, adopts what an earlier daemon pinned or makes it
// anew, and attaches. Either all of it succeeds or nothing remains: links that
// were adopted run their old programs again, and what was made is removed.
//
// After a fresh start the lease is 0 and the view is fenced: nothing passes
// until RenewLease and SetView. After adoption both are as they were.
func Open(cfg Config) (*Dataplane, error) {
	if err := cfg.check(); err != nil {
		return nil, err
	}
	_ = rlimit.RemoveMemlock() // kernels since 5.11 charge the cgroup instead
	d := &Dataplane{cfg: cfg, outer: outerOf(cfg.VTEP)}
	if err := d.open(); err != nil {
		d.undo()
		return nil, err
	}
	for _, a := range d.attached {
		a.commit()
	}
	d.grace = newGrace(waitForPrograms)
	return d, nil
}

func (d *Dataplane) open() error {
	if err := d.findDevices(); err != nil {
		return err
	}
	specs, err := programSpecs(&d.cfg)
	if err != nil {
		return err
	}
	if d.cfg.PinDir != "" {
		if err := makePinDir(d.cfg.PinDir); err != nil {
			return err
		}
	}
	if err := d.openMaps(specs.maps()); err != nil {
		return err
	}
	if err := d.attachAll(specs); err != nil {
		return err
	}
	if err := d.describe(); err != nil {
		return err
	}
	if d.cfg.PinDir != "" {
		if !d.adopted {
			if err := d.maps.pin(d.cfg.PinDir); err != nil {
				return err
			}
		}
		return d.dropStrayLinks()
	}
	return nil
}

func (d *Dataplane) findDevices() error {
	var err error
	if d.ccl, err = netlink.LinkByName(d.cfg.CCL); err != nil {
		return fmt.Errorf("dataplane: CCL device %q: %w", d.cfg.CCL, err)
	}
	d.cclMTU = d.ccl.Attrs().MTU
	for _, i := range d.cfg.Interfaces {
		l, err := netlink.LinkByName(i.Device)
		if err != nil {
			return fmt.Errorf("dataplane: interface %q: device %q: %w", i.Name, i.Device, err)
		}
		d.devices = append(d.devices, l)
	}
	return nil
}

// openMaps adopts the pinned maps or makes new ones. New ones are pinned at
// the very end, so that a failed Open leaves the old ones in place.
func (d *Dataplane) openMaps(specs map[string]*ebpf.MapSpec) error {
	if d.cfg.PinDir != "" {
		err := d.adoptMaps(specs)
		if err == nil {
			return nil
		}
		if !errors.Is(err, errUnusable) {
			return err
		}
		if !errors.Is(err, errNothingPinned) {
			d.rebuilt = err.Error()
		}
	}
	var err error
	if d.maps, err = createMaps(specs); err != nil {
		return err
	}
	if d.memory, err = mapMemory(d.maps); err != nil {
		return err
	}
	c := d.memory.control
	c.Layout = flowtable.LayoutVersion
	c.IndexMask = uint32(len(d.memory.table.Index) - 1)
	c.FlowSlots = uint32(len(d.memory.table.Flows))
	c.ForwardSlots = uint32(len(d.memory.table.Forwards))
	c.HashSeed, err = flowtable.NewSeed(rand.Reader)
	if err != nil {
		return fmt.Errorf("dataplane: hash seed: %w", err)
	}
	return nil
}

func (d *Dataplane) adoptMaps(specs map[string]*ebpf.MapSpec) error {
	maps, err := adoptMaps(d.cfg.PinDir, specs)
	if err != nil {
		return err
	}
	mem, err := mapMemory(maps)
	if err != nil {
		maps.close()
		return err
	}
	if c := mem.control; c.Layout != flowtable.LayoutVersion {
		err := fmt.Errorf("%w: layout version %d, this program has %d", errUnusable, c.Layout, flowtable.LayoutVersion)
		mem.unmap()
		maps.close()
		return err
	}
	d.maps, d.memory, d.adopted = maps, mem, true
	return nil
}

func (d *Dataplane) setFlags() {
	var flags uint8
	if !d.cfg.FastPath {
		flags |= ControlSlowOnly
	}
	d.memory.control.Flags = flags
}

// describe writes what the configuration says into the shared memory.
func (d *Dataplane) describe() error {
	c := d.memory.control
	c.CCLIfindex = uint32(d.ccl.Attrs().Index)
	c.CCLVTEP = d.cfg.VTEP.As16()
	copy(c.CCLMAC[:], d.ccl.Attrs().HardwareAddr)
	c.VNI = d.cfg.VNI
	d.setFlags()

	ids := make(map[uint32]uint32)
	present := make(map[uint8]bool)
	for n, i := range d.cfg.Interfaces {
		d.setIface(i.ID, d.devices[n].Attrs())
		ids[uint32(d.devices[n].Attrs().Index)] = uint32(i.ID)
		present[i.ID] = true
	}
	for id := range d.memory.ifaces {
		if !present[uint8(id)] {
			d.memory.ifaces[id] = Iface{}
		}
	}
	if err := setKeys(d.maps["ifindex_to_iface"], ids); err != nil {
		return fmt.Errorf("dataplane: interface ids: %w", err)
	}
	return nil
}

func (d *Dataplane) setIface(id uint8, a *netlink.LinkAttrs) {
	v := Iface{Ifindex: uint32(a.Index), MTU: uint16(min(a.MTU, 65535))}
	copy(v.MAC[:], a.HardwareAddr)
	d.memory.ifaces[id] = v
}

func (d *Dataplane) attachAll(specs *specs) error {
	for n, dev := range d.devices {
		data, err := specs.loadData(d.maps, d.cfg.Interfaces[n].ID)
		if err != nil {
			return err
		}
		d.programs = append(d.programs, data)
		if err := d.attachOne(data, dev); err != nil {
			return err
		}
	}
	ccl, err := specs.loadCCL(d.maps)
	if err != nil {
		return err
	}
	d.programs = append(d.programs, ccl)
	return d.attachOne(ccl, d.ccl)
}

func (d *Dataplane) attachOne(prog *ebpf.Program, dev netlink.Link) error {
	a, err := attach(prog, dev, d.cfg.Mode, d.cfg.PinDir)
	if err != nil {
		return err
	}
	d.attached = append(d.attached, a)
	return nil
}

// dropStrayLinks detaches pinned links of devices that are no longer
// configured.
func (d *Dataplane) dropStrayLinks() error {
	names, err := filepath.Glob(filepath.Join(d.cfg.PinDir, linkPin+"*"))
	if err != nil {
		return fmt.Errorf("dataplane: pinned links: %w", err)
	}
	wanted := make(map[string]bool)
	for _, a := range d.attached {
		wanted[a.Device] = true
	}
	for _, path := range names {
		if !wanted[strings.TrimPrefix(filepath.Base(path), linkPin)] {
			if err := detachPinned(path); err != nil {
				return fmt.Errorf("dataplane: detach %s: %w", filepath.Base(path), err)
			}
		}
	}
	return nil
}

// undo takes back a failed open, last step first.
func (d *Dataplane) undo() {
	for i := len(d.attached) - 1; i >= 0; i-- {
		d.attached[i].undo()
	}
	d.attached = nil
	d.release()
}

func (d *Dataplane) release() {
	for _, p := range d.programs {
		_ = p.Close()
	}
	if d.memory != nil {
		d.memory.unmap()
	}
	d.maps.close()
	d.programs, d.maps = nil, nil
}

// Close lets go of everything. With keepPinned the programs stay attached and
// forward until the lease ends, for the next daemon to adopt; without, the
// node is fenced and everything is detached and unpinned. Idempotent. Memory
// must not be touched afterwards; close the IO first.
func (d *Dataplane) Close(keepPinned bool) error {
	if d.closed {
		return nil
	}
	d.closed = true
	d.grace.close()
	var errs []error
	if !keepPinned {
		atomic.StoreUint64(&d.memory.control.Lease, 0)
	}
	for _, a := range d.attached {
		if keepPinned {
			errs = append(errs, a.link.Close())
		} else {
			errs = append(errs, a.detach())
		}
	}
	if !keepPinned && d.cfg.PinDir != "" {
		errs = append(errs, unpinMaps(d.cfg.PinDir))
		_ = os.Remove(d.cfg.PinDir) // stays if it is a mount or holds foreign pins
	}
	d.release()
	return errors.Join(errs...)
}

// Adopted reports whether the maps of an earlier daemon were taken over with
// their contents.
func (d *Dataplane) Adopted() bool { return d.adopted }

// Rebuilt says why pinned maps were replaced by empty ones; "" if they were
// adopted or there were none.
func (d *Dataplane) Rebuilt() string { return d.rebuilt }

// Status returns the attachments: the data interfaces in the order of the
// configuration, then the CCL.
func (d *Dataplane) Status() []Attachment {
	all := make([]Attachment, 0, len(d.attached))
	for _, a := range d.attached {
		all = append(all, a.Attachment)
	}
	return all
}

// Table returns the memory of the flow table, valid until Close.
func (d *Dataplane) Table() flowtable.Memory { return d.memory.table }

// Grace tells when the programs that were running have ended, for the table's Watch.
// Valid until Close.
func (d *Dataplane) Grace() *Grace { return d.grace }

// HashSeed returns the seed of the table's hash.
func (d *Dataplane) HashSeed() [10]uint64 { return d.memory.control.HashSeed }

// NextHops returns the array of next hops for package fib, valid until Close.
func (d *Dataplane) NextHops() []NextHop { return d.memory.nextHops }

// Ifindex returns the kernel's index of a logical interface, 0 if there is
// none of this id.
func (d *Dataplane) Ifindex(id uint8) int {
	if int(id) >= len(d.memory.ifaces) {
		return 0
	}
	return int(d.memory.ifaces[id].Ifindex)
}
