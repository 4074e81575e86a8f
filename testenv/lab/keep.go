package lab

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"cohort/testenv/netns"
	"cohort/testenv/topology"
)

// Keep is the keeper: it builds the topology, writes the lab's state and stays
// until the context ends; then it takes everything down. A cluster that does
// not form within the time is noted as an error, and left for inspection.
func Keep(ctx context.Context, name string, cfg topology.Config, form time.Duration) error {
	dir, err := path(name)
	if err != nil {
		return err
	}
	tag, err := netns.NewTag()
	if err != nil {
		return err
	}
	// Written before anything is built, so that Down finds it after a crash.
	s := &State{Name: name, Keeper: tag, Phase: Building, Daemons: cfg.Mode == topology.Daemons, Spray: cfg.Spray, CCLOverIPv6: cfg.CCLOverIPv6, MTU: cfg.MTU}
	if err := s.write(); err != nil {
		return err
	}
	cfg.Tag, cfg.Dir = tag, filepath.Join(dir, "net")
	top, err := topology.New(ctx, cfg)
	if err != nil {
		s.Phase, s.Error = Failed, err.Error()
		return errors.Join(err, s.write())
	}
	defer top.Close()
	s.describe(top)
	if err := s.write(); err != nil {
		return err
	}
	s.Phase = Running
	if s.Daemons {
		if err := waitFormed(ctx, top, form); err != nil {
			s.Phase, s.Error = Failed, err.Error()
		}
	}
	if err := s.write(); err != nil {
		return err
	}
	<-ctx.Done()
	return top.Close()
}

func waitFormed(ctx context.Context, top *topology.Topology, form time.Duration) error {
	ctx, cancel := context.WithTimeout(ctx, form)
	defer cancel()
	return top.WaitFormed(ctx, len(top.Nodes))
}

// describe notes what the topology consists of.
func (s *State) describe(top *topology.Topology) {
	s.Phase = Forming
	s.Namespaces = make(map[string]string)
	for role, n := range top.Namespaces() {
		s.Namespaces[role] = n.Name()
	}
	for _, n := range top.Nodes {
		s.Nodes = append(s.Nodes, Node{Name: n.Name, Socket: n.Socket, Log: n.LogFile})
	}
}

// roles lists the keys of namespaces for a message.
func roles(namespaces map[string]string) string {
	return strings.Join(slices.Sorted(maps.Keys(namespaces)), ", ")
}

// makeDir makes the directory of a new lab, unless a living keeper has it. What
// a dead one left is removed first.
func makeDir(ctx context.Context, name string) (string, error) {
	dir, err := path(name)
	if err != nil {
		return "", err
	}
	s, err := Read(name)
	switch {
	case err == nil && s.Keeper.Alive():
		return "", fmt.Errorf("lab %s is up already (take it down with: cohort-lab --lab %s down)", name, name)
	case err == nil:
		if err := Down(ctx, name); err != nil {
			return "", err
		}
	case !errors.Is(err, ErrNoLab):
		return "", err
	}
	return dir, os.MkdirAll(dir, 0o755)
}
