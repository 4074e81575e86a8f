package main

import (
	"errors"

	"cohort/testenv/netns"
)

// lab owns everything that a benchmark makes.
type lab struct {
	tag    netns.Tag
	closes []func() error
}

func newLab() (*lab, error) {
	if _, err := netns.Sweep(); err != nil {
		return nil, err
	}
	tag, err := netns.NewTag()
	if err != nil {
		return nil, err
	}
	return &lab{tag: tag}, nil
}

func (l *lab) onClose(f func() error) { l.closes = append(l.closes, f) }

// close undoes everything, newest first.
func (l *lab) close() error {
	var errs []error
	for i := len(l.closes) - 1; i >= 0; i-- {
		errs = append(errs, l.closes[i]())
	}
	l.closes = nil
	return errors.Join(errs...)
}
