package dataplane

import (
	"fmt"

	"cohort/bpf"

	"github.com/cilium/ebpf"
)

// specs are the two programs before loading.
type specs struct{ data, ccl *ebpf.CollectionSpec }

// programSpecs reads the embedded objects and sizes their maps.
func programSpecs(cfg *Config) (*specs, error) {
	data, err := bpf.LoadData()
	if err != nil {
		return nil, fmt.Errorf("dataplane: read program %s: %w", bpf.DataProgXdpData, err)
	}
	ccl, err := bpf.LoadCcl()
	if err != nil {
		return nil, fmt.Errorf("dataplane: read program %s: %w", bpf.CclProgXdpCcl, err)
	}
	s := &specs{data, ccl}
	for _, c := range []*ebpf.CollectionSpec{data, ccl} {
		if err := cfg.size(c.Maps); err != nil {
			return nil, err
		}
	}
	return s, nil
}

// maps are the specs of the shared maps; both programs declare the same.
func (s *specs) maps() map[string]*ebpf.MapSpec { return s.data.Maps }

// load loads both programs onto the same maps.
func (s *specs) load(maps mapSet) (data, ccl *ebpf.Program, err error) {
	if data, err = loadProgram(s.data, bpf.DataProgXdpData, maps); err != nil {
		return nil, nil, err
	}
	if ccl, err = loadProgram(s.ccl, bpf.CclProgXdpCcl, maps); err != nil {
		_ = data.Close()
		return nil, nil, err
	}
	return data, ccl, nil
}

func loadProgram(spec *ebpf.CollectionSpec, name string, maps mapSet) (*ebpf.Program, error) {
	c, err := ebpf.NewCollectionWithOptions(spec, ebpf.CollectionOptions{MapReplacements: maps})
	if err != nil {
		return nil, fmt.Errorf("dataplane: load program %s: %w", name, err)
	}
	defer c.Close()
	p := c.DetachProgram(name)
	if p == nil {
		return nil, fmt.Errorf("dataplane: the object has no program %s", name)
	}
	return p, nil
}
