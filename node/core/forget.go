package core

import (
	"fmt"
	"time"
)

// Forget says, for an operator, that a node is over; see blocks.Machine.Forget.
// Repeat it while Unaware names anybody. Besides those that the units' machine
// refuses, a node that was heard within the hold time is not forgotten: it
// lives, member or not. Only with NAT.
func (c *Core) Forget(now int64, name string) error {
	c.now = now
	if _, err := c.Forgettable(now, name); err != nil {
		return err
	}
	changed, err := c.units.Forget(now, name)
	if changed {
		c.member.Note(now, name+" is forgotten: an operator says that it is over")
	}
	return err
}

// Forgettable returns the error that Forget would, and whether the node is over
// already.
func (c *Core) Forgettable(now int64, name string) (over bool, err error) {
	if over, err = c.units.Forgettable(name); err != nil {
		return false, err
	}
	if ago, lives := c.member.HeardOf(now, name); lives {
		return false, AliveError{Name: name, Ago: ago}
	}
	return over, nil
}

// AliveError says that a node cannot be forgotten because it was heard.
type AliveError struct {
	Name string
	Ago  time.Duration
}

func (e AliveError) Error() string {
	return fmt.Sprintf("core: forget %s: it was heard %v ago", e.Name, e.Ago.Round(time.Millisecond))
}
