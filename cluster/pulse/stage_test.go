package pulse

import (
	"slices"
	"testing"
	"time"

	"cohort/ccl/wire"
)

// road is two pulses and the way between them; the receiver's clock is ahead.
type road struct {
	from, to *Machine
	ahead    int64
}

func newRoad() *road { return &road{New(0, 1), New(0, 1), 12_345_678 * ms} }

// beat is one that is sent at at, or lost, takes transit and waits for age.
func (r *road) beat(at, transit, age int64, lost bool) {
	r.from.Due(at)
	b := wire.Beat{Life: 7}
	r.from.Mark(at, &b, true)
	if !lost {
		r.to.Heard(at+transit+age+r.ahead, 0, b, age)
	}
}

// HL7: of a beat that is late it is told where it lost its time, whatever the two
// clocks say.
func TestHL7_ALateBeatTellsWhereItLostItsTime(t *testing.T) {
	type one struct {
		at, transit, age int64
		lost             bool
	}
	for name, c := range map[string]struct {
		beats []one
		late  [NumStages]uint64
		lost  uint64 // of the late ones
		worst [NumStages]int64
	}{
		"on time":       {[]one{{at: 50}, {at: 100}}, [NumStages]uint64{}, 0, [NumStages]int64{}},
		"in the sender": {[]one{{at: 90}, {at: 140}}, [NumStages]uint64{AtSender: 1}, 0, [NumStages]int64{AtSender: 40 * ms}},
		"on the link":   {[]one{{at: 50, transit: 45}, {at: 100}}, [NumStages]uint64{InTransit: 1}, 0, [NumStages]int64{InTransit: 45 * ms}},
		"here":          {[]one{{at: 50, age: 33}, {at: 100}}, [NumStages]uint64{AtReceiver: 1}, 0, [NumStages]int64{AtReceiver: 33 * ms}},
		"everywhere, most on the link": {
			[]one{{at: 60, transit: 31, age: 20}, {at: 100}}, [NumStages]uint64{InTransit: 1}, 0,
			[NumStages]int64{10 * ms, 31 * ms, 20 * ms},
		},
		"one was lost": {[]one{{at: 50, lost: true}, {at: 100}}, [NumStages]uint64{}, 1, [NumStages]int64{}},
		"one was lost, and the next is slower than that": {
			[]one{{at: 50, lost: true}, {at: 100, transit: 60}}, [NumStages]uint64{InTransit: 1}, 0, [NumStages]int64{InTransit: 60 * ms},
		},
	} {
		r := newRoad()
		r.beat(0, 0, 0, false)
		lost := uint64(0)
		for _, b := range c.beats {
			r.beat(b.at*ms, b.transit*ms, b.age*ms, b.lost)
			if b.lost {
				lost++
			}
		}
		s := r.to.Stats()
		var worst [NumStages]int64
		for i := range worst {
			worst[i] = s.Stages[i].Worst
		}
		if s.LateAt != c.late || s.LateLost != c.lost || s.Lost != lost || worst != c.worst {
			t.Errorf("%s: late %v and by loss %d, lost %d, worst %v", name, s.LateAt, s.LateLost, s.Lost, worst)
		}
		total := s.LateLost
		for _, n := range s.LateAt {
			total += n
		}
		if total != s.Late {
			t.Errorf("%s: %d are late, %d have a cause", name, s.Late, total)
		}
	}
}

// A beat that answers a question is on time by itself; what it ends was the
// sender's silence.
func TestHL7_AnAnswerThatEndsASilenceIsTheSendersLateness(t *testing.T) {
	r := newRoad()
	r.beat(0, 0, 0, false)
	b := wire.Beat{Life: 7}
	r.from.Mark(110*ms, &b, false)
	if r.to.Heard(115*ms+r.ahead, 0, b, 5*ms); b.Late != 0 || r.to.Stats().LateAt[AtSender] != 1 {
		t.Errorf("late by %d us, stages %v", b.Late, r.to.Stats().LateAt)
	}
}

// Clocks that drift apart are no transit; neither is the clock of a next life.
func TestHL7_TransitFollowsDriftAndForgetsALife(t *testing.T) {
	r := newRoad()
	const drift = 100e-6 // far more than crystals do
	for at := int64(0); at < 3600_000*ms; at += 50 * ms {
		r.ahead = 12_345_678*ms + int64(drift*float64(at))
		r.beat(at, 0, 0, false)
	}
	if w := r.to.Stats().Stages[InTransit].Worst; w > 13*ms {
		t.Errorf("an hour of drift is %v of transit", time.Duration(w))
	}
	b := wire.Beat{Life: 8, Number: 1}
	r.to.Heard(3600_000*ms+r.ahead, 0, b, 0)
	if w := r.to.Stats().Stages[InTransit].Worst; w > 13*ms || r.to.Stats().Lost != 0 {
		t.Errorf("another life: %v of transit, %d lost", time.Duration(w), r.to.Stats().Lost)
	}
}

func TestHL7_SpreadHasQuantiles(t *testing.T) {
	var s Spread
	if s.Quantile(0.99) != 0 {
		t.Error("no beats, and a quantile")
	}
	for range 98 {
		s.add(ms / 2)
	}
	s.add(3 * ms)
	s.add(500 * ms)
	want := []int64{ms, ms, 4 * ms, 500 * ms}
	got := []int64{s.Quantile(0.5), s.Quantile(0.98), s.Quantile(0.99), s.Quantile(1)}
	if !slices.Equal(got, want) || s.Worst != 500*ms || s.Sum != 98*ms/2+503*ms {
		t.Errorf("quantiles %v, worst %d, sum %d", got, s.Worst, s.Sum)
	}
	s = Spread{}
	s.add(5 * ms)
	if s.Quantile(0.5) != 5*ms {
		t.Error("a quantile above the worst")
	}
}

func TestHL7_TheLongestSilenceIsKept(t *testing.T) {
	r := newRoad()
	for _, at := range []int64{0, 50, 190, 240} {
		r.beat(at*ms, 0, 0, false)
	}
	if p := r.to.Peer(0); p.Longest != 140*ms {
		t.Errorf("longest %v", time.Duration(p.Longest))
	}
}
