package node

import (
	"testing"
	"time"
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
