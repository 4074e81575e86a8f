package track

import (
	"testing"
	"time"
)

// A script is what a Tracker does with one hop, whose state withdraws it after two
// losses: "send 10" that a probe had left at 10 ms, "answer 1" that the answer to probe 1
// is noted, "judge 30" that everything has been read that came before 30 ms.
func TestRounds_AProbeIsJudgedOnceWhenItHasHadItsTime(t *testing.T) {
	type step struct {
		do   string
		n    int
		want string // of judge: "early", "same" or "dead"
	}
	for name, script := range map[string][]step{
		"not before the interval is over": {
			{"send", 0, ""}, {"judge", 19, "early"}, {"judge", 20, "same"},
		},
		"the interval begins when the last probe has left": {
			{"send", 0, ""}, {"judge", 20, "same"}, {"send", 90, ""}, {"judge", 100, "early"}, {"judge", 110, "dead"},
		},
		"what was not sent is not lost": {
			{"judge", 20, "early"}, {"send", 20, ""}, {"judge", 140, "same"}, {"judge", 160, "early"}, {"judge", 180, "early"},
		},
		"late, and its answer was there": {
			{"send", 0, ""}, {"judge", 20, "same"}, {"send", 20, ""}, {"answer", 2, ""}, {"judge", 140, "same"},
			{"send", 140, ""}, {"judge", 160, "same"}, {"send", 160, ""}, {"judge", 180, "dead"},
		},
		"an answer after the judgement is none": {
			{"send", 0, ""}, {"judge", 20, "same"}, {"send", 20, ""}, {"answer", 1, ""}, {"judge", 40, "dead"},
		},
	} {
		t.Run(name, func(t *testing.T) {
			r := newRounds(Config{Interval: 20 * time.Millisecond, Losses: 2, Answers: 2}, 1)
			start := time.Unix(1, 0)
			for i, s := range script {
				at := start.Add(time.Duration(s.n) * time.Millisecond)
				got := ""
				switch s.do {
				case "send":
					r.begin()
					r.sent(at)
				case "answer":
					r.answer(0, uint16(s.n))
				case "judge":
					changed, ended := r.judge(at)
					switch {
					case !ended:
						got = "early"
					case len(changed) == 0:
						got = "same"
					case !r.states[0].Alive():
						got = "dead"
					}
				}
				if got != s.want {
					t.Fatalf("step %d, %s %d: %q, want %q", i, s.do, s.n, got, s.want)
				}
			}
		})
	}
}
