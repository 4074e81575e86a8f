package dataplane

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"

	"cohort/flowtable"

	"github.com/cilium/ebpf"
)

// mapNames are the maps both programs share, in bpf/maps.h.
var mapNames = []string{
	"control", "members", "ifaces", "ifindex_to_iface", "nexthops", "index",
	"flows", "forwards", "delegations", "local_addrs", "local_addrs6", "nat_addrs", "nat_units", "xsks", "counters",
}

// mapPin starts the name of a pinned map, linkPin that of a pinned link.
const (
	mapPin  = "map_"
	linkPin = "link_"
)

// errUnusable: what is pinned cannot be adopted; the text says why.
// errNothingPinned: nor is there anything.
var (
	errUnusable      = errors.New("pinned maps are not usable")
	errNothingPinned = errors.New("nothing is pinned")
)

// size fits the maps of a spec to the configuration. Slot 0 of the arrays is
// never used.
func (c *Config) size(maps map[string]*ebpf.MapSpec) error {
	for _, name := range mapNames {
		if maps[name] == nil {
			return fmt.Errorf("dataplane: the programs have no map %q", name)
		}
	}
	maps["index"].MaxEntries = uint32(flowtable.IndexBuckets(c.Flows, c.Forwards))
	maps["flows"].MaxEntries = uint32(c.Flows) + 1
	maps["forwards"].MaxEntries = uint32(c.Forwards) + 1
	maps["delegations"].MaxEntries = uint32(c.Delegations) + 1
	return nil
}

// mapSet is the maps by name.
type mapSet map[string]*ebpf.Map

func (s mapSet) close() {
	for _, m := range s {
		_ = m.Close()
	}
}

// adoptMaps opens the pinned maps. The error wraps errUnusable when some are
// missing, as with those of a daemon that had fewer, or of another shape than
// the specs; and errNothingPinned when there is not even control, the last one
// to be pinned.
func adoptMaps(dir string, specs map[string]*ebpf.MapSpec) (mapSet, error) {
	set := make(mapSet)
	for _, name := range mapNames {
		m, err := ebpf.LoadPinnedMap(filepath.Join(dir, mapPin+name), nil)
		if err != nil {
			set.close()
			if name == mapNames[0] && errors.Is(err, os.ErrNotExist) {
				err = errNothingPinned
			}
			return nil, fmt.Errorf("%w: %s: %w", errUnusable, name, err)
		}
		set[name] = m
		if err := specs[name].Compatible(m); err != nil {
			set.close()
			return nil, fmt.Errorf("%w: %s: %w", errUnusable, name, err)
		}
	}
	return set, nil
}

// createMaps makes empty maps; pin makes them outlive the process.
func createMaps(specs map[string]*ebpf.MapSpec) (mapSet, error) {
	set := make(mapSet)
	for _, name := range mapNames {
		m, err := ebpf.NewMap(specs[name])
		if err != nil {
			set.close()
			return nil, fmt.Errorf("dataplane: create map %s: %w", name, err)
		}
		set[name] = m
	}
	return set, nil
}

// pin replaces whatever is pinned in dir. The first map, control, is pinned
// last: without it nothing is adopted, so a crash in between leaves no mixture.
func (s mapSet) pin(dir string) error {
	if err := unpinMaps(dir); err != nil {
		return err
	}
	for i := len(mapNames) - 1; i >= 0; i-- {
		name := mapNames[i]
		if err := s[name].Pin(filepath.Join(dir, mapPin+name)); err != nil {
			return fmt.Errorf("dataplane: pin map %s: %w", name, err)
		}
	}
	return nil
}

func unpinMaps(dir string) error {
	var errs []error
	for _, name := range mapNames {
		errs = append(errs, unpin(filepath.Join(dir, mapPin+name)))
	}
	return errors.Join(errs...)
}

// setKeys makes a hash map hold exactly want, touching only what differs.
func setKeys[K comparable](m *ebpf.Map, want map[K]uint32) error {
	var key K
	var value uint32
	var surplus []K
	have := make(map[K]uint32)
	for it := m.Iterate(); it.Next(&key, &value); {
		have[key] = value
		if _, keep := want[key]; !keep {
			surplus = append(surplus, key)
		}
	}
	for _, k := range surplus {
		if err := m.Delete(k); err != nil && !errors.Is(err, ebpf.ErrKeyNotExist) {
			return err
		}
	}
	for k, v := range want {
		if old, known := have[k]; known && old == v {
			continue
		}
		if err := m.Put(k, v); err != nil {
			return err
		}
	}
	return nil
}
