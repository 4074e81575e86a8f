package dataplane

import (
	"fmt"

	"cohort/bpf"

	"github.com/cilium/ebpf"
)

// specs are the two programs before loading.
type specs struct {
	data, ccl *ebpf.CollectionSpec
	logLevel  ebpf.LogLevel // of the verifier; 0: only why it refused
}

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
	s := &specs{data: data, ccl: ccl}
	ipv6 := uint32(0)
	if outerOf(cfg.VTEP) == ipv6Len {
		ipv6 = 1
	}
	for _, c := range []*ebpf.CollectionSpec{data, ccl} {
		if err := c.Variables[bpf.DataVarCclIpv6].Set(ipv6); err != nil {
			return nil, fmt.Errorf("dataplane: programs: %w", err)
		}
		if err := cfg.size(c.Maps); err != nil {
			return nil, err
		}
	}
	return s, nil
}

// maps are the specs of the shared maps; both programs declare the same.
func (s *specs) maps() map[string]*ebpf.MapSpec { return s.data.Maps }

// loadData loads the data program for one interface: it knows its logical id
// and looks nothing up to learn it.
func (s *specs) loadData(maps mapSet, id uint8) (*ebpf.Program, error) {
	spec := s.data.Copy()
	if err := spec.Variables[bpf.DataVarOnlyIface].Set(uint32(id)); err != nil {
		return nil, fmt.Errorf("dataplane: program %s: %w", bpf.DataProgXdpData, err)
	}
	return s.load(spec, bpf.DataProgXdpData, maps)
}

// loadCCL loads the program of the control link onto the same maps.
func (s *specs) loadCCL(maps mapSet) (*ebpf.Program, error) {
	return s.load(s.ccl, bpf.CclProgXdpCcl, maps)
}

func (s *specs) load(spec *ebpf.CollectionSpec, name string, maps mapSet) (*ebpf.Program, error) {
	c, err := ebpf.NewCollectionWithOptions(spec, ebpf.CollectionOptions{
		MapReplacements: maps,
		Programs:        ebpf.ProgramOptions{LogLevel: s.logLevel},
	})
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
