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
