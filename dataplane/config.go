package dataplane

import (
	"errors"
	"fmt"
	"net/netip"

	"cohort/flowtable"
)

// ErrConfig wraps every refusal of a configuration value.
var ErrConfig = errors.New("dataplane: bad configuration")

// Mode says where XDP programs run.
type Mode uint8

// Modes of attachment.
const (
	ModeAuto    Mode = iota // native, or generic where the driver cannot
	ModeNative              // in the driver
	ModeGeneric             // in the stack, after an skb was made: slower
)

func (m Mode) String() string {
	return [...]string{"auto", "native", "generic"}[m%3]
}

// Interface is one data interface.
type Interface struct {
	ID     uint8  // logical id, 1..MaxIfaces-1, the same on every node
	Name   string // as in the configuration, for messages
	Device string // kernel name
}

// Config describes the dataplane of one node. Devices are looked up in the
// network namespace of the calling thread.
type Config struct {
	// PinDir is where maps and links are pinned, one directory a node, for
	// instance /sys/fs/bpf/cohort/edge-fw-a. If it is on no bpffs, one is
	// mounted. Empty means that nothing outlives the process.
	PinDir     string
	Interfaces []Interface
	CCL        string     // device of the cluster control link
	VTEP       netip.Addr // this node's address on it; that of all members is of the same family
	VNI        uint32
	Flows      int // connections owned at most
	Forwards   int // forward entries at most
	// Delegations is how many of them may be forwarded without the owner at most; 0: none.
	Delegations int
	Mode        Mode
	FastPath    bool // false: every packet goes to Go
}

func (c *Config) check() error {
	switch {
	case c.Flows < 1 || c.Flows >= flowtable.MaxSlots:
		return fmt.Errorf("%w: room for %d flows", ErrConfig, c.Flows)
	case c.Delegations < 0 || c.Delegations >= flowtable.MaxSlots:
		return fmt.Errorf("%w: room for %d delegations", ErrConfig, c.Delegations)
	case c.Forwards < 1 || c.Forwards >= flowtable.MaxSlots:
		return fmt.Errorf("%w: room for %d forwards", ErrConfig, c.Forwards)
	case !c.VTEP.IsValid() || c.VTEP.Zone() != "":
		return fmt.Errorf("%w: VTEP %v is not an address without zone", ErrConfig, c.VTEP)
	case c.VNI >= 1<<24:
		return fmt.Errorf("%w: VNI %d has more than 24 bits", ErrConfig, c.VNI)
	case c.Mode > ModeGeneric:
		return fmt.Errorf("%w: mode %d", ErrConfig, c.Mode)
	case c.CCL == "":
		return fmt.Errorf("%w: no CCL device", ErrConfig)
	}
	ids := make(map[uint8]string)
	devices := map[string]string{c.CCL: "the CCL"}
	for _, i := range c.Interfaces {
		if i.ID == 0 || i.ID >= MaxIfaces || i.Device == "" {
			return fmt.Errorf("%w: interface %q: id %d, device %q", ErrConfig, i.Name, i.ID, i.Device)
		}
		if o, taken := ids[i.ID]; taken {
			return fmt.Errorf("%w: interfaces %q and %q have the same id %d", ErrConfig, o, i.Name, i.ID)
		}
		if o, taken := devices[i.Device]; taken {
			return fmt.Errorf("%w: interface %q uses the device of %s", ErrConfig, i.Name, o)
		}
		ids[i.ID], devices[i.Device] = i.Name, i.Name
	}
	return nil
}
