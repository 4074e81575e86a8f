package netns

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
)

// Sweep removes the namespaces whose maker is dead, killing what runs inside,
// and returns their names. Namespaces of living makers and names of others
// are not touched.
func Sweep() ([]string, error) {
	return sweep(func(t Tag) bool { return !t.Alive() })
}

// RemoveGroup removes the namespaces of one group, dead or alive: the way to
// clear up behind a maker known to be finished.
func RemoveGroup(group Tag) ([]string, error) {
	return sweep(func(t Tag) bool { return t == group })
}

func sweep(dead func(Tag) bool) ([]string, error) {
	entries, err := os.ReadDir(Dir)
	if errors.Is(err, os.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("sweep: %w", err)
	}
	var removed []string
	var errs []error
	for _, e := range entries {
		tag, ok := ParseTag(e.Name())
		if !ok || !dead(tag) {
			continue
		}
		// Another sweeper may be at it too: what is gone already is no error.
		errs = append(errs, killInside(filepath.Join(Dir, e.Name())), remove(e.Name()))
		removed = append(removed, e.Name())
	}
	return removed, errors.Join(errs...)
}

// SweepDirs removes the directories below parent that carry the tag of a dead
// maker (as made by os.Mkdir(parent/Tag)).
func SweepDirs(parent string) error {
	entries, err := os.ReadDir(parent)
	if err != nil {
		return fmt.Errorf("sweep: %w", err)
	}
	var errs []error
	for _, e := range entries {
		if tag, ok := ParseTag(e.Name()); ok && e.IsDir() && !tag.Alive() {
			errs = append(errs, os.RemoveAll(filepath.Join(parent, e.Name())))
		}
	}
	return errors.Join(errs...)
}
