package node

import (
	"errors"
	"testing"
	"time"

	"cohort/config"
)

// TestEL7_AnnouncementsKeepTheirPauses: three of each kind, the first at once;
// RFC 4861, 7.2.6 wants a second between those of IPv6, and no more than three.
func TestEL7_AnnouncementsKeepTheirPauses(t *testing.T) {
	for _, c := range []struct {
		every time.Duration
		want  []time.Duration
	}{
		{time.Duration(arpEvery), []time.Duration{0, 300 * time.Millisecond, 600 * time.Millisecond}},
		{time.Duration(adviseEvery), []time.Duration{0, time.Second, 2 * time.Second}},
	} {
		const begin = int64(1e12)
		s := newSeries(begin, int64(c.every))
		var got []time.Duration
		for now := begin; now < begin+int64(time.Minute); now += tickEvery {
			if s.due(now) {
				got = append(got, time.Duration(now-begin))
			}
		}
		if len(got) != len(c.want) || got[0] != c.want[0] || got[1] != c.want[1] || got[2] != c.want[2] {
			t.Errorf("said after %v, want %v", got, c.want)
		}
	}
}

// An interface that is down when the role moves hears of the cluster address when it
// comes up, and again whenever it does: its neighbours may have the hardware address of
// the control node before. A node that does not have the address says nothing.
func TestEL7_AnInterfaceThatComesUpLaterIsTold(t *testing.T) {
	c := clusterAddresses{here: true} // a daemon before this one may have left them
	heard := func(now int64, id uint8) (n int) {
		for end := now + int64(10*time.Second); now < end; now += tickEvery {
			if arp, advise := c.due(now, id); c.up[id] {
				for _, said := range []bool{arp, advise} {
					if said {
						n++
					}
				}
			}
		}
		return n
	}
	now := int64(1e12)
	next := func() int64 { now += int64(time.Minute); return now }
	c.link(now, 1, true)
	c.link(now, 2, false)
	if n := heard(next(), 1); n != 0 {
		t.Fatalf("%d announcements of an address that is elsewhere", n)
	}
	c.move(next(), true)
	if a, b := heard(now, 1), heard(now, 2); a != 2*announcements || b != 0 {
		t.Fatalf("%d and %d heard, want %d on the interface that is up", a, b, 2*announcements)
	}
	c.link(next(), 1, true) // the other has changed
	c.link(now, 2, true)
	if arp, advise := c.due(now, 2); !arp || !advise {
		t.Fatal("nothing is said at once")
	}
	if a, b := heard(now, 1), heard(now, 2); a != 0 || b != 2*announcements-2 {
		t.Fatalf("%d and %d heard when the second came up", a, b)
	}
	c.link(next(), 2, false)
	c.move(next(), false)
	c.link(next(), 2, true)
	if n := heard(now, 2); n != 0 {
		t.Fatalf("%d announcements of an address that has gone", n)
	}
}

// What could not be taken off when the role went elsewhere is tried again until it is
// off; not at a node that rules again by then, and not after that.
func TestEL7_AnAddressThatCouldNotBeTakenOffIsTriedAgain(t *testing.T) {
	all := []config.Interface{{ID: 1, Name: "inside"}, {ID: 2, Name: "outside"}}
	var tried []string
	broken := map[string]bool{}
	off := func(c *config.Interface) error {
		if tried = append(tried, c.Name); broken[c.Name] {
			return errors.New("no such luck")
		}
		return nil
	}
	c := clusterAddresses{}
	leave := func(what string, tries int, gone, fails bool) {
		t.Helper()
		tried = nil
		if got, err := c.leave(all, off); got != gone || (err != nil) != fails || len(tried) != tries {
			t.Errorf("%s: gone %v, %v, tried %q", what, got, err, tried)
		}
	}
	leave("it never had them", 0, false, false)
	c.move(0, true)
	leave("it rules", 0, false, false)
	c.move(1, false)
	broken["inside"] = true
	leave("the first fails, the second is tried", 2, false, true)
	leave("again", 2, false, true)
	c.move(2, false) // another view
	leave("after another view", 2, false, true)
	c.move(3, true)
	leave("it rules again", 0, false, false)
	c.move(4, false)
	broken["inside"] = false
	leave("mended", 2, true, false)
	leave("gone", 0, false, false)
}
